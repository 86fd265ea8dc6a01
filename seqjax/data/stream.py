"""Batches of splits that live on the host or on disk, read ahead by threads: bit for bit those of `batch_at`."""

from collections.abc import Hashable, Iterator
from functools import partial

import jax
import numpy as np
from jax import Array
from jaxtyping import Int32, Shaped, UInt32

from seqjax.data.batches import row_indices
from seqjax.errors import UsageError
from seqjax.types import Key, Split


def streamed_batches(
    split: Split,
    keys: Shaped[Key, "S"],
    start: int,
    stop: int,
    *,
    batch_size: int,
    shard: int = 0,
    num_shards: int = 1,
    num_threads: int = 2,
    prefetch: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
    """For each step from `start` to `stop - 1`, the batches of S seeds: every field [S B ...] and `index` [S B].

    Fields keep their dtype, so that uint8 travels as bytes: `intensities` on the device makes the values of `batch_at`.
    The iterator holds nothing worth saving: begin again at any step. At most `prefetch` batches are held ready.
    """
    if stop < start or start < 0:
        raise UsageError(f"steps from {start} to {stop}: expected 0 <= start <= stop")
    import grain  # here, because it takes a second

    # Rows are drawn on the CPU whatever the accelerator: it would have to be waited for.
    impl, raw_keys = jax.random.key_impl(keys), np.asarray(jax.random.key_data(keys))
    sizes = {"batch_size": batch_size, "num_examples": split.num_examples, "num_shards": num_shards}
    cpu = _cpu()

    def batch(step: int) -> dict[str, np.ndarray]:
        with jax.default_device(cpu):
            rows = np.asarray(_rows_of_seeds(raw_keys, np.int32(step), np.int32(shard), impl=impl, **sizes))
        fields = {name: np.asarray(field[rows.ravel()]) for name, field in split.fields.items()}
        fields = {name: field.reshape(*rows.shape, *field.shape[1:]) for name, field in fields.items()}
        return {**fields, "index": rows}

    # one element = one batch: an element costs Grain 50 us whatever its size
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    batch(start)  # errors of the arguments are raised here, not in a thread
    return iter(grain.MapDataset.range(start, stop).map(batch).to_iter_dataset(options))


@partial(jax.jit, static_argnames=("impl", "batch_size", "num_examples", "num_shards"))
def _rows_of_seeds(
    raw_keys: UInt32[Array, "S W"],
    step: Int32[Array, ""],
    shard: Int32[Array, ""],
    *,
    impl: Hashable,
    batch_size: int,
    num_examples: int,
    num_shards: int,
) -> Int32[Array, "S B"]:
    rows = partial(row_indices, batch_size=batch_size, num_examples=num_examples, shard=shard, num_shards=num_shards)
    return jax.vmap(rows, in_axes=(0, None))(jax.random.wrap_key_data(raw_keys, impl=impl), step)


def _cpu() -> jax.Device | None:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        return None
