"""The variational autoencoders: runs of seconds that beat trivial densities, devices, collapse, signals, odd data."""

import dataclasses
import re
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
from commands import command, finished, process
from on_devices import assert_close, layout, rows_of
from short_runs import broken_and_whole

from experiments import conditional_vae, iwae, vae
from seqjax import parallel
from seqjax.experiment import Options, state
from seqjax.experiment.command import evaluated
from seqjax.experiment.phases import train_phases
from seqjax.experiment.session import make_plan, make_session

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {
    "hidden": (32,),
    "latent_size": 4,
    "steps": 300,
    "chapter_steps": 100,
    "batch_size": 64,
    "learning_rate": 1e-2,
    "schedule": "cosine",
    "importance_samples": 20,
}
OWN = {
    vae: {"mixture_components": 3, "annealing": "linear"},
    iwae: {"mixture_components": 3, "samples": 3, "gradient": "doubly_reparameterised"},
    conditional_vae: {"class_samples": 3},
}
BASELINES = {vae: "marginal", iwae: "marginal", conditional_vae: "class_marginal"}
FIGURES = {"samples", "reconstructions", "traversals", "interpolations", "latent_map"}


def name_of(module):
    return module.__name__.split(".")[-1]


def trained(experiment, run_dir, **options):
    run_dir.mkdir(exist_ok=True)
    session = make_session(experiment, make_plan(Options(seeds=1, devices=1)), run_dir, **options)
    return train_phases(session, state.restore_or_start(session))


@pytest.mark.debug
@pytest.mark.parametrize("module", OWN)
def test_stopped_and_continued_ends_as_unbroken_and_better_than_trivial(module, tmp_path):
    experiment = module.build(module.Config(**SMALL | OWN[module]))
    whole = broken_and_whole(experiment, make_plan(Options(seeds=1, devices=1)), tmp_path)
    metrics = evaluated(experiment, whole, range(1))
    measured = {name: value["mean"] for name, value in metrics.items()}
    assert all(np.isfinite(value) for value in measured.values())
    row = name_of(module)
    assert measured[f"{row}/nll"] < measured[f"{BASELINES[module]}/nll"] - 0.5
    # the bound of many draws is above that of one, and both have the posterior that training made
    assert measured[f"{row}/nll"] < -measured[f"{row}/elbo"]
    assert experiment.health(metrics) == "ok"
    if module is conditional_vae:
        assert measured["conditional_vae/accuracy"] > 3 * measured["majority/accuracy"]
        assert measured["conditional_vae/obedience"] > 3 * measured["majority/accuracy"]
    final = state.seed_state(state.selected(whole), 0)
    assert set(experiment.figures(final, experiment.data, jax.random.key(0), metrics)) == FIGURES
    code = experiment.functions["encode"](
        final.params,
        experiment.data.test.fields["x"][:3],
        jnp.eye(10)[:3] if module is conditional_vae else None,
    )
    assert code.shape == (3, 4)


def test_a_posterior_pressed_onto_the_prior_is_reported_as_collapsed(tmp_path):
    experiment = vae.build(vae.Config(**SMALL | {"steps": 100, "beta": 100.0, "mixture_components": 1}))
    metrics = evaluated(experiment, trained(experiment, tmp_path / "run"), range(1))
    assert metrics["vae/kl"]["mean"] < 0.1
    assert experiment.health(metrics) == "collapsed"


TWO_LAYERS = {"hidden": (8,), "latent_size": 4, "upper_hidden": (6,), "upper_latent_size": 3, "batch_size": 16}


@pytest.mark.parametrize(
    "build",
    [
        lambda: vae.build(
            vae.Config(
                hidden=(8,),
                latent_size=4,
                batch_size=16,
                likelihood="gaussian",
                stddev="each",
                annealing="cyclical",
                free_bits=0.2,
                steps=20,
            )
        ),
        lambda: iwae.build(iwae.Config(**TWO_LAYERS, samples=2, gradient="doubly_reparameterised", steps=20)),
    ],
)
def test_eight_devices_equal_one_after_twenty_steps(build):
    experiment = build()
    learner, split = experiment.phases[0].learner, experiment.data.train
    found = []
    for driver, count in (("jit", 1), ("pmap", 8)):
        states = jax.tree.map(lambda leaf: leaf[None], learner.init(jax.random.key(3)))
        found.append(on_devices.stepped(learner, layout(driver, count), rows_of(16), split, states, steps=20))
    (one, metrics), (many, metrics_of_many) = found
    assert parallel.differing_replicas(many) == []
    assert_close(many.params, one.params)
    np.testing.assert_allclose(metrics_of_many["kl"], metrics["kl"], rtol=1e-4, atol=1e-4)
    assert int(one.extra["skipped"]["total"][0]) == 0


def test_a_signal_during_evaluation_is_heard_at_once_and_what_was_trained_is_saved(tmp_path):
    args = ["--hidden", "8", "--latent-size", "2", "--steps", "5", "--chapter-steps", "5", "--seeds", "1"]
    running = process("vae", "--run-dir", tmp_path / "run", *args, "--importance-samples", "10000000")
    last = tmp_path / "run" / "checkpoints" / "0-000000005.json"
    deadline = time.monotonic() + 200
    while not last.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    # a compilation is one call that no signal breaks off: by then it is over, and draws are being made for hours
    time.sleep(20)
    assert running.poll() is None, running.communicate()
    begin = time.monotonic()
    running.send_signal(signal.SIGTERM)
    code, _, err = finished(running)
    assert code == 75, err
    assert time.monotonic() - begin < 5
    assert "stopped by a signal after training" in err
    assert len(err.strip().splitlines()) == 2
    assert not (tmp_path / "run" / "receipt.json").exists()


def odd(tmp_path, name, **arrays):
    path = tmp_path / f"{name}.npz"
    np.savez(path, **arrays)
    return path


RNG = np.random.default_rng(0)
TINY = {
    "hidden": (4,),
    "latent_size": 2,
    "steps": 4,
    "chapter_steps": 4,
    "batch_size": 1,
    "importance_samples": 3,
}


@pytest.mark.parametrize("module", [vae, conditional_vae])
def test_odd_data_in_batches_of_one_give_finite_values(tmp_path, module):
    """A column of zeros, one of ones, and a class that no example has."""
    x = RNG.uniform(size=(40, 6))
    x[:, 0], x[:, 1] = 0, 1
    label = np.resize([0, 2], 40)
    path = odd(tmp_path, "odd", x=x, label=label)
    own = {"class_samples": 2} if module is conditional_vae else {"likelihood": "gaussian", "stddev": "each"}
    experiment = module.build(module.Config(dataset=str(path), **TINY | own))
    final = trained(experiment, tmp_path / "run")
    assert int(final.states.extra["skipped"]["total"][0]) == 0
    metrics = evaluated(experiment, final, range(1))
    assert all(np.isfinite(value["mean"]) for value in metrics.values())
    seed_state = state.seed_state(final.states, 0)
    assert "samples" in experiment.figures(seed_state, experiment.data, jax.random.key(0), metrics)


def test_constant_images_give_finite_values(tmp_path):
    path = odd(tmp_path, "flat", x=np.ones((30, 4)))
    experiment = vae.build(vae.Config(dataset=str(path), **TINY))
    metrics = evaluated(experiment, trained(experiment, tmp_path / "run"), range(1))
    assert all(np.isfinite(value["mean"]) for value in metrics.values())


@pytest.mark.parametrize(
    ("module", "args", "words"),
    [
        (vae, ["--beta", "-1"], ["beta=-1"]),
        (vae, ["--free-bits", "-1"], ["free_bits=-1"]),
        (vae, ["--free-bits", "1", "--upper-latent-size", "3"], ["free_bits=1", "two layers"]),
        (vae, ["--upper-hidden", "5"], ["upper_hidden=(5,)"]),
        (vae, ["--likelihood", "poisson"], ["poisson", "gaussian"]),
        (vae, ["--stddev", "none"], ["stddev"]),
        (vae, ["--hidden", "0"], ["hidden="]),
        (vae, ["--latent-size", "0"], ["latent_sizes=(0,)"]),
        (vae, ["--importance-samples", "0"], ["importance_samples=0"]),
        (vae, ["--mixture-components", "0"], ["mixture_components=0"]),
        (iwae, ["--samples", "0"], ["samples=0"]),
        (iwae, ["--learning-rate", "0"], ["learning_rate=0"]),
        (conditional_vae, ["--class-samples", "0"], ["class_samples=0"]),
    ],
)
def test_bad_arguments_are_told_before_training(capsys, tmp_path, module, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=module)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "arrays", "words"),
    [
        (vae, {"x": np.full((30, 4), 2.5)}, ["values from 2.5 to 2.5", "Gaussian"]),
        (conditional_vae, {"x": np.ones((30, 4))}, ["no labels"]),
        (conditional_vae, {"x": np.ones((30, 4)), "label": np.full(30, -1)}, ["label -1"]),
    ],
)
def test_data_that_do_not_suit_are_told(capsys, tmp_path, module, arrays, words):
    path = odd(tmp_path, "own", **arrays)
    args = ["--run-dir", tmp_path / "run", "--dataset", path, "--devices", "1"]
    code, _, err = command(capsys, *args, module=module)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in ("own", *words):
        assert word in err


def test_smoke_configurations_name_fields_and_times_are_told():
    for module in OWN:
        dataclasses.replace(module.Config(), **module.SMOKE)
        assert re.search(r"\nTime: .*\d", module.__doc__)
