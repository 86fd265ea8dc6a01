"""Data in the form that is learned without labels: rows of values, or series with a length each, standardised."""

import jax
import numpy as np
from jax import Array
from jaxtyping import Int, Shaped

from seqjax.data.batches import whole
from seqjax.data.scaling import Scale, standardised
from seqjax.data.whole_series import new_series, whole_series
from seqjax.errors import DataError, UsageError
from seqjax.types import Batch, Dataset, Split


def rows_or_series(data: Dataset) -> tuple[Dataset, Scale | None]:
    """Rows `x [N D]` as they are; series `x [N T D]` standardised by the scale returned, all with `length`.

    The scale is that of the training split. Raises DataError for a text, and for series without a value.
    """
    ndim = len(data.train.fields["x"].shape)
    if ndim == 1:
        raise DataError(f"{data.name} is a text; expected rows of values, x [N D], or series, x [N T D].")
    return (data, None) if ndim == 2 else standardised(whole_series(data))


def new_batch(
    x: Shaped[np.ndarray | Array, "N ..."], scale: Scale | None, length: Int[np.ndarray | Array, "N"] | None = None
) -> Batch:
    """Rows or series that are in no split, as they come, as one batch in the form of `rows_or_series`.

    scale: what that gave. length: of series; default all of them whole.
    """
    # on the host in float64, unless there is nothing yet to have there
    x = x if isinstance(x, jax.core.Tracer) else np.asarray(x)
    if scale is None:
        return whole(Split({"x": x}))
    return new_series(x, scale, length=length)


def joined(data: Dataset) -> Dataset:
    """All rows as training and as test split, for what is learned without labels and scored on the rows it has seen.

    That is the published protocol of clustering. The validation rows are among them, and can decide nothing.
    Raises DataError for a series none of whose values was observed.
    """
    if len(data.train.fields["x"].shape) == 3:
        # here, where it still has the number that it has in its own split
        data = whole_series(data)
    splits = (data.train, data.validation, data.test)
    shared = [name for name in data.train.fields if all(name in split.fields for split in splits)]
    together = Split({name: np.concatenate([split.fields[name] for split in splits]) for name in shared})
    return data._replace(name=f"{data.name}, splits joined", train=together, test=together)


def values_a_row(split: Split) -> float:
    """How many values a row has; of series the mean of those within the length and observed."""
    x, length, mask = (split.fields.get(name) for name in ("x", "length", "mask"))
    if len(x.shape) == 2:
        return float(x.shape[1])
    if mask is not None:
        return float(np.sum(mask, axis=(1, 2)).mean())
    return float(np.mean(length)) * x.shape[2]


def classes(data: Dataset) -> np.ndarray | None:
    """The different labels of all splits, sorted, or None where some split has none."""
    splits = (data.train, data.validation, data.test)
    if any("label" not in split.fields for split in splits):
        return None
    return np.unique(np.concatenate([split.fields["label"] for split in splits]))


def chosen_clusters(data: Dataset, asked: int | None) -> int:
    """The number of clusters asked for, or else that of the classes.

    Raises UsageError where it is not given by either, is below 2, or above the number of training or test rows.
    """
    known = classes(data)
    if asked is None and known is None:
        raise UsageError(f"--num-clusters: {data.name} has no labels; expected a number of clusters, 2 or more.")
    count = len(known) if asked is None else asked
    sizes = {"training": data.train.num_examples, "test": data.test.num_examples}
    part, most = min(sizes.items(), key=lambda named: named[1])
    if most < 2:
        raise UsageError(f"{data.name}: {most} {part} example is too few for clusters; expected at least 2.")
    if not 2 <= count <= most:
        whose = f", the classes of {data.name}" if asked is None else ""
        raise UsageError(
            f"--num-clusters {count}{whose}: expected 2 to {most}, the number of {part} examples of {data.name}."
        )
    return count
