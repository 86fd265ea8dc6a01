"""Components found among codes and trained with the autoencoder; many devices as one; stops, collapse, refusals."""

import dataclasses
import functools

import jax
import numpy as np
import on_devices
import pytest
from on_devices import layout, rows_of
from short_runs import quickly_compiled, stopped_and_continued

from experiments import vade
from seqjax import parallel
from seqjax.errors import DataError, UsageError

SMALL = vade.Config(
    likelihood="gaussian",
    hidden=(12,),
    latent_size=2,
    pretraining_steps=60,
    starts=2,
    steps=60,
    batch_size=32,
    chapter_steps=30,
)
KEY = jax.random.key(5)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    with quickly_compiled():
        yield


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
    rows = {"vade", "autoencoder_mixture", "kmeans", "pca_kmeans"}
    assert {name.split("/")[0] for name in measured} == rows
    assert all(measured[f"{row}/accuracy"] > 0.9 for row in rows)
    assert measured["vade/clusters_used"] == 3
    assert measured["vade/kl"] > 0


def test_components_start_where_the_clusters_of_the_codes_are(path):
    experiment, state = entered(path)
    x = experiment.data.train.fields["x"]
    codes = np.asarray(experiment.functions["encode"](state.params, x))
    shares = np.asarray(experiment.functions["assign"](state.params, x))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    own = shares.argmax(axis=1)
    means = np.stack([codes[own == number].mean(axis=0) for number in range(3)])
    spread = codes.std(axis=0).mean()
    # the mixture's clusters and those of the components fitted to them differ by a few rows at their borders
    np.testing.assert_allclose(state.params["prior"]["means"], means, atol=0.2 * spread)
    np.testing.assert_allclose(state.extra["pretrained"]["prior"]["means"], state.params["prior"]["means"])


def test_the_bound_moves_encoder_decoder_and_components(path):
    _, state = entered(path)
    after, metrics = stepped(path)
    for old, new in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        assert not np.array_equal(old, new)
    assert metrics["loss"][0, -1] < metrics["loss"][0, 0]
    np.testing.assert_allclose(metrics["loss"], metrics["reconstruction"] + metrics["kl"], rtol=1e-5)


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
    assert vade.decaying(2e-3, 1.0, epoch_steps=0.01)(500) == np.float32(2e-3)


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


def test_equal_rows_collapse_and_stay_finite(tmp_path):
    np.savez(tmp_path / "equal.npz", x=np.ones((30, 4), np.float32), label=np.arange(30) % 3)
    experiment, state = entered(tmp_path / "equal.npz")
    measured = experiment.evaluate(state, experiment.data, KEY)
    assert all(np.isfinite(value) for value in measured.values())
    assert experiment.health({name: {"per_seed": [value]} for name, value in measured.items()}) == "collapsed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_clusters": 121}, "--num-clusters 121: expected 2 to 120"),
        ({"hidden": (0,)}, "hidden"),
        ({"latent_size": 0}, "latent_sizes"),
        ({"starts": 0}, "starts=0: expected at least 1"),
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
    with pytest.raises(DataError, match=r"outside \[0, 1\]; scale them, or use --likelihood gaussian"):
        built(path, likelihood="bernoulli")
