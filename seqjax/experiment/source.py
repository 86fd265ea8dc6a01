"""Where the batches of a chapter come from: a split that lives on the device, or a stream of the same batches."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array, lax

from seqjax import parallel
from seqjax.data.batches import batch_at, intensities
from seqjax.data.stream import streamed_batches
from seqjax.errors import UsageError
from seqjax.train import Fetch
from seqjax.types import Batch, Key, Phase, Split, TrainState

DATA = np.uint32(2**32 - 1)  # folded into a state's key for the order of its data: no step gets that far
STREAMED_BYTES = 64 * 2**20  # streamed batches that one dispatch holds


class Source(NamedTuple):
    """`parts(states, done, count) -> (first step, what a dispatch reads)`, each good for `length` steps of `fetch`."""

    length: int
    fetch: Fetch
    parts: Callable[[TrainState, int, int], Iterator[tuple[int, Any]]]


def data_key(key: Key) -> Key:
    return jax.random.fold_in(key, DATA)


def make_source(split: Split, phase: Phase, devices: Sequence[jax.Device], *, stream: bool) -> Source:
    """The batches of a phase for `devices`, the same bits either way.

    Raises UsageError for a stream of batches that are not rows of the split.
    """
    if stream and phase.batch_at is not None:
        raise UsageError(f"phase {phase.name} makes its own batches, which cannot be streamed; leave out --stream.")
    return _streamed(split, phase, devices) if stream else _resident(split, phase, devices)


def _resident(split: Split, phase: Phase, devices: Sequence[jax.Device]) -> Source:
    on_device = parallel.replicated(split, devices) if len(devices) > 1 else jax.device_put(split, devices[0])

    def fetch(split: Split, state: TrainState, seed: Array, position: Array, shard: Array) -> Batch:
        key = data_key(state.key)
        return (phase.batch_at or batch_at)(
            split, key, state.step, batch_size=phase.batch_size, shard=shard, num_shards=len(devices)
        )

    def parts(states: TrainState, done: int, count: int) -> Iterator[tuple[int, Any]]:
        yield done, on_device

    return Source(_longest_chapter(phase), fetch, parts)


def _streamed(split: Split, phase: Phase, devices: Sequence[jax.Device]) -> Source:
    rows = phase.batch_size // len(devices)

    def fetch(batches: Batch, state: TrainState, seed: Array, position: Array, shard: Array) -> Batch:
        own = {name: field[position, seed] for name, field in batches.items()}
        return {name: intensities(lax.dynamic_slice_in_dim(f, shard * rows, rows)) for name, f in own.items()}

    def parts(states: TrainState, done: int, count: int) -> Iterator[tuple[int, Any]]:
        keys = jax.vmap(data_key)(states.key)
        stream = streamed_batches(split, keys, done, done + count, batch_size=phase.batch_size)
        for start in range(done, done + count, length):
            batches = [next(stream) for _ in range(min(length, done + count - start))]
            # the last dispatch is masked; it is filled up so that its shape, and so its program, stays the same
            batches += [batches[-1]] * (length - len(batches))
            stacked = {name: np.stack([b[name] for b in batches]) for name in batches[0]}
            yield start, parallel.replicated(stacked, devices) if len(devices) > 1 else jax.device_put(stacked)

    row_bytes = sum(math.prod(field.shape[1:]) * field.dtype.itemsize for field in split.fields.values())
    length = int(np.clip(STREAMED_BYTES // max(1, row_bytes * phase.batch_size), 1, _longest_chapter(phase)))
    return Source(length, fetch, parts)


def _longest_chapter(phase: Phase) -> int:
    return max(1, min(phase.chapter_steps, phase.steps))
