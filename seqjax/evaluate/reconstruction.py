"""Reconstructions that any autoencoder stands beside: principal components, and the mean, fitted on the training split.

scikit-learn computes the components; everything here runs on the host in float64.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from seqjax.errors import DataError
from seqjax.types import Dataset, Split

CLIPS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
CLIP_ROWS = 5000  # training rows that choose among them
BLOCK = 2**22  # values that are held at once where rows are gone through one after another
MOST_FITTED = 2**28  # values that a baseline is fitted on, 2 GiB in float64


def values_of(split: Split) -> Float[np.ndarray, "N D"]:
    """`x` flattened to rows in float64, uint8 as intensities in [0, 1]. Raises DataError for a text."""
    x = np.asarray(split.fields["x"])
    if x.ndim == 1:
        raise DataError("the data are a text, a row of characters; expected examples of several values, `x` [N D].")
    scale = 255.0 if x.dtype == np.uint8 else 1.0
    # the size is written out, since -1 cannot be told from no rows
    return x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float64) / scale


def blocks_of(split: Split) -> Iterator[Split]:
    """The rows of `x` in their order, few enough at a time for those that are stored on disk to fit into memory."""
    x = split.fields["x"]
    size = max(1, BLOCK // (math.prod(x.shape[1:]) or 1))
    return (Split({"x": x[start : start + size]}) for start in range(0, x.shape[0], size))


def mean_row(split: Split) -> Float[np.ndarray, "D"]:
    """The mean of `values_of`, without holding all of them; added up in the same order."""
    total = None
    for block in blocks_of(split):
        rows = values_of(block)
        total = (rows if total is None else np.concatenate([total[None], rows])).sum(axis=0)
    return total / split.num_examples


def fitting_values(train: Split) -> Float[np.ndarray, "M D"]:
    """`values_of` as many rows, evenly spaced, as a baseline is fitted on: all, unless they are very many."""
    x = train.fields["x"]
    most = max(1, MOST_FITTED // (math.prod(x.shape[1:]) or 1))
    if x.shape[0] <= most:
        return values_of(train)
    return values_of(Split({"x": x[np.linspace(0, x.shape[0] - 1, most).round().astype(np.int64)]}))


def mean_of(train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M D"]:
    """The mean of the training rows in place of every test row."""
    return np.broadcast_to(train.mean(axis=0), test.shape)


def fitted_pca(train: Float[np.ndarray, "N D"], code_size: int) -> Any:
    """scikit-learn's PCA with `code_size` components (fewer where the data have fewer), deterministic."""
    from sklearn.decomposition import PCA

    components = min(code_size, *train.shape)
    solver = "covariance_eigh" if train.shape[0] >= train.shape[1] else "full"
    # constant data have no variance to take shares of; the shares are not used here
    with np.errstate(invalid="ignore"):
        return PCA(components, svd_solver=solver).fit(train)


def pca_reconstruction(
    train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "M D"], code_size: int
) -> Float[np.ndarray, "M D"]:
    """The projection of test rows on the first `code_size` principal components of the training rows."""
    pca = fitted_pca(train, code_size)
    return pca.inverse_transform(pca.transform(test))


def pca_squared_errors(
    train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "M D"], sizes: list[int]
) -> list[float]:
    """Mean summed squared error of test rows for several numbers of components, from one decomposition."""
    pca = fitted_pca(train, max(sizes))
    centred = test - pca.mean_
    captured = np.cumsum(np.square(centred @ pca.components_.T).mean(axis=0))
    total = np.square(centred).sum(axis=1).mean()
    return [float(total - (captured[min(k, len(captured)) - 1] if k > 0 else 0.0)) for k in sizes]


def squared_errors(predictions: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N"]:
    """Summed squared error of each row."""
    return np.square(predictions - targets).sum(axis=1)


def cross_entropies(
    probabilities: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N D"]
) -> Float[np.ndarray, "N"]:
    """Bernoulli cross-entropy of each row in nats, averaged over its values; 0 log 0 = 0."""
    from scipy.special import xlogy

    nats = -(xlogy(targets, probabilities) + xlogy(1 - targets, 1 - probabilities))
    return nats.mean(axis=1)


def as_probabilities(
    fitted: Float[np.ndarray, "N D"], train: Float[np.ndarray, "N D"], predictions: Float[np.ndarray, "M D"]
) -> Float[np.ndarray, "M D"]:
    """`predictions` clipped to [c, 1 - c], c of `CLIPS` with the least cross-entropy of `fitted` on `train`.

    So that a linear reconstruction, which may leave [0, 1], has a cross-entropy at all, and about its best one.
    """
    best = min(CLIPS, key=lambda c: cross_entropies(np.clip(fitted, c, 1 - c), train).mean())
    return np.clip(predictions, best, 1 - best)


def in_unit_interval(data: Dataset) -> bool:
    """Whether all values of all splits lie in [0, 1], as cross-entropies and sigmoids need: bytes become such."""

    def within(x: np.ndarray) -> bool:
        return x.size == 0 or bool(x.min() >= 0 and x.max() <= 1)

    return all(
        split.fields["x"].dtype == np.uint8 or all(within(np.asarray(rows.fields["x"])) for rows in blocks_of(split))
        for split in (data.train, data.validation, data.test)
    )


def measures(
    row: str, predictions: Float[np.ndarray, "N D"], data: Dataset, *, probabilities: bool
) -> dict[str, float]:
    """A table row of reconstructions of the test split: squared error an example, cross-entropy (nats) a value.

    Cross-entropy only of predictions that are probabilities.
    """
    targets = values_of(data.test)
    found = {f"{row}/squared_error": float(squared_errors(predictions, targets).mean())}
    if probabilities:
        # a float32 sigmoid can round to 0 or 1, where the logits still had a finite cross-entropy
        found[f"{row}/cross_entropy"] = float(cross_entropies(np.clip(predictions, 1e-7, 1 - 1e-7), targets).mean())
    return found


def squared_error_baselines(train: Split, rows: Split, code_size: int) -> dict[str, float]:
    """Mean summed squared error of `rows` under `pca` and `mean`, both fitted on `train`."""
    fitted, x = fitting_values(train), values_of(rows)
    found = {"pca": pca_reconstruction(fitted, x, code_size), "mean": mean_of(fitted, x)}
    return {row: float(squared_errors(predictions, x).mean()) for row, predictions in found.items()}


def baseline_measures(data: Dataset, code_size: int) -> dict[str, float]:
    """The rows `pca` (as many components as the code has units) and `mean`, both fitted on the training split."""
    errors = squared_error_baselines(data.train, data.test, code_size)
    found = {f"{row}/squared_error": error for row, error in errors.items()}
    if in_unit_interval(data):
        train, test = fitting_values(data.train), values_of(data.test)
        some = train[:CLIP_ROWS]
        fits = {"pca": lambda x: pca_reconstruction(train, x, code_size), "mean": lambda x: mean_of(train, x)}
        for row, fit in fits.items():
            probabilities = as_probabilities(fit(some), some, fit(test))
            found[f"{row}/cross_entropy"] = float(cross_entropies(probabilities, test).mean())
    return found
