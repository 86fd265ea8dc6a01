"""Streamed batches are those of the resident split, bit for bit, from any step, for any seeds and shards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.batches import batch_at, intensities
from seqjax.data.stored import StoredRows
from seqjax.data.stream import streamed_batches
from seqjax.errors import DataError, UsageError
from seqjax.types import Split

KEYS = jax.random.split(jax.random.key(3), 2)


@pytest.fixture
def split(tmp_path):
    """One field on disk in an order of its own, two in memory."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (100, 6), dtype=np.uint8)
    fields = {"x": x, "extra": rng.normal(size=(100, 2, 3)).astype(np.float32), "label": np.arange(100, dtype=np.int32)}
    np.save(tmp_path / "x.npy", x[::-1])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    return Split(fields | {"x": StoredRows(mapped, np.arange(100)[::-1], np.dtype(np.uint8))})


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_streamed_is_resident_for_every_seed(split, impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 2)
    resident = Split({name: jnp.asarray(field[:]) for name, field in split.fields.items()})
    expected = jax.jit(lambda step: jax.vmap(lambda key: batch_at(resident, key, step, batch_size=24))(keys))
    steps = list(streamed_batches(split, keys, 7, 19, batch_size=24))
    assert len(steps) == 12
    for step, batch in zip(range(7, 19), steps, strict=True):
        assert all(isinstance(field, np.ndarray) for field in batch.values())
        assert batch["x"].dtype == np.uint8
        wanted = expected(step)
        assert batch.keys() == wanted.keys()
        for name, field in wanted.items():
            np.testing.assert_array_equal(jax.jit(intensities)(jnp.asarray(batch[name])), field)


def test_streams_begin_anywhere(split):
    late = list(streamed_batches(split, KEYS, 5, 8, batch_size=24))
    whole = list(streamed_batches(split, KEYS, 0, 8, batch_size=24, num_threads=4, prefetch=2))[5:]
    for a, b in zip(late, whole, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_shards_make_up_the_global_batch(split):
    whole = next(streamed_batches(split, KEYS, 3, 4, batch_size=24))
    shards = [next(streamed_batches(split, KEYS, 3, 4, batch_size=24, shard=k, num_shards=4)) for k in range(4)]
    for name, field in whole.items():
        np.testing.assert_array_equal(np.concatenate([shard[name] for shard in shards], axis=1), field)


def test_second_stream_compiles_nothing(split):
    list(streamed_batches(split, KEYS, 0, 2, batch_size=24))
    with jax.no_tracing():
        assert len(list(streamed_batches(split, KEYS, 2, 4, batch_size=24))) == 2


def test_no_steps_and_impossible_ones(split):
    assert not list(streamed_batches(split, KEYS, 4, 4, batch_size=24))
    with pytest.raises(UsageError, match="steps from 4 to 3"):
        streamed_batches(split, KEYS, 4, 3, batch_size=24)
    with pytest.raises(DataError, match="no rows"):
        streamed_batches(Split({"x": np.zeros((0, 3))}), KEYS, 0, 1, batch_size=24)
