"""A grid of traced scalars: each point trains as its learner alone does, in one program. Learners in turn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import problems
import pytest

from seqjax import losses, parallel, train
from seqjax.errors import UsageError

SPLIT = problems.split()
RATES, WEIGHTS = [0.05, 0.01, 0.2], [1.0, 0.3, 0.0]
BATCH_SIZE, STEPS, SEEDS = 32, 12, 2


def loss(params, batch, key, state):
    hyper, x = state.extra["hyper"], batch["x"] + 0.1 * jax.random.normal(key)
    fit = losses.squared_error(problems.predictions(params, x), batch["y"])
    return fit / hyper["divisor"] + hyper["size_weight"] * jnp.square(params["w"]).sum(), train.Aux({"fit": fit})


def fetch_of(num_shards):
    """Rows in their own order, which compiles faster than drawing them."""
    share = BATCH_SIZE // num_shards

    def fetch(source, state, seed, position, shard):
        first = (state.step * BATCH_SIZE + shard * share) % problems.ROWS
        fields = {n: jax.lax.dynamic_slice_in_dim(v, first, share) for n, v in source.fields.items()}
        return fields | {"index": first + jnp.arange(share)}

    return fetch


def scalars(rate, weight, divisor=1.0):
    values = {"learning_rate": rate, "size_weight": weight, "divisor": divisor}
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def learner_with(optimizer):
    extra = {"hyper": scalars(0.0, 0.0)}
    return train.minimise(loss, problems.init, optimizer, extra=lambda params: extra, ema_decay=0.9)


def optimizer(peak):
    return train.optimizer("adam", train.schedule("cosine", peak, steps=STEPS), clip_norm=5.0)


ONE = learner_with(train.scaled_by_hyper(optimizer(1.0)))
HYPER = {"learning_rate": np.asarray(RATES), "size_weight": np.asarray(WEIGHTS)}
GRIDS = {plan: train.grid(ONE, HYPER, plan=plan, labels=["a", "b", "a"]) for plan in ("map", "vmap")}


@functools.cache
def program(learner, driver="jit", num_devices=1):
    on = on_devices.layout(driver, num_devices)
    return lambda states: on_devices.stepped(learner, on, fetch_of, SPLIT, states, steps=STEPS)


def start(learner):
    return jax.jit(lambda keys: jax.lax.map(learner.init, keys))(jax.vmap(jax.random.key)(np.arange(SEEDS)))


@functools.cache
def trained(learner, driver="jit", num_devices=1):
    return program(learner, driver, num_devices)(start(learner))


def repeated(values, axis_size=SEEDS):
    return jax.tree.map(lambda value: jnp.stack([value] * axis_size), values)


@functools.cache
def alone(rate, weight):
    """The learner of the grid on its own with these scalars; one program serves all of them."""
    states = start(ONE)
    return program(ONE)(states._replace(extra=states.extra | {"hyper": repeated(scalars(rate, weight))}))


def seed_of(tree, seed):
    return jax.tree.map(lambda leaf: leaf[seed], tree)


@pytest.mark.parametrize("point", range(3))
def test_a_point_trains_as_its_learner_alone(point):
    states, expected = trained(GRIDS["map"])[0], alone(RATES[point], WEIGHTS[point])[0]
    for seed in range(SEEDS):
        found, other = train.at_point(seed_of(states, seed), point), seed_of(expected, seed)
        assert jax.tree.structure(found) == jax.tree.structure(other)
        assert (found.key, found.step) == (other.key, other.step)
        arrays = (jax.tree.leaves((state.params, state.opt_state, state.extra)) for state in (found, other))
        for a, b in zip(*arrays, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_points_together_differ_by_rounding_alone():
    for a, b in zip(*(jax.tree.leaves(trained(GRIDS[plan])[0].params) for plan in ("map", "vmap")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    w = np.asarray(trained(GRIDS["map"])[0].params["w"][0])
    assert np.abs(w[0] - w[1]).max() > 1e-2 < np.abs(w[0] - w[2]).max()


def test_metrics_are_means_over_the_points_of_a_label():
    _, metrics = trained(GRIDS["map"])
    each = [alone(rate, weight)[1] for rate, weight in zip(RATES, WEIGHTS, strict=True)]
    assert set(metrics) == {f"{label}{name}" for label in ("", "a_", "b_") for name in each[0]}
    for name in each[0]:
        np.testing.assert_allclose(metrics[f"b_{name}"], each[1][name], rtol=1e-6)
        np.testing.assert_allclose(metrics[f"a_{name}"], (each[0][name] + each[2][name]) / 2, rtol=1e-5)
        np.testing.assert_allclose(metrics[name], sum(one[name] for one in each) / 3, rtol=1e-5)


def test_two_devices_train_every_point_as_one_does():
    states, metrics = trained(GRIDS["map"], "pmap", 2)
    expected, expected_metrics = trained(GRIDS["map"])
    for a, b in zip(jax.tree.leaves(states.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-4)
    assert parallel.differing_replicas(states) == []


def test_a_grid_times_seeds_is_one_program_whatever_the_values():
    compilations = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **kwargs: compilations.append(event) if "backend_compile" in event else None
    )
    learner = GRIDS["map"]
    states, others = jax.block_until_ready((start(learner), repeated(repeated(scalars(0.3, 0.1), 3))))
    more = jax.tree.map(jnp.copy, states)
    more.extra["points"]["hyper"] = others
    step = jax.jit(jax.vmap(learner.step, (0, None)), donate_argnums=0)
    batch = fetch_of(1)(SPLIT, seed_of(states, 0), 0, 0, 0)
    before = len(compilations)
    step(states, batch)
    assert len(compilations) == before + 1
    moved, _ = step(more, batch)
    assert len(compilations) == before + 1
    np.testing.assert_array_equal(moved.params["w"][:, 0], moved.params["w"][:, 1])


def test_a_scaled_rate_is_the_optimisers_own_to_rounding():
    own = learner_with(optimizer(RATES[0]))
    expected, found = trained(own)[0].params, alone(RATES[0], 0.0)[0].params
    np.testing.assert_allclose(found["w"], expected["w"], rtol=1e-5, atol=1e-6)


def test_a_point_that_diverges_stands_still_and_stops_no_other():
    begun = start(ONE).params["w"]

    def with_divisors(*values):
        states = start(GRIDS["map"])
        states.extra["points"]["hyper"]["divisor"] = repeated(jnp.asarray(values, jnp.float32))
        return program(GRIDS["map"])(states)[0]

    states = with_divisors(1.0, 0.0, 1.0)
    assert states.extra["points"]["skipped"]["total"].tolist() == [[0, STEPS, 0]] * SEEDS
    assert states.extra["skipped"]["total"].tolist() == [0] * SEEDS
    np.testing.assert_array_equal(states.params["w"][:, 1], begun)
    np.testing.assert_array_equal(states.params["w"][:, ::2], trained(GRIDS["map"])[0].params["w"][:, ::2])
    assert with_divisors(0.0, 0.0, 0.0).extra["skipped"]["longest"].tolist() == [STEPS] * SEEDS


@pytest.mark.parametrize(
    ("hyper", "options", "words"),
    [
        ({"momentum": [0.1]}, {}, "momentum: no traced scalar.*learning_rate"),
        ({"learning_rate": [0.1], "size_weight": [1.0, 2.0]}, {}, "all of one length"),
        ({}, {}, "one or more entries"),
        ({"learning_rate": []}, {}, "at least 1"),
        ({"learning_rate": [0.1]}, {"labels": ["a", "b"]}, "1, one for each point"),
    ],
)
def test_what_makes_no_grid_is_refused(hyper, options, words):
    with pytest.raises(UsageError, match=words):
        train.grid(ONE, {name: np.asarray(v) for name, v in hyper.items()}, **options).init(jax.random.key(0))


def test_a_scaled_optimiser_needs_its_scalar():
    learner = train.minimise(problems.loss, problems.init, train.scaled_by_hyper(train.optimizer("adam", 1.0)))
    with pytest.raises(UsageError, match="expected learning_rate in"):
        jax.eval_shape(learner.step, learner.init(jax.random.key(0)), SPLIT.fields | {"index": jnp.arange(96)})


@pytest.mark.parametrize("rate", [np.inf, np.nan])
def test_a_scalar_that_is_not_finite_moves_nothing(rate):
    before = start(ONE)
    after, _ = program(ONE)(before._replace(extra=before.extra | {"hyper": repeated(scalars(rate, 0.0))}))
    np.testing.assert_array_equal(after.params["w"], before.params["w"])
    np.testing.assert_array_equal(after.extra["skipped"]["total"], STEPS)


def test_learners_in_turn_train_as_alone_and_keep_what_the_others_learned():
    plain = train.minimise(problems.loss, problems.init, train.optimizer("sgd", 0.1))
    learners = {"averaged": learner_with(optimizer(0.1)), "plain": plain}
    turns = train.in_turn(learners)
    batch = fetch_of(1)(SPLIT, plain.init(jax.random.key(9)), 0, 0, 0)
    keys = dict(zip(turns, jax.random.split(jax.random.key(1)), strict=True))
    state, expected = None, {}
    for name, turn in turns.items():
        start = turn.learner.init(keys[name]) if state is None else turn.enter(state, SPLIT, keys[name])
        assert jax.tree.structure(start) == jax.tree.structure(turn.learner.init(keys[name]))
        for other, params in expected.items():
            assert jax.tree.all(jax.tree.map(jnp.array_equal, train.learned_by(start, other), params))
        own = start._replace(extra={k: v for k, v in start.extra.items() if k != "others"})
        own = own._replace(key=own.key if state is None else state.key)
        alone_after, _ = learners[name].step(own, batch)
        state, _ = turn.learner.step(start, batch)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, state.params, alone_after.params))
        expected[name] = train.averaged(state).params
        assert not jax.tree.all(jax.tree.map(jnp.array_equal, state.params, start.params))
    assert set(state.extra["others"]) == {"averaged"}
    with pytest.raises(UsageError, match="at least one"):
        train.in_turn({})
