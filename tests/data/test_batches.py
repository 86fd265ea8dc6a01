"""The stream of batches: every epoch visits each row once, in a new order, from any step and over any shards."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seqjax.data import batches
from seqjax.data.batches import batch_at, intensities, row_indices, whole
from seqjax.errors import DataError, UsageError
from seqjax.types import Split

KEY = jax.random.key(0)


def stream(key, steps, batch_size, num_examples):
    rows = partial(row_indices, batch_size=batch_size, num_examples=num_examples)
    return np.asarray(jax.jit(jax.vmap(rows, in_axes=(None, 0)))(key, jnp.asarray(steps, jnp.int32))).ravel()


def orders(num_examples, count):
    """`count` epochs [K N], each under a key of its own."""
    one = partial(row_indices, batch_size=num_examples, num_examples=num_examples)
    return np.asarray(jax.jit(jax.vmap(one, in_axes=(0, None)))(jax.random.split(KEY, count), 0))


@pytest.mark.parametrize(("num_examples", "batch_size"), [(1, 5), (2, 3), (7, 4), (10, 64), (1797, 256)])
def test_every_epoch_visits_each_row_once(num_examples, batch_size):
    epochs = 6
    steps = -(-epochs * num_examples // batch_size)
    rows = stream(KEY, range(steps), batch_size, num_examples)[: epochs * num_examples].reshape(epochs, num_examples)
    assert (np.sort(rows, axis=1) == np.arange(num_examples)).all()
    if num_examples >= 10:
        assert len({tuple(row) for row in rows}) == epochs


@settings(max_examples=25, deadline=None)
@given(num_examples=st.integers(1, 2048), seed=st.integers(0, 2**32 - 1))
def test_shuffle_is_a_bijection(num_examples, seed):
    keys = np.random.default_rng(seed).integers(0, 2**32, batches.ROUNDS, dtype=np.uint32)
    places = jnp.arange(2048, dtype=jnp.uint32) % num_examples  # of one length, so that nothing compiles again
    rows = batches._shuffled(places, jnp.broadcast_to(keys, (2048, batches.ROUNDS)), num_examples)
    assert (np.sort(rows[:num_examples]) == np.arange(num_examples)).all()


@settings(max_examples=60, deadline=None)
@given(step=st.integers(0, 2**31 - 1), batch_size=st.integers(1, 2**20), num_examples=st.integers(1, 2**29))
def test_position_is_exact_where_the_product_overflows(step, batch_size, num_examples):
    epoch, offset = batches._position(step, batch_size, num_examples)
    assert (int(epoch), int(offset)) == (step * batch_size // num_examples % 2**32, step * batch_size % num_examples)


def test_any_step_alone_is_the_step_of_the_stream():
    rows = stream(KEY, range(40), 64, 150).reshape(40, 64)
    alone = jax.jit(partial(row_indices, batch_size=64, num_examples=150))
    for step in (0, 2, 17, 39):
        np.testing.assert_array_equal(alone(KEY, step), rows[step])


def test_the_batch_size_cuts_one_and_the_same_stream():
    np.testing.assert_array_equal(stream(KEY, range(30), 20, 77), stream(KEY, range(60), 10, 77))


@pytest.mark.parametrize("num_shards", [1, 2, 4, 8])
def test_shards_make_up_the_global_batch(num_shards):
    split = Split({"x": jnp.arange(100, dtype=jnp.float32)[:, None]})
    shards = jax.jit(
        jax.vmap(lambda shard: batch_at(split, KEY, 5, batch_size=24, shard=shard, num_shards=num_shards))
    )(jnp.arange(num_shards))
    expected = batch_at(split, KEY, 5, batch_size=24)
    for name, field in expected.items():
        np.testing.assert_array_equal(jnp.reshape(shards[name], field.shape), field)


def test_shard_may_be_an_axis_index():
    split = Split({"x": jnp.arange(100, dtype=jnp.float32)[:, None]})
    share = partial(batch_at, split, KEY, batch_size=24, num_shards=8)
    sharded = jax.pmap(lambda step: share(step, shard=jax.lax.axis_index("shard")), axis_name="shard")(jnp.full(8, 7))
    np.testing.assert_array_equal(sharded["index"].ravel(), batch_at(split, KEY, 7, batch_size=24)["index"])


def test_seeds_are_an_axis():
    keys = jax.random.split(KEY, 3)
    one = partial(row_indices, batch_size=16, num_examples=50)
    together = jax.jit(jax.vmap(one, in_axes=(0, None)))(keys, 4)
    for key, rows in zip(keys, together, strict=True):
        np.testing.assert_array_equal(jax.jit(one)(key, 4), rows)


def test_golden_rows():
    """Published runs rest on these: they may never change, on any backend."""
    np.testing.assert_array_equal(row_indices(KEY, 3, batch_size=5, num_examples=12), [8, 0, 3, 9, 6])


def test_keys_and_epochs_order_differently():
    first, second = stream(KEY, range(2), 1000, 1000).reshape(2, 1000)
    other = stream(jax.random.key(1), range(1), 1000, 1000)
    for a, b in itertools.combinations((first, second, other, np.arange(1000)), 2):
        assert (a == b).sum() < 10  # one agreement is expected; ten have probability 1e-7
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.15


@pytest.mark.parametrize("num_examples", [3, 4, 5])
def test_all_orders_are_equally_likely(num_examples):
    count = 40_000
    _, counts = np.unique(orders(num_examples, count), axis=0, return_counts=True)
    assert len(counts) == math.factorial(num_examples)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("num_examples", [7, 10, 33])
def test_places_pairs_and_fixed_points_are_those_of_random_orders(num_examples):
    count = 40_000
    rows = orders(num_examples, count)
    counts = np.stack([np.bincount(column, minlength=num_examples) for column in rows.T])
    expected = count / num_examples
    assert stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), (num_examples - 1) ** 2) > 1e-4
    steps_apart = np.bincount((np.diff(rows, axis=1) % num_examples).ravel(), minlength=num_examples)[1:]
    assert stats.chisquare(steps_apart).pvalue > 1e-4
    fixed = (rows == np.arange(num_examples)).sum(axis=1)
    assert abs(fixed.mean() - 1) < 0.03  # five standard errors
    assert abs(fixed.var() - 1) < 0.05


def test_large_epoch_has_no_pattern():
    rows = stream(KEY, range(1), 60_000, 60_000).astype(np.float64)
    centred = (rows - rows.mean()) / rows.std()
    for lag in (1, 2, 244, 245, 246):  # the grid is 245 wide
        assert abs(np.mean(centred[lag:] * centred[:-lag])) < 5 / math.sqrt(60_000)
    joint, _, _ = np.histogram2d(rows[:-1], rows[1:], bins=30)
    assert stats.chisquare(joint.ravel()).pvalue > 1e-4


def test_impossible_sizes_are_refused():
    with pytest.raises(DataError, match="no rows"):
        row_indices(KEY, 0, batch_size=4, num_examples=0)
    with pytest.raises(UsageError, match=r"batch size 10 .* 4 shards"):
        row_indices(KEY, 0, batch_size=10, num_examples=100, num_shards=4)
    with pytest.raises(UsageError, match="at most"):
        row_indices(KEY, 0, batch_size=10, num_examples=2**30)


def test_batch_holds_the_rows_of_every_field():
    images = np.arange(256, dtype=np.uint8).repeat(2).reshape(256, 2)
    split = Split({"x": jnp.asarray(images), "label": jnp.arange(256, dtype=jnp.int32)})
    batch = batch_at(split, KEY, 3, batch_size=100)
    np.testing.assert_array_equal(batch["label"], batch["index"])
    np.testing.assert_array_equal(batch["x"], images[batch["index"]] * np.float32(1 / 255))
    assert batch["x"].dtype == jnp.float32
    assert batch["index"].dtype == jnp.int32


def test_whole_is_the_split_in_its_own_order():
    split = Split({"x": jnp.asarray([[0], [128], [255]], jnp.uint8), "label": jnp.asarray([4, 5, 6], jnp.int32)})
    batch = whole(split)
    np.testing.assert_allclose(batch["x"], [[0], [128 / 255], [1]], rtol=1e-7)
    assert float(batch["x"].max()) == 1.0
    np.testing.assert_array_equal(batch["label"], [4, 5, 6])
    np.testing.assert_array_equal(batch["index"], [0, 1, 2])


def test_intensities_leave_other_fields_alone():
    labels = jnp.asarray([3, 4], jnp.int32)
    assert intensities(labels) is labels
