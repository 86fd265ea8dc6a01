"""One long series that says of each of its steps whether it is normal, and windows of its normal stretches alone."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.data.batches import row_indices
from seqjax.data.faults import faults
from seqjax.data.files import file_dataset
from seqjax.data.long_series import in_time_order, windows
from seqjax.data.prepared import content_sha256
from seqjax.errors import DataError
from seqjax.types import Batch, Dataset, Key, Split

NAMES = ("faults",)


def labelled_series(name_or_path: str | Path) -> Dataset:
    """The first 70 % of the series to train, the next 10 % to validate, the rest to test: `x [1 T D]`, `label [1 T]`.

    `faults` is made up. Otherwise the path of a file: `.csv`, one time step a line, with a column named `label`; or
    `.npz` with `x [T D]` and `label [T]`. Label 0 is normal, every other number a kind of anomaly.
    Raises DataError for what is not as above, and for a test split without anomalies or without normal steps.
    """
    name = str(name_or_path)
    if name in NAMES:
        fields = {"x": (made := faults())["x"].astype(np.float32), "label": made["label"]}
        return in_time_order(name, fields, content_sha256({"all": fields}))
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() not in (".csv", ".npz"):
        raise DataError(f"'{name}': expected {' or '.join(NAMES)}, or the path of a .csv or .npz file.")

    def parted(name, parts, *, sha256, validation_size):
        fields = parts["train"]
        if set(parts) != {"train"} or len(fields["x"].shape) != 2:
            found = [f"{field} {list(v.shape)}" for own in parts.values() for field, v in own.items()]
            raise DataError(f"{path} holds {', '.join(found)}; expected one series x [T, D] and label [T].")
        if "label" not in fields:
            raise DataError(f"{path} has no labels; expected label [T], 0 for each normal step.")
        whole = {"x": np.asarray(fields["x"]).astype(np.float32), "label": np.asarray(fields["label"])}
        return in_time_order(name, whole, sha256)

    # sorted names would make a number of their own of what is normal
    data = file_dataset(path, parted=parted, named_classes=False)
    anomalous = np.asarray(data.test.fields["label"]) != 0
    if not 0 < anomalous.sum() < anomalous.size:
        raise DataError(
            f"{data.name}: {anomalous.sum()} of the last {anomalous.size} steps, which test, are anomalous; expected"
            " some, and not all."
        )
    return data


def normal_starts(data: Dataset, part: str, width: int) -> Int[np.ndarray, "_"]:
    """Where windows of `width` steps begin in that split which no anomaly is in.

    Raises DataError where there are none.
    """
    anomalous = np.asarray(getattr(data, part).fields["label"])[0] != 0
    before = np.concatenate([[0], np.cumsum(anomalous)])
    starts = np.flatnonzero(before[width:] == before[:-width]) if width < len(before) else np.zeros(0, int)
    if len(starts) == 0:
        raise DataError(
            f"{data.name}: none of the {len(anomalous)} steps of its {part} split begins a normal stretch of window ="
            f" {width} steps.\nLower --window, or give a longer series."
        )
    return starts.astype(np.int32)


def chosen_window_batch_at(starts: Int[np.ndarray, "_"], width: int) -> Callable[..., Batch]:
    """A `Phase.batch_at` of the windows that begin there: `x [B width D]`, `length [B]`, `index [B]`, the starts.

    Each epoch visits every one of them once.
    """

    def batch_at(
        split: Split,
        key: Key,
        step: Int[ArrayLike, ""],
        *,
        batch_size: int,
        shard: Int[ArrayLike, ""] = 0,
        num_shards: int = 1,
    ) -> Batch:
        places = row_indices(
            key, step, batch_size=batch_size, num_examples=len(starts), shard=shard, num_shards=num_shards
        )
        return window_batch(split.fields["x"], jnp.asarray(starts)[places], width)

    return batch_at


def window_batch(series: Float[jax.Array, "1 T D"], starts: Int[jax.Array, "B"], width: int) -> Batch:
    """Windows as a batch of whole sequences."""
    x = windows(series, starts, width)
    return {"x": x, "length": jnp.full(starts.shape[0], width, jnp.int32), "index": starts}
