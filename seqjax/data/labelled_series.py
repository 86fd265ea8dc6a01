"""One long series that says of each of its steps whether it is normal, and windows of its normal stretches alone."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.data.batches import row_indices
from seqjax.data.files import file_dataset
from seqjax.data.long_series import in_time_order, windows
from seqjax.data.prepared import content_sha256
from seqjax.errors import DataError, require
from seqjax.types import Batch, Dataset, Key, Split

NAMES = ("faults",)
KINDS = ("spike", "level shift", "changed frequency", "flattened")  # of `faults`, numbered from 1 on
SLOT = 150  # steps of `faults` in which one of them begins
EACH = 4  # of a kind


def faults(num_steps: int = 12_000) -> dict[str, np.ndarray]:
    """A made-up series `x [T 2]`, and `label [T]`: 0 where it is as always, else the number of what goes wrong.

    A wheel turns at a speed that wanders, about once in 25 steps; one channel is its height, the other a pulse each
    time it comes round, both under white noise. The last fifth has 16 faults, `EACH` of each of the `KINDS`, one in
    each stretch of `SLOT` steps: a spike of one step in one channel, and for 20 to 40 steps one channel's level a
    little shifted, the wheel faster or slower by two fifths, or one channel stuck at the value it had.
    """
    # a legacy generator because it is frozen for good
    rng = np.random.RandomState(0)
    first = num_steps - num_steps // 5
    num_slots = len(KINDS) * EACH
    require(num_steps - first >= num_slots * SLOT, "num_steps", num_steps, f"at least {5 * num_slots * SLOT}")
    label, rate = np.zeros(num_steps, np.int32), np.ones(num_steps)
    places = []
    for slot, kind in enumerate(rng.permutation(np.repeat(np.arange(1, len(KINDS) + 1), EACH))):
        length = 1 if kind == 1 else rng.randint(20, 41)
        start = first + slot * SLOT + rng.randint(50, SLOT - 50)
        places.append((kind, slice(start, start + length), rng.randint(2), rng.choice([-1, 1])))
        label[start : start + length] = kind
    for kind, steps, _, sign in places:
        if kind == 3:
            rate[steps] += 0.4 * sign
    wander = np.convolve(rng.standard_normal(num_steps + 199), np.ones(200) / np.sqrt(200), mode="valid")
    turned = 2 * np.pi / 25 * np.cumsum(rate * (1 + 0.1 * np.tanh(wander)))
    x = np.stack([np.sin(turned), np.exp(4 * np.cos(turned) - 4)], axis=1)
    x += 0.1 * rng.standard_normal(x.shape)
    for kind, steps, channel, sign in places:
        if kind in (1, 2):
            x[steps, channel] += sign * (1.0 if kind == 1 else 0.4)
        elif kind == 4:
            x[steps, channel] = x[steps.start - 1, channel]
    return {"x": x, "label": label}


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

    data = file_dataset(path, parted=parted)
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
    return {"x": x, "length": jnp.full(len(starts), width, jnp.int32), "index": starts}
