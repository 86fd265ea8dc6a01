"""Series that are taken as wholes: each checked to hold something, and perhaps read several steps at a time."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int, Shaped

from seqjax.data.batches import whole
from seqjax.data.scaling import Scale, observed, scaled
from seqjax.errors import DataError, require
from seqjax.types import Batch, Dataset, Split

MOST_FRAMES = 32  # where their number is not given: a recurrence learns less, and later, over a longer way
PARTS = ("train", "validation", "test")


def whole_series(data: Dataset) -> Dataset:
    """The data with a `length` for every series. Raises DataError for what are no series, and for a series of nothing.

    Nothing is a length of 0, or no value within the length that was observed; split and number of such a series are
    told.
    """
    x = data.train.fields["x"]
    if len(x.shape) != 3:
        raise DataError(
            f"{data.name} has x of shape {list(x.shape)}; expected series, x [N, T, D].\n"
            "A series of one channel is [N, T, 1]."
        )
    splits = {name: _checked(data.name, name, getattr(data, name)) for name in PARTS}
    return data._replace(**splits)


def mapped(data: Dataset, function: Callable[[Split], Split]) -> Dataset:
    """The data with `function` of each split."""
    return data._replace(**{name: function(getattr(data, name)) for name in PARTS})


def in_frames(data: Dataset, frame: int | None = None) -> tuple[Dataset, int]:
    """Series with a length each, read `frame` steps at a time, and that frame.

    frame: default so many steps that the longest series has `MOST_FRAMES` frames at most.
    """
    size = -(-data.train.fields["x"].shape[1] // MOST_FRAMES) if frame is None else frame
    return mapped(data, functools.partial(framed, size=size)), size


def require_next_steps(data: Dataset) -> None:
    """Raises DataError where no training series has a step after its first."""
    if int(np.max(data.train.fields["length"])) < 2:
        raise DataError(f"{data.name}: series of one step, or read at once, have no next one; lower --frame.")


def framed(split: Split, size: int) -> Split:
    """`size` steps as one: x `[N T D]` as `[N ceil(T / size) size*D]`, all else of the split as it is.

    A frame that a series ends in is filled with zeros, which `mask` does not count. With size 1 nothing changes.
    """
    require(size >= 1, "frame", size, "at least 1 step")
    if size == 1:
        return split
    x = np.asarray(split.fields["x"])
    count, num_steps, width = x.shape
    frames = -(-num_steps // size)
    filling = ((0, 0), (0, frames * size - num_steps), (0, 0))
    parts = {
        name: np.pad(values, filling).reshape(count, frames, size * width)
        for name, values in (("x", x), ("mask", observed(split)))
    }
    return Split(split.fields | parts | {"length": -(-np.asarray(split.fields["length"]) // size)})


def new_series(
    x: Shaped[np.ndarray | Array, "N T D"],
    scale: Scale,
    *,
    frame: int = 1,
    length: Int[np.ndarray | Array, "N"] | None = None,
) -> Batch:
    """Series that are in no split, in the units of the data, as one batch: scaled and framed as those that train.

    length: default all of them whole. What is traced is scaled in float32, and may have symbolic N and T.
    """
    if isinstance(x, jax.core.Tracer):
        return _traced_series(x, scale, frame, length)
    length = np.full(len(x), x.shape[1]) if length is None else length
    return whole(framed(scaled(Split({"x": x, "length": np.asarray(length, np.int32)}), scale), frame))


def _traced_series(x: Shaped[Array, "N T D"], scale: Scale, size: int, length: Int[Array, "N"] | None) -> Batch:
    """`new_series` in JAX's numbers: NumPy holds no symbols and no traced values."""
    count, num_steps, width = x.shape
    length = jnp.full(count, num_steps, jnp.int32) if length is None else jnp.asarray(length, jnp.int32)
    mean, stddev = (jnp.asarray(part, jnp.float32)[None, None] for part in scale)
    seen = jnp.broadcast_to((jnp.arange(num_steps)[None] < length[:, None])[:, :, None], x.shape)
    fields = {"x": jnp.where(seen, (x - mean) / stddev, 0)}
    if size > 1:
        frames = -(-num_steps // size)
        filling = ((0, 0), (0, frames * size - num_steps), (0, 0))
        fields = {
            name: jnp.pad(values, filling).reshape(count, frames, size * width)
            for name, values in (*fields.items(), ("mask", seen))
        }
        length = -(-length // size)
    return whole(Split(fields | {"length": length}))


def _checked(name: str, part: str, split: Split) -> Split:
    x = split.fields["x"]
    split = Split({"length": np.full(x.shape[0], x.shape[1], np.int32)} | split.fields)
    empty = np.flatnonzero(~observed(split).any(axis=(1, 2)))
    if len(empty):
        raise DataError(
            f"{name}: series {empty[0]} of the {part} split (counted from 0, {len(empty)} such in all) has no observed"
            f" value in its {split.fields['length'][empty[0]]} steps.\nLeave it out."
        )
    return split
