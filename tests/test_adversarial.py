"""Players move in turn or together, each alone, on rows of their own; many devices as one; all or none of a step."""

import functools

import games
import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import optax
import pytest

from seqjax import parallel, train
from seqjax.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPLIT = games.split()
BATCH_SIZE, STEPS = 64, 20


def batch(rows=16, **changes):
    index = jnp.arange(rows, dtype=jnp.int32)
    return {"x": jnp.asarray(SPLIT.fields["x"][:rows]), "index": index} | changes


@functools.cache
def started():
    learner = games.network()
    return jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0))


def leaves(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_turns_and_simultaneous_moves_by_hand():
    row = {"x": jnp.zeros(4), "index": jnp.arange(4)}
    turns, together = games.bilinear(0.1), games.bilinear(0.1, simultaneous=True)
    after, metrics = turns.step(turns.init(jax.random.key(0)), row)
    assert after.params["critic"] == pytest.approx(1.1)
    assert after.params["generator"] == pytest.approx(1 - 0.1 * 1.1)
    assert metrics["critic_loss"] == pytest.approx(-1)
    assert metrics["generator_loss"] == pytest.approx(1.1)
    after, metrics = together.step(together.init(jax.random.key(0)), row)
    assert after.params["critic"] == pytest.approx(1.1)
    assert after.params["generator"] == pytest.approx(0.9)
    assert metrics["generator_loss"] == pytest.approx(1)
    assert set(metrics) == {f"{p}_{m}" for p in ("critic", "generator") for m in ("loss", "gradient_norm")}


def test_turns_circle_and_simultaneous_moves_spiral_out():
    """|(x, y)| stays bounded in turns and grows by sqrt(1 + rate^2) a step together (Gidel et al. 2019, section 2)."""
    row = {"x": jnp.zeros(1), "index": jnp.arange(1)}
    for options, expected in (({}, None), ({"simultaneous": True}, np.sqrt(2) * 1.01**50)):
        game = games.bilinear(0.1, **options)
        state, _ = jax.lax.scan(lambda s, _, g=game: g.step(s, row), game.init(jax.random.key(0)), None, length=100)
        size = np.hypot(state.params["critic"], state.params["generator"])
        assert size == pytest.approx(expected, rel=1e-4) if expected else size < 1.6


def mean_seeking(updates):
    """A player whose only update goes all the way to the mean of the rows it sees."""

    def loss(params, batch, key, state, *, axis_name):
        return 0.5 * jnp.square(params - batch["x"]), train.Aux({"key": jax.random.uniform(key) + 0 * batch["x"]})

    return train.Player(loss, lambda key: jnp.float32(0), optax.sgd(1.0), updates)


def test_each_update_sees_rows_of_its_own():
    x = jnp.asarray(np.random.default_rng(0).normal(size=12), jnp.float32)
    rows = {"x": x, "index": jnp.arange(12)}
    for updates in (1, 2, 3):
        learner = train.adversarial({"busy": mean_seeking(updates), "other": mean_seeking(1)})
        state, _ = learner.step(learner.init(jax.random.key(0)), rows)
        # the last of the busy player's parts is what it ends at
        np.testing.assert_allclose(state.params["busy"], x[updates - 1 :: updates].mean(), rtol=1e-5)
        np.testing.assert_allclose(state.params["other"], x[::updates].mean(), rtol=1e-5)
    with pytest.raises(UsageError, match="12 rows cannot be dealt out to 5 updates"):
        train.adversarial({"busy": mean_seeking(5)}).step(state._replace(params={"busy": x[0]}), rows)


def test_players_and_updates_have_keys_of_their_own_unless_they_move_together():
    rows = {"x": jnp.zeros(4), "index": jnp.arange(4)}
    drawn = {}
    for simultaneous in (False, True):
        learner = train.adversarial({"a": mean_seeking(1), "b": mean_seeking(1)}, simultaneous=simultaneous)
        state = learner.init(jax.random.key(0))
        for step in range(2):
            state, metrics = learner.step(state, rows)
            drawn[simultaneous, step] = [float(metrics["a_key"]), float(metrics["b_key"])]
    assert len({*drawn[False, 0], *drawn[False, 1]}) == 4
    assert drawn[True, 0][0] == drawn[True, 0][1] != drawn[True, 1][0]
    two = train.adversarial({"a": mean_seeking(2)})
    _, metrics = two.step(two.init(jax.random.key(0)), rows)
    assert float(metrics["a_key"]) != drawn[False, 0][0]  # the mean of two draws, the first of which is that one


@pytest.mark.parametrize("still", ["critic", "generator"])
def test_every_array_of_a_player_moves_in_its_step_and_in_no_other(still):
    step, state = started()
    stopped = state._replace(opt_state=state.opt_state | {still: jnp.float32(0)})
    after, _ = step(stopped, batch())
    for name in ("critic", "generator"):
        moved = {path: not np.array_equal(a, b) for (path, a), b in zip(
            leaves(state.params[name]).items(), leaves(after.params[name]).values(), strict=True
        )}  # fmt: skip
        assert len(moved) >= 4
        # a rate of zero stops a player; had it been differentiated by the other's loss, it would not stand still
        assert not any(moved.values()) if name == still else all(moved.values()), moved
        for path, value in leaves(state.extra[name]).items():
            if value.size > 1:
                assert not np.array_equal(value, leaves(after.extra[name])[path]), path


def test_metrics_are_means_and_the_true_gradient_norm():
    learner = games.bilinear()
    state = learner.init(jax.random.key(0))._replace(params={"critic": jnp.float32(3), "generator": jnp.float32(-2)})
    _, metrics = learner.step(state, {"x": jnp.zeros(4), "index": jnp.arange(4)})
    assert metrics["critic_gradient_norm"] == pytest.approx(2)
    assert metrics["critic_loss"] == pytest.approx(6)
    step, state = started()
    _, metrics = step(state, batch())
    terms = [metrics[f"critic_{term}"] for term in ("real", "fake", "penalty")]
    assert metrics["critic_loss"] == pytest.approx(float(sum(terms)), rel=1e-5)
    assert {name.split("_")[0] for name in metrics} == {"critic", "generator"}


def test_the_moving_average_is_of_the_player_that_asks_for_one():
    step, state = started()
    average = leaves(state.params["generator"])
    for _ in range(3):
        state, _ = step(state, batch())
        average = {path: 0.9 * a + 0.1 * b for (path, a), b in zip(
            average.items(), leaves(state.params["generator"]).values(), strict=True
        )}  # fmt: skip
    assert set(state.extra["ema"]) == {"generator"}
    for path, value in leaves(state.extra["ema"]["generator"]).items():
        np.testing.assert_allclose(value, average[path], rtol=1e-5, atol=1e-7)
    evaluated = train.averaged(state).params
    assert evaluated["critic"] is state.params["critic"]
    assert evaluated["generator"] is state.extra["ema"]["generator"]


def test_weights_are_clipped_after_the_update():
    clip = functools.partial(optax.projections.projection_box, lower=-0.01, upper=0.01)
    learner = train.adversarial({"critic": mean_seeking(2)._replace(project=clip)})
    state, _ = learner.step(learner.init(jax.random.key(0)), {"x": jnp.full(4, -3.0), "index": jnp.arange(4)})
    assert state.params["critic"] == pytest.approx(-0.01)


@pytest.mark.parametrize(("updates", "simultaneous"), [(1, False), (2, False), (1, True)])
@pytest.mark.parametrize("bad", ["one", "other"])
@pytest.mark.parametrize("spoilt", [optax.scale(float("inf")), train.optimizer("adam", float("inf"))])
def test_an_update_of_one_player_that_is_not_finite_moves_none(spoilt, bad, updates, simultaneous):
    players = {name: mean_seeking(1)._replace(ema_decay=0.9) for name in ("one", "other")}
    players[bad] = players[bad]._replace(optimizer=spoilt, updates=updates)
    learner = train.adversarial(players, simultaneous=simultaneous)
    state = learner.init(jax.random.key(0))
    rows = {"x": jnp.full(4, -3.0), "index": jnp.arange(4)}
    after, _ = jax.jit(learner.step)(state, rows)
    for before, now in ((state.params, after.params), (state.extra["ema"], after.extra["ema"])):
        assert jax.tree.map(float, now) == jax.tree.map(float, before)
    jax.tree.map(np.testing.assert_array_equal, after.opt_state, state.opt_state)
    assert int(after.extra["skipped"]["total"]) == 1
    made, _ = learner.step(state, rows, guarded=False)
    assert not np.isfinite(made.params[bad])
    (good,) = {"one", "other"} - {bad}
    assert made.params[good] != state.params[good]


@pytest.mark.parametrize("project", [lambda params: params / 0.0, lambda params: params * jnp.nan])
def test_projected_parameters_that_are_not_finite_move_none(project):
    players = {"one": mean_seeking(1), "other": mean_seeking(1)._replace(project=project)}
    learner = train.adversarial(players)
    state = learner.init(jax.random.key(0))
    after, _ = learner.step(state, {"x": jnp.full(4, -3.0), "index": jnp.arange(4)})
    assert jax.tree.map(float, after.params) == jax.tree.map(float, state.params)
    assert int(after.extra["skipped"]["total"]) == 1


def test_what_is_not_finite_for_one_player_moves_neither():
    step, state = started()
    state, _ = step(state, batch())
    bad = batch(x=batch()["x"].at[5, 1].set(jnp.inf))
    after, metrics = step(state, bad)
    assert not np.isfinite(metrics["critic_loss"])
    for part in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(state, part))
    for name in ("critic", "generator", "ema"):
        jax.tree.map(np.testing.assert_array_equal, after.extra[name], state.extra[name])
    assert {name: int(count) for name, count in after.extra["skipped"].items()} == {
        "total": 1,
        "in_a_row": 1,
        "longest": 1,
    }
    assert int(after.step) == 2
    again, _ = step(after, batch())
    assert not np.array_equal(
        leaves(again.params["generator"])["['params']['Dense_0']['kernel']"],
        leaves(state.params["generator"])["['params']['Dense_0']['kernel']"],
    )


@pytest.mark.parametrize(
    ("players", "options", "words"),
    [
        ({}, {}, "players=.*at least one"),
        ({"critic": mean_seeking(0)}, {}, "critic updates=0: expected at least 1"),
        ({"critic": mean_seeking(2)}, {"simultaneous": True}, "critic updates=2: expected 1 where all move"),
        ({"critic": mean_seeking(1)._replace(ema_decay=1.0)}, {}, "critic ema_decay=1.0"),
    ],
)
def test_players_that_cannot_play_are_refused(players, options, words):
    with pytest.raises(UsageError, match=words):
        train.adversarial(players, **options)


@functools.cache
def trained(driver: str, num_devices: int):
    learner = games.network()
    fetch_of = functools.partial(games.fetch_of, SPLIT, BATCH_SIZE)
    states = jax.tree.map(lambda leaf: leaf[None], started()[1])
    return on_devices.stepped(learner, on_devices.layout(driver, num_devices), fetch_of, SPLIT, states, steps=STEPS)


@pytest.mark.parametrize("driver", ["pmap", "shard_map", "jit"])
def test_eight_devices_equal_one_after_twenty_steps(driver):
    """With batch statistics, packs, a penalty and noise: none of it shows how the batch was shared out."""
    (one, one_metrics), (many, metrics) = trained("jit", 1), trained(driver, 8)
    for path, value in leaves((one.params, one.extra)).items():
        found = leaves((many.params, many.extra))[path]
        assert (np.abs(found - value) <= 1e-5 * np.maximum(1, np.abs(value))).all(), path
    for name, values in one_metrics.items():
        np.testing.assert_allclose(metrics[name], values, rtol=1e-4, err_msg=name)
    assert parallel.differing_replicas(many) == []
    start = leaves(started()[1].params)
    assert all(np.abs(value[0] - start[path]).max() > 1e-3 for path, value in leaves(one.params).items())
