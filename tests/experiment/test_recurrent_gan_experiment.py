"""Recurrent GANs: stopped runs go on bit for bit and beat noise, no value depends on how a batch is shared out."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued

from experiments import recurrent_gan
from seqjax.data.long_series import long_series

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {
    "length": 12,
    "num_series": 400,
    "penalty_weight": 1.0,
    "generator_size": 12,
    "critic_size": 12,
    "step_noise": 2,
    "held_noise": 6,
    "learning_rate": 1e-2,
    "second_momentum": 0.99,
    "critic_steps": 2,
    "ema_decay": 0.9,
    "batch_size": 16,
    "steps": 200,
    "chapter_steps": 100,
    "discriminative_steps": 20,
    "predictive_steps": 20,
    "repeats": 1,
}
PLAYERS = ("critic", "generator")


@functools.cache
def built(**changes):
    """The experiment, its compiled step, and an untrained state."""
    experiment = recurrent_gan.build(recurrent_gan.Config(**SMALL | changes))
    learner = experiment.phases[0].learner
    return experiment, jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0))


def batch_of(experiment, rows):
    return {"x": jnp.asarray(experiment.data.train.fields["x"][rows]), "index": jnp.asarray(rows, jnp.int32)}


def leaves(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_noise(tmp_path):
    experiment, _, _ = built()
    measured, figures = stopped_and_continued(experiment, tmp_path)
    assert set(figures) == {"samples", "spread_over_time", "spectra"}
    assert measured["gan/spectral_distance"] < 0.7 * measured["noise/spectral_distance"]
    assert measured["real/spectral_distance"] < measured["gan/spectral_distance"]
    assert measured["real/coverage"] > 0.9


def test_every_array_of_both_players_moves_but_for_the_critics_last_bias():
    experiment, step, start = built()
    after, metrics = step(start, batch_of(experiment, np.arange(32)))
    assert {"critic_real", "critic_fake", "critic_penalty", "generator_loss"} <= set(metrics)
    for name in PLAYERS:
        before = leaves(start.params[name])
        for path, value in leaves(after.params[name]).items():
            moved = not np.array_equal(value, before[path])
            # it moves the scores of real and of generated series alike, which cancels
            assert moved or (name == "critic" and path.endswith("['readout']['bias']")), path


def test_values_do_not_depend_on_how_a_batch_is_shared_out_nor_on_its_order():
    experiment, step, start = built()
    rows = np.arange(100, 132)
    whole, metrics = step(start, batch_of(experiment, rows))
    mixed, mixed_metrics = step(
        start, batch_of(experiment, rows.reshape(16, 2)[::-1].reshape(-1))
    )  # as before in each update
    halves = jax.tree.map(lambda x: x.reshape(2, 16, *x.shape[1:]), batch_of(experiment, rows))
    of_device = functools.partial(experiment.phases[0].learner.step, axis_name="device")
    shared, shared_metrics = jax.jit(jax.vmap(of_device, in_axes=(None, 0), axis_name="device"))(start, halves)
    for name in PLAYERS:
        for path, value in leaves(whole.params[name]).items():
            np.testing.assert_allclose(leaves(mixed.params[name])[path], value, atol=2e-5, err_msg=path)
            one, other = leaves(shared.params[name])[path]
            np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(one, value, atol=2e-5, err_msg=path)
    for name, value in metrics.items():
        np.testing.assert_allclose(mixed_metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(shared_metrics[name], [value, value], rtol=1e-4, atol=1e-6, err_msg=name)


def test_both_players_learn_to_the_end_though_the_critic_makes_several_updates_a_step():
    experiment, step, state = built()
    # at the last step, which an optimiser is told by its own count of updates
    last = SMALL["steps"] - 1
    opt_state = {}
    for name, updates in (("critic", SMALL["critic_steps"]), ("generator", 1)):
        opt_state[name] = jax.tree.map(
            lambda leaf, n=updates * last: leaf + n if leaf.dtype == jnp.int32 else leaf, state.opt_state[name]
        )
    state = state._replace(opt_state=opt_state)
    after, _ = step(state, batch_of(experiment, np.arange(32)))
    for name in PLAYERS:
        before = leaves(state.params[name])
        assert max(np.abs(v - before[path]).max() for path, v in leaves(after.params[name]).items()) > 1e-7, name


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "rnn", "objective": "non_saturating", "penalty": "r1", "penalty_weight": 1.0, "held_noise": 0},
        {"cell": "rnn", "objective": "wasserstein", "penalty": "none", "penalty_weight": 0.0, "clip_weights": 0.05},
    ],
)
def test_other_losses_take_finite_steps(changes):
    experiment, step, start = built(**changes)
    after, metrics = step(start, batch_of(experiment, np.arange(2)))
    assert all(np.isfinite(value) for value in metrics.values())
    assert int(after.extra["skipped"]["total"]) == 0
    largest = max(np.abs(value).max() for value in leaves(after.params["critic"]).values())
    assert largest <= 0.05 if "clip_weights" in changes else largest > 0.05


def test_windows_of_a_users_series_come_back_in_its_own_units(tmp_path):
    steps = np.arange(60.0)
    x = np.stack([1000 + np.sin(steps), 0 * steps + 3, steps], axis=1)
    np.save(tmp_path / "own.npy", x)
    experiment, _, start = built(dataset=str(tmp_path / "own.npy"))
    assert experiment.data.train.fields["x"].shape == (35, 12, 3)
    found = np.asarray(experiment.functions["generate"](start.params, jax.random.key(0), jnp.arange(5)))
    assert found.shape == (5, 12, 3)
    assert np.abs(found[..., 0] - 1000).max() < 5
    np.testing.assert_array_equal(found[..., 1], 3)
    # untrained, about the mean of the windows at each step
    assert np.abs(found[..., 2].mean(axis=0) - np.arange(24, 36)).max() < 15
    again = experiment.functions["generate"](start.params, jax.random.key(0), jnp.asarray([3, 1]))
    np.testing.assert_allclose(again, found[[3, 1]], rtol=1e-5)
    assert np.isfinite(experiment.validate(start, experiment.data.validation, jax.random.key(0)))
    whole = np.concatenate([split.fields["x"] for split in long_series(tmp_path / "own.npy")[1:4]], axis=1)
    np.testing.assert_allclose(whole[0], x, rtol=1e-6)


@pytest.mark.parametrize(
    ("coverage", "separated", "verdict"), [(0.8, 0.9, "ok"), (0.2, 0.9, "collapsed"), (0.8, 1.0, "saturated")]
)
def test_verdicts(coverage, separated, verdict):
    # of two seeds, the second of which is as good as can be
    values = {
        "gan/coverage": [coverage, 1.0],
        "real/coverage": [0.95, 0.95],
        "gan/critic_separation": [separated, 0.5],
    }
    metrics = {name: {"mean": np.mean(pair), "per_seed": pair} for name, pair in values.items()}
    assert recurrent_gan.health(metrics) == verdict


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--length", "1"], ["length=1", "at least 2 steps"]),
        (["--held-noise", "0", "--step-noise", "0"], ["step_noise=0", "1 or more"]),
        (["--held-noise", "-1"], ["held_noise=-1"]),
        (["--penalty", "none"], ["penalty_weight=1.0", "0 without"]),
        (["--second-momentum", "1"], ["second_momentum=1"]),
        (["--clip-weights", "0"], ["clip_weights=0"]),
        (["--repeats", "0"], ["repeats=0"]),
        (["--dataset", "sine"], ["'sine'", "sines, seasons, stocks"]),
        (["--dataset", "seasons", "--length", "6000"], ["6000 time steps make 1 windows", "expected at least 10"]),
        (["--critic-steps", "0"], ["critic updates=0"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=recurrent_gan)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err


def test_a_series_of_one_feature_is_refused_before_it_is_trained_on(capsys, tmp_path):
    np.save(tmp_path / "own.npy", np.arange(100.0)[:, None])
    code, _, err = command(
        capsys, "--run-dir", tmp_path / "run", "--dataset", tmp_path / "own.npy", "--devices", "1", module=recurrent_gan
    )
    assert code == 2
    assert "own has 1 feature; expected two or more" in err


def test_the_smoke_configuration_names_fields_and_the_time_is_told():
    dataclasses.replace(recurrent_gan.Config(), **recurrent_gan.SMOKE)
    assert re.search(r"\nTime: .*\d", recurrent_gan.__doc__)
