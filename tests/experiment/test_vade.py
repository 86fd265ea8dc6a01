"""Components found among codes and trained with the autoencoder; many devices as one; stops, collapse, refusals."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
from on_devices import layout, rows_of
from scipy import stats
from scipy.special import softmax, xlogy
from short_runs import stopped_and_continued

from experiments import vade
from seqjax import parallel
from seqjax.data.batches import batch_at
from seqjax.densities import floored
from seqjax.errors import UsageError
from seqjax.evaluate.assignments import seed_of
from seqjax.evaluate.clustering import fitted_mixture
from seqjax.models.vae import VAE, standard_noise

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = vade.Config(
    likelihood="gaussian",
    hidden=(12,),
    latent_size=2,
    pretraining_steps=60,
    restarts=2,
    steps=60,
    batch_size=32,
    chapter_steps=30,
)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Three blobs of 40 rows."""
    rng = np.random.default_rng(0)
    label = np.arange(120) % 3
    centres = np.asarray([[0, 0, 0, 0, 0], [4, 4, 0, 0, 0], [0, 4, 4, 4, 0]])
    path = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(path, x=(centres[label] + rng.normal(size=(120, 5))).astype(np.float32), label=label)
    return path


@functools.cache
def built(path, **changes):
    return vade.build(dataclasses.replace(SMALL, dataset=str(path), **changes))


@functools.cache
def entered(path, **changes):
    """The experiment and its state at the first step of the bound, after no training at all."""
    experiment = built(path, **changes)
    before, after = experiment.phases
    return experiment, after.enter(jax.jit(before.learner.init)(KEY), experiment.data.train, KEY)


@functools.cache
def stepped(path, driver="jit", num_devices=1, steps=20, **changes):
    experiment, state = entered(path, **changes)
    states = jax.tree.map(lambda x: x[None], state)
    learner, on = experiment.phases[1].learner, layout(driver, num_devices)
    states, metrics = on_devices.stepped(learner, on, rows_of(32), experiment.data.train, states, steps=steps)
    return jax.tree.map(lambda leaf: leaf[0], states), metrics


@pytest.mark.debug
def test_stopped_in_its_second_phase_and_continued_ends_as_unbroken(path, tmp_path):
    measured, figures = stopped_and_continued(built(path), tmp_path, chapters=3)
    assert set(figures) == {"embedding_map", "cluster_means", "cluster_confusion", "samples"}
    assert {name.split("/")[0] for name in measured} == {"vade", "autoencoder_mixture", "kmeans", "pca_kmeans"}
    assert measured["vade/accuracy"] > 0.9
    assert measured["vade/clusters_used"] == 3
    experiment, state = entered(path)
    before = experiment.evaluate(state, experiment.data, KEY)
    assert measured["vade/elbo"] > before["vade/elbo"] + 5


def test_components_start_as_the_mixture_of_the_codes(path):
    experiment, state = entered(path)
    x = experiment.data.train.fields["x"]
    codes = np.asarray(experiment.functions["encode"](state.params, x))
    found = fitted_mixture(codes, 3, seed=seed_of(KEY), num_starts=2)
    np.testing.assert_allclose(
        experiment.functions["assign"](state.params, x), found.predict_proba(codes.astype(np.float64)), atol=1e-4
    )
    assert jax.tree.all(jax.tree.map(np.array_equal, state.extra["pretrained"], state.params))


def test_the_loss_is_equation_12_of_a_draw_of_the_latents(path):
    """Both of its terms in NumPy, from what the encoder says of a batch and the noise that a step draws."""
    experiment, state = entered(path)
    _, metrics = stepped(path, steps=1)
    batch = batch_at(experiment.data.train, state.key, 0, batch_size=32)
    key = jax.random.fold_in(state.key, 0)
    (epsilon,) = standard_noise(key, batch["index"], jnp.zeros(1, jnp.int32), (2,))
    model = VAE(5, ((12,),), (2,), "relu", "gaussian")
    (_,), (posterior,) = model.apply(state.params["vae"], batch["x"], (epsilon,), method="draw")
    mean, log_stddev = (np.asarray(a, np.float64)[:, 0] for a in posterior)
    z = mean + np.exp(log_stddev) * np.asarray(epsilon)[:, 0]
    prior = {name: np.asarray(leaf, np.float64) for name, leaf in state.params["prior"].items()}
    weights, stddevs = softmax(prior["logits"]), np.exp(prior["log_stddevs"])
    joint = np.log(weights) + stats.norm(prior["means"], stddevs).logpdf(z[:, None]).sum(axis=2)
    gamma = softmax(joint, axis=1)
    spread = np.log(stddevs**2) + (np.exp(2 * log_stddev)[:, None] + (mean[:, None] - prior["means"]) ** 2) / stddevs**2
    kl = (
        0.5 * (gamma * spread.sum(axis=2)).sum(axis=1)
        - (gamma * np.log(weights)).sum(axis=1)
        + xlogy(gamma, gamma).sum(axis=1)
        - 0.5 * (1 + 2 * log_stddev).sum(axis=1)
    )
    decoded = np.asarray(experiment.functions["decode"](state.params, jnp.asarray(z, jnp.float32)))
    # of the likelihood, kept above a hundredth
    stddev = np.exp(floored(state.params["vae"]["params"]["p_0"]["log_stddev"], np.log(0.01)))
    nats = -stats.norm(decoded, stddev).logpdf(np.asarray(batch["x"])).sum(axis=1)
    np.testing.assert_allclose(metrics["kl"][0, 0], kl.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["reconstruction"][0, 0], nats.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"][0, 0], (kl + nats).mean(), rtol=1e-4)


def test_the_bound_moves_encoder_decoder_and_components(path):
    _, state = entered(path)
    after, _ = stepped(path)
    for old, new in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        assert not np.array_equal(old, new)


def test_the_autoencoder_alone_leaves_the_components(path):
    experiment = built(path)
    learner = experiment.phases[0].learner
    states = jax.tree.map(lambda x: x[None], jax.jit(learner.init)(KEY))
    after, _ = on_devices.stepped(learner, layout("jit", 1), rows_of(32), experiment.data.train, states, steps=2)
    for old, new in zip(jax.tree.leaves(states.params["prior"]), jax.tree.leaves(after.params["prior"]), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("driver", ["pmap", "shard_map", "jit"])
def test_eight_devices_equal_one_after_twenty_steps(path, driver):
    (one, one_metrics), (many, metrics) = stepped(path), stepped(path, driver, 8)
    on_devices.assert_close(many.params, one.params)
    np.testing.assert_allclose(metrics["loss"], one_metrics["loss"], rtol=1e-4)
    assert parallel.differing_replicas(many) == []


def test_the_learning_rate_falls_every_ten_passes_to_a_tenth():
    rate = vade.decaying(2e-3, 0.5, epoch_steps=3.75)
    for step, expected in ((0, 2e-3), (37, 2e-3), (38, 1e-3), (75, 1e-3), (76, 5e-4), (5000, 2e-4)):
        np.testing.assert_allclose(rate(step), expected, rtol=1e-6)
    assert jax.jit(vade.decaying(2e-3, 1.0, epoch_steps=0.01))(500) == np.float32(2e-3)


@pytest.mark.parametrize(
    ("used", "largest", "verdict"), [(3, 0.5, "ok"), (2, 0.5, "collapsed"), (3, 0.95, "collapsed")]
)
def test_collapse_is_told(path, used, largest, verdict):
    metrics = {"vade/clusters_used": {"per_seed": [3, used]}, "vade/largest_share": {"per_seed": [0.4, largest]}}
    assert built(path).health(metrics) == verdict


def test_rows_kept_apart_and_without_labels(tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(0).uniform(size=(60, 4)).astype(np.float32))
    changes = {"num_clusters": 2, "joined": False, "likelihood": "bernoulli"}
    experiment, state = entered(tmp_path / "rows.npz", **changes)
    assert experiment.data.test.num_examples < experiment.data.train.num_examples
    measured = experiment.evaluate(state, experiment.data, KEY)
    assert all(np.isfinite(value) for value in measured.values())
    assert "vade/accuracy" not in measured
    decoded = experiment.functions["decode"](state.params, state.params["prior"]["means"])
    assert decoded.shape == (2, 4)
    assert ((decoded > 0) & (decoded < 1)).all()
    drawn = experiment.functions["sample"](state.params, KEY, jnp.asarray([0, 1, 1]))
    assert drawn.shape == (3, 4)
    assert not np.array_equal(drawn[1], drawn[2])


def test_equal_rows_collapse_and_stay_finite(tmp_path):
    np.savez(tmp_path / "equal.npz", x=np.ones((30, 4), np.float32), label=np.arange(30) % 3)
    experiment, state = entered(tmp_path / "equal.npz")
    # a component of one point would be of no width
    np.testing.assert_allclose(state.params["prior"]["log_stddevs"], np.log(0.01), rtol=1e-6)
    after, _ = stepped(tmp_path / "equal.npz")
    assert after.extra["skipped"]["total"] == 0
    measured = experiment.evaluate(after, experiment.data, KEY)
    assert all(np.isfinite(value) for value in measured.values())
    assert experiment.health({name: {"per_seed": [value]} for name, value in measured.items()}) == "collapsed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_clusters": 121}, "--num-clusters 121: expected 2 to 120"),
        ({"hidden": (0,)}, "hidden"),
        ({"latent_size": 0}, "latent_size=0: expected at least 1"),
        ({"batch_size": 0}, "batch_size=0: expected at least 1"),
        ({"pretraining_learning_rate": 0.0}, r"pretraining_learning_rate=0\.0: expected a positive"),
        ({"restarts": 0}, "restarts=0: expected at least 1"),
        ({"decay": 0.0}, r"decay=0\.0: expected a factor"),
        ({"learning_rate": -1.0}, r"learning_rate=-1\.0: expected a positive"),
        ({"dataset": "events"}, "--dataset events: expected rows of values"),
        ({"dataset": "sentences"}, "--dataset sentences: expected rows of values"),
    ],
)
def test_impossible_configurations_are_refused(path, changes, words):
    with pytest.raises(UsageError, match=words):
        vade.build(dataclasses.replace(SMALL, **({"dataset": str(path)} | changes)))


def test_values_that_are_no_intensities_need_a_gaussian(path):
    with pytest.raises(UsageError, match=r"outside \[0, 1\]. Scale them, or use --likelihood gaussian"):
        built(path, likelihood="bernoulli")
