import functools
import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import optax
import problems
import pytest
from jax.sharding import PartitionSpec as P
from on_devices import assert_close

from seqjax import parallel, train
from seqjax.data.batches import batch_at
from seqjax.errors import UsageError
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import Options
from seqjax.experiment.session import make_plan
from seqjax.parallel.layout import aligned
from seqjax.types import Split

SPLIT = problems.split()
LEARNER = train.minimise(problems.loss, problems.init, optax.adam(0.05), ema_decay=0.9)
STEPS, SEEDS = 20, 2
ROWS_OF = on_devices.rows_of(32)


layout = functools.cache(on_devices.layout)


@functools.cache
def trained(driver: str, num_devices: int, count: int = STEPS, plan: str = "map"):
    """Two seeds whose batches all devices share."""
    return chapter_on(layout(driver, num_devices), SEEDS, count, plan)


def chapter_on(on, seeds, count=STEPS, plan="map"):
    states = jax.lax.map(LEARNER.init, jnp.stack([jax.random.key(seed) for seed in range(seeds)]))
    return on_devices.stepped(LEARNER, on, ROWS_OF, SPLIT, states, steps=count, length=STEPS, seed_plan=plan)


DRIVERS = ("pmap", "shard_map", "jit")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("num_devices", [2, 8])
def test_many_devices_equal_one_after_twenty_steps(driver, num_devices):
    one, _ = trained("jit", 1)
    many, _ = trained(driver, num_devices)
    assert_close(many.params, one.params)
    assert_close(many.extra, one.extra)
    np.testing.assert_array_equal(many.step, one.step)


def gradient_norm_by_shard_map(batch, state, count: int, check_vma: bool):
    """Of parameters that are the same on all devices, whose gradients are averaged, as by `train.minimise`."""

    def norm(params, batch):
        def mean_loss(params):
            return problems.loss(params, batch, jax.random.fold_in(state.key, state.step), state)[0].mean()

        return optax.tree.norm(jax.lax.pmean(jax.grad(mean_loss)(params), parallel.BATCH))

    mesh, specs = layout("shard_map", count).mesh, (P(), P(parallel.BATCH))
    return jax.jit(jax.shard_map(norm, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check_vma))(
        state.params, batch
    )


@pytest.mark.parametrize("count", [2, 8])
def test_a_checked_shard_map_multiplies_the_gradient_by_the_number_of_devices_without_a_word(count):
    """Why `parallel` leaves it unchecked: JAX sums such a gradient over the devices before it can be averaged."""
    state = LEARNER.init(jax.random.key(0))
    batch = batch_at(SPLIT, state.key, state.step, batch_size=32)
    right, wrong = (gradient_norm_by_shard_map(batch, state, count, check_vma) for check_vma in (False, True))
    np.testing.assert_allclose(right, trained("shard_map", count)[1]["gradient_norm"][0, 0], rtol=1e-5)
    np.testing.assert_allclose(wrong, count * right, rtol=1e-5)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_gradient_is_not_multiplied_by_the_number_of_devices(driver):
    _, one = trained("jit", 1)
    _, many = trained(driver, 8)
    np.testing.assert_allclose(many["gradient_norm"][:, 0], one["gradient_norm"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-4)


def test_pmap_and_shard_map_agree():
    assert_close(trained("pmap", 8)[0].params, trained("shard_map", 8)[0].params, 1e-6)


def test_vmapped_seeds_under_pmap():
    assert_close(trained("pmap", 8, plan="vmap")[0].params, trained("jit", 1)[0].params)


@pytest.mark.parametrize("driver", DRIVERS)
def test_states_keep_their_shapes_and_replicas_are_the_same_bits(driver):
    states, _ = trained(driver, 8)
    assert states.params["w"].shape == (SEEDS, problems.FEATURES, problems.TARGETS)
    assert len(states.params["w"].addressable_shards) == 8
    assert parallel.differing_replicas(states) == []


def test_differing_replicas_are_found():
    # what a forgotten pmean leaves behind: each device has its own value, and out_axes=None hides it
    states = jax.pmap(lambda i: {"good": i * 0, "bad": i}, out_axes=None)(jnp.arange(8.0))
    assert parallel.differing_replicas(states) == ["['bad']"]
    # parts of an array are no replicas of each other
    by_seed = parallel.placed(jnp.arange(8.0), layout("shard_map", 8, seeds=8).mesh, P(parallel.SEED))
    assert parallel.differing_replicas(by_seed) == []


@pytest.mark.parametrize(("driver", "num_devices"), [("jit", 1), ("jit", 8), ("pmap", 8), ("shard_map", 8)])
def test_the_states_are_donated(driver, num_devices):
    on = layout(driver, num_devices)
    dispatch = on_devices.chapter_of(LEARNER, on, ROWS_OF, length=2)
    start = jax.tree.map(lambda leaf: leaf[None], LEARNER.init(jax.random.key(0)))
    states = parallel.placed(start, on.mesh, P(parallel.SEED))
    dispatch(states, jnp.ones(1, bool), jnp.int32(2), parallel.replicated(SPLIT, on.mesh))
    assert states.params["w"].is_deleted()


def test_a_chapter_with_a_masked_tail():
    assert np.asarray(trained("pmap", 8, 7)[0].step).tolist() == [7, 7]


@pytest.mark.parametrize(
    ("driver", "num_devices", "seeds"),
    [("pmap", 4, 4), ("shard_map", 4, 4), ("jit", 4, 4), ("shard_map", 8, 4), ("jit", 8, 4), ("pmap", 2, 4)],
)
def test_seeds_over_devices_and_both_on_a_mesh_equal_one_device(driver, num_devices, seeds):
    on = layout(driver, num_devices, seeds=seeds)
    assert on.seed_parts == min(num_devices, seeds)
    one, one_metrics = chapter_on(layout("jit", 1), seeds)
    many, metrics = chapter_on(on, seeds)
    assert_close(many.params, one.params)
    np.testing.assert_allclose(metrics["loss"], one_metrics["loss"], rtol=1e-4)
    assert many.params["w"].addressable_shards[0].data.shape[0] == seeds // on.seed_parts
    assert parallel.differing_replicas(many) == []


def test_seeds_alone_on_a_device_have_the_bits_of_one_device():
    one, _ = chapter_on(layout("jit", 1), 4)
    for driver in ("pmap", "shard_map"):
        many, _ = chapter_on(layout(driver, 2, seeds=4), 4)
        np.testing.assert_array_equal(many.params["w"], one.params["w"])


@pytest.mark.parametrize(
    ("driver", "num_devices", "seeds"),
    [("jit", 1, 1), ("pmap", 2, 1), ("shard_map", 2, 1), ("pmap", 4, 1), ("shard_map", 8, 1), ("shard_map", 8, 2)],
)
def test_the_reproducible_mode_has_one_value_on_any_number_of_devices(driver, num_devices, seeds):
    on = layout(driver, num_devices, seeds=seeds, reproducible=True)
    found, metrics = chapter_on(on, 2)
    reference, reference_metrics = reproduced()
    for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(reference.params), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(metrics["gradient_norm"], reference_metrics["gradient_norm"])
    # and near the value of the other mode, whose order of sums is the compiler's
    assert_close(found.params, trained("jit", 1)[0].params)


@functools.cache
def reproduced():
    return chapter_on(layout("shard_map", 4, seeds=1, reproducible=True), 2)


@pytest.mark.parametrize(("dtype", "own"), [(np.float32, False), (np.float64, True)])
@pytest.mark.parametrize("rows", range(1, 18))
def test_evaluation_shared_over_devices_is_that_of_one_whatever_is_left_for_the_last(rows, dtype, own):
    with jax.enable_x64(dtype == np.float64):
        x = np.random.default_rng(rows).normal(size=(rows, problems.FEATURES)).astype(dtype)
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), problems.init(jax.random.key(1)))
        alone, _ = evaluated_on(layout("shard_map", 1), params, x)
        shared, devices = evaluated_on(layout("shard_map", 8), params, x, own=own)
    assert devices == 8
    np.testing.assert_array_equal(shared["index"], np.arange(rows))
    rounding = 4 * np.finfo(dtype).eps
    assert shared["error"].dtype == alone["error"].dtype == dtype
    np.testing.assert_allclose(shared["error"], alone["error"], rtol=rounding)
    np.testing.assert_allclose(shared["error"].mean(), alone["error"].mean(), rtol=rounding)


def evaluated_on(on, params, x, *, own=False):
    """Values of all rows, seven or eight a chunk, and how many devices have rows of a chunk."""
    found = []

    def values(batch):
        jax.debug.inspect_array_sharding(batch["x"], callback=found.append)
        predicted = jnp.tanh(problems.predictions(params, batch["x"]))
        return {"error": jnp.square(predicted).sum(axis=1), "index": batch["index"]}

    with parallel.sharing_rows(on, own=own):
        rows = jax.jit(lambda x: per_example(values, Split({"x": x}), chunk=7))(x)
    return jax.device_get(rows), 1 if found[0].is_fully_replicated else found[0].num_devices


def test_layouts_and_drivers_are_chosen():
    assert len(parallel.devices_of(None)) == 8
    assert len(parallel.devices_of(3)) == 3
    found = [layout("auto", n, seeds=seeds) for n, seeds in ((1, 5), (2, 5), (8, 5), (8, 8), (8, 2), (6, 4))]
    chosen = [(on.driver, on.seed_parts, on.batch_parts) for on in found]
    assert chosen == [
        ("jit", 1, 1),
        ("pmap", 2, 1),
        ("pmap", 1, 8),
        ("pmap", 8, 1),
        ("shard_map", 2, 4),
        ("shard_map", 2, 3),
    ]
    # five seeds on two devices are filled up to six
    assert found[1].seeds_filled_up(5) == 6
    assert layout("pmap", 8, seeds=2).batch_parts == 8
    assert layout("shard_map", 1).driver == "shard_map"
    for count in (0, 9, -1):
        with pytest.raises(UsageError, match=f"--devices {count}: this process has 8 cpu"):
            parallel.devices_of(count)
    with pytest.raises(UsageError, match="--reproducible: --driver jit"):
        layout("jit", 2, seeds=1, reproducible=True)
    with pytest.raises(UsageError, match="--reproducible devices=3: expected a divisor of 8"):
        layout("shard_map", 3, seeds=1, reproducible=True)


@pytest.mark.parametrize("flags", ["", "--xla_gpu_autotune_level=0", "--xla_gpu_deterministic_ops=false"])
def test_kernels_are_deterministic_unless_the_user_says_otherwise(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    for _ in range(2):
        parallel.use_deterministic_kernels()
    wanted = flags if "deterministic" in flags else f"{flags} --xla_gpu_deterministic_ops=true".strip()
    assert os.environ["XLA_FLAGS"] == wanted


@pytest.mark.parametrize(
    ("environment", "before", "seeds", "devices"),
    [
        ({}, "", 2, 2),
        ({}, "", 4, 2),  # in two rounds, as three would
        ({}, "", 9, 3),
        ({"JAX_NUM_CPU_DEVICES": "5"}, "", 2, 5),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}, "", 2, 4),
        ({}, "devices.use_host_devices(4)", 2, 4),
        ({}, "jax.devices()", 2, 1),
    ],
)
def test_each_seed_has_a_core_unless_jax_was_told_a_number_or_has_begun(environment, before, seeds, devices):
    program = f"""
import jax
from seqjax.parallel import devices
devices.usable_cores = lambda: 3
{before}
devices.seeds_over_cores({seeds})
print(jax.local_device_count())
"""
    here = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"} | environment
    ended = subprocess.run([sys.executable, "-c", program], env=here, capture_output=True, text=True)
    assert ended.stdout == f"{devices}\n", ended.stderr


@pytest.mark.parametrize(("said", "cores"), [("250000 100000", 2), ("1000 100000", 1), ("max 100000", 16), (None, 16)])
def test_a_containers_share_of_the_time_of_many_cores_is_fewer_cores(said, cores, monkeypatch, tmp_path):
    monkeypatch.setattr(parallel.devices, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    if said is not None:
        (tmp_path / "cpu.max").write_text(f"{said}\n")
    assert parallel.usable_cores() == cores


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6, 8])
def test_the_rows_that_a_process_reads_are_a_block_that_divides_the_batch_and_holds_its_own(parts):
    for first, last in itertools.combinations_with_replacement(range(parts), 2):
        block = aligned(first, last, parts)
        assert {first, last} <= set(block) <= set(range(parts))
        assert parts % len(block) == 0
        assert block.start % len(block) == 0
        smaller = [size for size in range(1, len(block)) if parts % size == 0]
        assert all(first // size != last // size for size in smaller)


def test_seeds_are_reproducible_one_after_another_on_any_platform(monkeypatch):
    monkeypatch.setattr(parallel, "seed_plan", lambda platform: "vmap")
    assert make_plan(Options(seeds=2, devices=1)).seed_plan == "vmap"
    assert make_plan(Options(seeds=2, devices=1, reproducible=True)).seed_plan == "map"
