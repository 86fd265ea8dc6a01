import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

from seqjax import parallel, train
from seqjax.errors import UsageError

SPLIT = problems.split()
LEARNER = train.minimise(problems.loss, problems.init, optax.adam(0.05), ema_decay=0.9)
BATCH_SIZE, STEPS, SEEDS = 32, 20, 2


@functools.cache
def trained(driver: str, num_devices: int, count: int = STEPS, plan: str = "map"):
    devices = parallel.local_devices(num_devices)
    chapter = train.make_chapter(
        LEARNER,
        problems.fetch_of(SPLIT, BATCH_SIZE, num_devices),
        length=STEPS,
        seed_plan=plan,
        axis_name=None if driver == "jit" else parallel.AXIS,
    )
    dispatch = parallel.distribute(chapter, devices, driver)
    states = jax.lax.map(LEARNER.init, jnp.stack([jax.random.key(seed) for seed in range(SEEDS)]))
    source = parallel.replicated(SPLIT, devices)
    return dispatch(states, jnp.ones(SEEDS, bool), jnp.int32(count), source)


def assert_close(a, b, tolerance=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (np.abs(x - y) <= tolerance * np.maximum(1, np.abs(y))).all()


@pytest.mark.parametrize("driver", ["pmap", "shard_map"])
@pytest.mark.parametrize("num_devices", [2, 8])
def test_many_devices_equal_one_after_twenty_steps(driver, num_devices):
    one, _ = trained("jit", 1)
    many, _ = trained(driver, num_devices)
    assert_close(many.params, one.params)
    assert_close(many.extra, one.extra)
    np.testing.assert_array_equal(many.step, one.step)


@pytest.mark.parametrize("driver", ["pmap", "shard_map"])
def test_the_gradient_is_not_multiplied_by_the_number_of_devices(driver):
    _, one = trained("jit", 1)
    _, many = trained(driver, 8)
    np.testing.assert_allclose(many["gradient_norm"][:, 0], one["gradient_norm"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-4)


def test_pmap_and_shard_map_agree():
    assert_close(trained("pmap", 8)[0].params, trained("shard_map", 8)[0].params, 1e-6)


def test_vmapped_seeds_under_pmap():
    assert_close(trained("pmap", 8, plan="vmap")[0].params, trained("jit", 1)[0].params)


@pytest.mark.parametrize("driver", ["pmap", "shard_map"])
def test_states_keep_their_shapes_and_replicas_are_the_same_bits(driver):
    states, _ = trained(driver, 8)
    assert states.params["w"].shape == (SEEDS, problems.FEATURES, problems.TARGETS)
    assert len(states.params["w"].addressable_shards) == 8
    assert parallel.differing_replicas(states) == []


def test_differing_replicas_are_found():
    # what a forgotten pmean leaves behind: each device has its own value, and out_axes=None hides it
    states = jax.pmap(lambda i: {"good": i * 0, "bad": i}, out_axes=None)(jnp.arange(8.0))
    assert parallel.differing_replicas(states) == ["['bad']"]


@pytest.mark.parametrize(("driver", "num_devices"), [("jit", 1), ("pmap", 8), ("shard_map", 8)])
def test_the_states_are_donated(driver, num_devices):
    devices = parallel.local_devices(num_devices)
    axis_name = None if driver == "jit" else parallel.AXIS
    fetch = problems.fetch_of(SPLIT, BATCH_SIZE, num_devices)
    dispatch = parallel.distribute(train.make_chapter(LEARNER, fetch, length=2, axis_name=axis_name), devices, driver)
    states = parallel.replicated(jax.tree.map(lambda leaf: leaf[None], LEARNER.init(jax.random.key(0))), devices)
    dispatch(states, jnp.ones(1, bool), jnp.int32(2), parallel.replicated(SPLIT, devices))
    assert states.params["w"].is_deleted()


def test_a_chapter_with_a_masked_tail():
    assert np.asarray(trained("pmap", 8, 7)[0].step).tolist() == [7, 7]


def test_devices_and_drivers_are_chosen():
    assert len(parallel.local_devices(None)) == 8
    assert len(parallel.local_devices(3)) == 3
    assert [parallel.chosen_driver("auto", n) for n in (1, 2)] == ["jit", "pmap"]
    assert parallel.chosen_driver("shard_map", 1) == "shard_map"
    for count in (0, 9, -1):
        with pytest.raises(UsageError, match=f"--devices {count}: this process has 8 cpu"):
            parallel.local_devices(count)
    with pytest.raises(UsageError, match="jit runs on one device, 2"):
        parallel.distribute(lambda: None, parallel.local_devices(2), "jit")
