"""How well whole series are told again: squared errors of the values that count, and what any method stands beside.

A value counts where it is within its series' length and was observed. On the host, in float64.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from seqjax.data.scaling import observed
from seqjax.errors import DataError
from seqjax.evaluate.reconstruction import fitted_pca, values_of
from seqjax.types import Split


def error_a_value(
    told: Shaped[np.ndarray, "N T D"], truth: Shaped[np.ndarray, "N T D"], counts: Bool[np.ndarray, "N T D"]
) -> float:
    """Mean squared error over all values that count, of all series together. Raises DataError where none does."""
    if not counts.any():
        raise DataError("no value counts; expected one at least that is within its series' length and was observed.")
    return float(np.square(np.asarray(told, np.float64)[counts] - np.asarray(truth, np.float64)[counts]).mean())


def mean_series(train: Split, rows: Split) -> Float[np.ndarray, "N T D"]:
    """For every series of `rows` the mean of the training series, at each step over those that have it; else 0."""
    x, counts = np.asarray(train.fields["x"], np.float64), observed(train)
    mean = np.where(counts, x, 0).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    return np.broadcast_to(mean, rows.fields["x"].shape)


def pca_series(train: Split, rows: Split, size: int) -> Float[np.ndarray, "N T D"]:
    """The projection of the padded series, each as one row, on the first `size` axes of the training series."""
    pca = fitted_pca(values_of(train), size)
    return pca.inverse_transform(pca.transform(values_of(rows))).reshape(rows.fields["x"].shape)


def pca_errors(train: Split, rows: Split, sizes: Sequence[int]) -> list[float]:
    """`error_a_value` of `pca_series` for several numbers of axes, from one decomposition."""
    pca = fitted_pca(values_of(train), max(sizes))
    x, counts, codes = rows.fields["x"], observed(rows), pca.transform(values_of(rows))

    def error(size: int) -> float:
        told = pca.mean_ + codes[:, :size] @ pca.components_[:size]
        return error_a_value(told.reshape(x.shape), x, counts)

    return [error(size) for size in sizes]


def told_baselines(train: Split, rows: Split, size: int) -> dict[str, float]:
    """`error_a_value` of `rows` as `pca` of the first `size` axes and as `mean` series, both of `train`."""
    told = {"pca": pca_series(train, rows, size), "mean": mean_series(train, rows)}
    return {row: error_a_value(values, rows.fields["x"], observed(rows)) for row, values in told.items()}


def prediction_baselines(rows: Split, frame: int = 1, *, last: bool = False) -> dict[str, float]:
    """`error_a_value` of standardised steps said as the `last_value` before them, see `values_before`, or as 0, the
    `mean`: of all steps but those of the first frame; with `last`, of those of them in the last one."""
    x, steps = rows.fields["x"], np.arange(rows.fields["x"].shape[1])[None, :]
    ends = (np.asarray(rows.fields["length"])[:, None] - 1) // frame
    asked = (steps >= frame) & ((steps // frame == ends) | (not last))
    counts = observed(rows) & asked[:, :, None]
    said = {"last_value": values_before(rows, frame), "mean": np.zeros(x.shape)}
    return {row: error_a_value(values, x, counts) for row, values in said.items()}


def values_before(split: Split, frame: int = 1) -> Float[np.ndarray, "N T D"]:
    """For every step the last value of its channel that counts before it, or before the `frame` steps that are read at
    once with it; 0 where there is none."""
    x = np.where(observed(split), split.fields["x"], 0).astype(np.float64)
    steps = np.arange(x.shape[1])
    latest = np.maximum.accumulate(np.where(observed(split), steps[None, :, None], -1), axis=1)
    known = latest[:, np.maximum(steps // frame * frame - 1, 0)]
    values = np.take_along_axis(x, np.maximum(known, 0), axis=1)
    return np.where((known >= 0) & (steps >= frame)[None, :, None], values, 0)


def last_values(split: Split, seen: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N D"]:
    """Of each channel the last value that counts among the first `seen` steps of each series, or 0."""
    x = np.asarray(split.fields["x"], np.float64)
    known = observed(split) & (np.arange(x.shape[1])[None, :] < np.asarray(seen)[:, None])[:, :, None]
    last = x.shape[1] - 1 - np.flip(known, axis=1).argmax(axis=1)
    values = np.take_along_axis(x, last[:, None, :], axis=1)[:, 0]
    return np.where(known.any(axis=1), values, 0)
