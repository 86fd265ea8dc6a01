"""Where the batches of a chapter come from: a split that lives on the device, or a stream of the same batches."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from seqjax import parallel
from seqjax.data.batches import batch_at, intensities
from seqjax.data.stream import streamed_batches
from seqjax.errors import UsageError
from seqjax.parallel import Layout
from seqjax.train import Fetch
from seqjax.types import Batch, Key, Phase, Split, TrainState

DATA = np.uint32(2**32 - 1)  # folded into a state's key for the order of its data: no step gets that far
STREAMED_BYTES = 64 * 2**20  # streamed batches that one dispatch holds


class Source(NamedTuple):
    """`parts(states, done, count) -> (first step, what a dispatch reads)`, each good for `length` steps of `fetch`."""

    length: int
    fetch: Fetch
    parts: Callable[[TrainState, int, int], Iterator[tuple[int, Any]]]
    streamed: bool


def data_key(key: Key) -> Key:
    return jax.random.fold_in(key, DATA)


def make_source(split: Split, phase: Phase, layout: Layout, *, stream: bool, overfit_batch: bool = False) -> Source:
    """The batches of a phase for a layout's devices, the same bits either way.

    overfit_batch: the batch of the first step, of each seed its own, at every step.
    Raises UsageError for a stream of batches that are not rows of the split.
    """
    if stream and phase.batch_at is not None:
        raise UsageError(f"phase {phase.name} makes its own batches, which cannot be streamed; leave out --stream.")
    make = _streamed if stream else _resident
    return make(split, phase, layout, overfit_batch)


def _resident(split: Split, phase: Phase, layout: Layout, overfit_batch: bool) -> Source:
    on_device = parallel.replicated(jax.tree.map(np.asarray, split), layout.mesh)
    num_shards = layout.batch_parts if layout.axis_name else 1

    def fetch(split: Split, state: TrainState, seed: Array, position: Array, shard: Array) -> Batch:
        key, size = data_key(state.key), phase.batch_size
        step = jnp.zeros_like(state.step) if overfit_batch else state.step
        batch = (phase.batch_at or batch_at)(split, key, step, batch_size=size, shard=shard, num_shards=num_shards)
        return parallel.rows_over_batch(batch, layout)

    def parts(states: TrainState, done: int, count: int) -> Iterator[tuple[int, Any]]:
        yield done, on_device

    return Source(_longest_chapter(phase), fetch, parts, streamed=False)


def _streamed(split: Split, phase: Phase, layout: Layout, overfit_batch: bool) -> Source:
    """Each process reads the rows of its own devices alone."""

    def fetch(batches: Batch, state: TrainState, seed: Array, position: Array, shard: Array) -> Batch:
        batch = {name: intensities(field[position, seed]) for name, field in batches.items()}
        return parallel.rows_over_batch(batch, layout)

    def parts(states: TrainState, done: int, count: int) -> Iterator[tuple[int, Any]]:
        own = parallel.own_part(layout)
        keys = jax.vmap(data_key)(parallel.local(states.key))
        each = len(keys) // layout.seed_parts
        stream = streamed_batches(
            split,
            keys[own.seeds.start * each : own.seeds.stop * each],
            0 if overfit_batch else done,
            1 if overfit_batch else done + count,
            batch_size=phase.batch_size,
            shard=own.batch.start // len(own.batch),
            num_shards=layout.batch_parts // len(own.batch),
        )
        if overfit_batch:
            stream = itertools.repeat(next(stream))
        for start in range(done, done + count, length):
            batches = [next(stream) for _ in range(min(length, done + count - start))]
            # the last dispatch is masked; it is filled up so that its shape, and so its program, stays the same
            batches += [batches[-1]] * (length - len(batches))
            stacked = {name: np.stack([b[name] for b in batches]) for name in batches[0]}
            yield start, parallel.streamed_on(stacked, layout)

    row_bytes = sum(math.prod(field.shape[1:]) * field.dtype.itemsize for field in split.fields.values())
    length = int(np.clip(STREAMED_BYTES // max(1, row_bytes * phase.batch_size), 1, _longest_chapter(phase)))
    return Source(length, fetch, parts, streamed=True)


def _longest_chapter(phase: Phase) -> int:
    return max(1, min(phase.chapter_steps, phase.steps))
