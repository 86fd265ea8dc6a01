"""GANs on mixtures and digits: stopped runs go on bit for bit, collapse is told, errors are short."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import broken_and_whole

from experiments import gan, gan_mixture
from seqjax import train
from seqjax.evaluate import image_samples
from seqjax.evaluate.feature_network import feature_network
from seqjax.experiment import Options, rundir, state
from seqjax.experiment.session import make_plan

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {
    # as in the published protocol, but for the sizes
    gan_mixture: {
        "generator_hidden": (12, 12),
        "batch_norm": True,
        "ema_decay": None,
        "critic_hidden": (8,),
        "pieces": 3,
        "packing": 2,
        "weight_stddev": 0.2,
        "simultaneous": True,
        "steps": 12,
        "chapter_steps": 4,
        "batch_size": 16,
        "num_samples": 100,
    },
    gan: {
        "objective": "wasserstein",
        "penalty": "gradient",
        "penalty_weight": 10.0,
        "spectral_norm": True,
        "condition": "projection",
        "critic_steps": 2,
        "latent_size": 4,
        "generator_hidden": (8,),
        "critic_hidden": (8,),
        "steps": 9,
        "chapter_steps": 3,
        "batch_size": 8,
    },
}
FIGURES = {
    gan_mixture: {"samples_over_time"},
    gan: {"samples", "samples_over_time", "nearest_training_images"},
}


@pytest.fixture(autouse=True)
def quick_judge(monkeypatch):
    monkeypatch.setattr(image_samples, "feature_network", functools.partial(feature_network, steps=30))


@pytest.mark.debug
@pytest.mark.parametrize("module", SMALL)
def test_stopped_and_continued_ends_as_unbroken(module, tmp_path):
    config = module.Config(**SMALL[module])
    experiment, plan = module.build(config), make_plan(Options(seeds=2, devices=1))
    whole = broken_and_whole(experiment, plan, tmp_path, save_every=0.0)
    rows = rundir.read_metrics(tmp_path / "whole")
    assert {"critic_loss", "generator_loss", "critic_real", "critic_fake", "validation"} <= set(rows[-1])
    assert set(whole.states.params) == set(whole.states.opt_state) == {"critic", "generator"}
    snapshots = np.asarray(whole.states.extra["snapshots"])
    assert snapshots.shape[1] == config.steps // config.chapter_steps
    assert len({rows.tobytes() for rows in snapshots[0]} | {rows.tobytes() for rows in snapshots[1]}) == 6

    final = train.averaged(state.seed_state(whole.states, 0))
    found = experiment.evaluate(final, experiment.data, jax.random.key(0))
    assert all(np.isfinite(value) for value in found.values())
    assert all(0 <= found[name] <= 1 for name in found if name.endswith("separation"))
    figures = experiment.figures(final, experiment.data, jax.random.key(0), {})
    assert set(figures) == FIGURES[module]
    again = experiment.evaluate(final, experiment.data, jax.random.key(0))
    assert again == found


def test_a_clipped_critic_of_several_updates_a_step_learns_to_the_end():
    experiment = gan.build(gan.Config(**SMALL[gan] | {"steps": 3, "clip_weights": 0.1}))
    learner, x = experiment.phases[0].learner, experiment.data.train.fields["x"][:16]
    label, index = jnp.arange(16) % 10, jnp.arange(16)
    batch = {"x": jnp.asarray(x, jnp.float32) / 255, "label": label, "index": index}
    step, state = jax.jit(learner.step), learner.init(jax.random.key(0))
    for _ in range(3):
        before, (state, _) = state, step(state, batch)
    for name in ("critic", "generator"):
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params[name], before.params[name])
        assert max(jax.tree.leaves(moved)) > 1e-6, name
    largest = [float(jnp.abs(weights).max()) for weights in jax.tree.leaves(state.params["critic"])]
    assert max(largest) == pytest.approx(0.1)


def test_the_mixture_itself_scores_as_its_chi_square_says():
    experiment = gan_mixture.build(gan_mixture.Config(**SMALL[gan_mixture] | {"num_samples": 2500}))
    samplers = gan_mixture.trivial_samplers(experiment.data, jax.random.key(1), "ring", 2500)
    learner = experiment.phases[0].learner
    found = experiment.evaluate(jax.jit(learner.init)(jax.random.key(0)), experiment.data, jax.random.key(1))
    assert found["true_sampler/modes"] == 8
    # 98.89 % of 2,500 with a standard deviation of 0.21 points
    assert found["true_sampler/high_quality_percent"] == pytest.approx(98.89, abs=0.8)
    assert found["true_sampler/reverse_kl"] < 0.01
    assert found["one_mode/modes"] == 1
    assert found["one_mode/reverse_kl"] == pytest.approx(np.log(8), rel=1e-5)
    assert found["gaussian/high_quality_percent"] < 5
    np.testing.assert_allclose(np.cov(samplers["gaussian"].T), np.cov(experiment.data.train.fields["x"].T), atol=0.05)


def metrics_of(**values):
    """As of two seeds, the second of which is as good as can be."""
    best = {"gan__reverse_kl": 0.0, "gan__modes": 8, "gan__coverage": 1.0, "gan__critic_separation": 0.5}
    pairs = {name: [value, best.get(name, value)] for name, value in values.items()}
    return {name.replace("__", "/"): {"mean": np.mean(pair), "per_seed": pair} for name, pair in pairs.items()}


@pytest.mark.parametrize(
    ("module", "values", "verdict"),
    [
        (gan_mixture, {"gan__reverse_kl": 0.01, "gan__modes": 8, "gan__critic_separation": 0.6}, "ok"),
        (gan_mixture, {"gan__reverse_kl": 1.5, "gan__modes": 2, "gan__critic_separation": 0.6}, "collapsed"),
        (gan_mixture, {"gan__reverse_kl": 0.0, "gan__modes": 0, "gan__critic_separation": 1.0}, "collapsed"),
        (gan_mixture, {"gan__reverse_kl": 0.1, "gan__modes": 8, "gan__critic_separation": 1.0}, "saturated"),
        (gan, {"gan__coverage": 0.5, "real__coverage": 0.9, "gan__critic_separation": 0.8}, "ok"),
        (gan, {"gan__coverage": 0.2, "real__coverage": 0.9, "gan__critic_separation": 0.8}, "collapsed"),
        (gan, {"gan__coverage": 0.5, "real__coverage": 0.9, "gan__critic_separation": 1.0}, "saturated"),
    ],
)
def test_verdicts(module, values, verdict):
    assert module.health(metrics_of(**values)) == verdict


@pytest.mark.parametrize(
    ("module", "args", "words"),
    [
        (gan_mixture, ["--packing", "3"], ["batch_size=256", "packs of 3"]),
        (gan_mixture, ["--batch-norm"], ["ema_decay=0.999", "batch_norm"]),
        (gan_mixture, ["--dataset", "spiral"], ["ring"]),
        (gan_mixture, ["--pieces", "0"], ["pieces=0"]),
        (gan, ["--dataset", "ring"], ["values outside [0, 1]"]),
        (gan, ["--dataset", "chords"], ["no field 'label'"]),
        (gan, ["--penalty", "r1"], ["penalty_weight=0.0", "above 0"]),
        (gan, ["--clip-weights", "0"], ["clip_weights=0"]),
        (gan, ["--packing", "2", "--condition", "concat"], ["packing=2", "1 with a condition"]),
        (gan, ["--critic-steps", "0"], ["critic updates=0"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, module, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=module)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err


RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(240, 16))
IMAGES[:, 0], IMAGES[:, 5] = 0, 1
LABELS = np.resize([0, 2], 240)  # no example of class 1


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "wasserstein", "penalty": "gradient", "penalty_weight": 10.0, "condition": "concat"},
        {"batch_norm": True, "ema_decay": None, "penalty": "r1", "penalty_weight": 1.0, "spectral_norm": True},
    ],
)
def test_constant_columns_and_images_in_batches_of_one_take_finite_steps(options, tmp_path):
    np.savez(tmp_path / "odd.npz", x=IMAGES, label=LABELS)
    config = gan.Config(
        str(tmp_path / "odd.npz"), generator_hidden=(6,), critic_hidden=(6,), steps=4, batch_size=1, **options
    )
    learner = gan.build(config).phases[0].learner
    step, state = jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0))
    for number, row in enumerate([*IMAGES[:2], np.zeros(16), np.ones(16)]):
        x, label = jnp.asarray(row[None], jnp.float32), jnp.asarray(LABELS[number : number + 1], jnp.int32)
        state, metrics = step(state, {"x": x, "label": label, "index": jnp.asarray([number])})
        assert all(np.isfinite(value) for value in metrics.values())
    assert int(state.extra["skipped"]["total"]) == 0


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.ones((240, 16)), "label": LABELS}, ["36 of 36 test rows are training rows"]),
        ({"x": IMAGES, "label": 0 * LABELS}, ["labels from 0 to 0", "at least two"]),
        ({"x": IMAGES, "label": LABELS - 1}, ["labels from -1 to 1"]),
        ({"x": IMAGES[:, :15], "label": LABELS}, ["rows of 15 values", "square"]),
        ({"x": IMAGES[:50], "label": LABELS[:50]}, ["own: has 8 test rows", "at least 12"]),
    ],
)
def test_images_that_cannot_be_measured_are_told_before_training(capsys, tmp_path, arrays, words):
    np.savez(tmp_path / "own.npz", **arrays)
    args = ["--run-dir", tmp_path / "run", "--dataset", tmp_path / "own.npz", "--devices", "1"]
    code, _, err = command(capsys, *args, module=gan)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
    assert not (tmp_path / "run").exists()


def test_smoke_configurations_name_fields_and_times_are_told():
    for module in SMALL:
        dataclasses.replace(module.Config(), **module.SMOKE)
        assert re.search(r"\nTime: .*\d", module.__doc__)
