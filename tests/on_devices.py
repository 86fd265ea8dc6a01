"""A chapter of any learner on any layout of the eight CPU devices that tests have."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from seqjax import parallel, train
from seqjax.data.batches import batch_at


def layout(driver, num_devices, *, seeds=1, reproducible=False):
    devices = parallel.devices_of(num_devices)
    return parallel.make_layout(devices, driver, num_seeds=seeds, reproducible=reproducible)


def chapter_of(learner, on, fetch_of, *, length, seed_plan="map"):
    """The dispatched chapter. fetch_of: `num_shards -> fetch`."""
    fetch = fetch_of(on.batch_parts if on.axis_name else 1)

    def on_rows(*inputs):
        return parallel.rows_over_batch(fetch(*inputs), on)

    options = {"axis_name": on.axis_name, "shards": on.shards, "seed_plan": seed_plan}
    return parallel.distribute(train.make_chapter(learner, on_rows, length=length, **options), on)


def stepped(learner, on, fetch_of, split, states, *, steps, length=None, seed_plan="map"):
    """States [S] and metrics [S, length] after so many steps; the states given stay."""
    dispatch = chapter_of(learner, on, fetch_of, length=length or steps, seed_plan=seed_plan)
    seeds = jax.tree.leaves(states)[0].shape[0]
    copied = jax.tree.map(jnp.copy, (states, jnp.ones(seeds, bool)))
    states, active = parallel.placed(copied, on.mesh, P(parallel.SEED))
    return dispatch(states, active, jnp.int32(steps), parallel.replicated(split, on.mesh))


def rows_of(batch_size):
    """`fetch_of` for the rows of a split."""

    def fetch_of(num_shards):
        def fetch(source, state, seed, position, shard):
            return batch_at(source, state.key, state.step, batch_size=batch_size, shard=shard, num_shards=num_shards)

        return fetch

    return fetch_of


def assert_close(found, expected, tolerance=1e-5):
    """|a - b| <= tolerance * max(1, |b|), every number."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (np.abs(a - b) <= tolerance * np.maximum(1, np.abs(b))).all()
