"""Targets over all rows, renewed between chapters; many devices as one; stopped runs, collapse, data without labels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
from on_devices import layout, rows_of
from short_runs import stopped_and_continued
from ts_folders import WAVES, ts_file

from experiments import deep_clustering
from seqjax import parallel
from seqjax.clustering_losses import log_soft_assignments, target_distribution
from seqjax.errors import DataError, UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = deep_clustering.Config(
    hidden=(12,),
    code_size=3,
    learning_rate=1e-2,
    steps=60,
    chapter_steps=60,
    batch_size=32,
    restarts=2,
    refresh_every=20,
    cluster_steps=60,
    tolerance=0.0,
)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Three blobs of 40 rows, of which two are near each other."""
    rng = np.random.default_rng(0)
    label = np.arange(120) % 3
    centres = np.asarray([[0, 0, 0, 0, 0], [3, 3, 0, 0, 0], [2, 3, 3, 0, 0]])
    path = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(path, x=(centres[label] + rng.normal(size=(120, 5))).astype(np.float32), label=label)
    return path


@functools.cache
def built(path, **changes):
    return deep_clustering.build(dataclasses.replace(SMALL, dataset=str(path), **changes))


@functools.cache
def entered(path, **changes):
    """The experiment and its state at the first step of clustering, after no training at all."""
    experiment = built(path, **changes)
    before, after = experiment.phases
    return experiment, after.enter(jax.jit(before.learner.init)(KEY), experiment.data.train, KEY)


@functools.cache
def stepped(path, driver="jit", num_devices=1, steps=20, **changes):
    """The state after steps of clustering without a new target."""
    experiment, state = entered(path, **changes)
    learner, on, states = (
        experiment.phases[1].learner,
        layout(driver, num_devices),
        jax.tree.map(lambda x: x[None], state),
    )
    states, metrics = on_devices.stepped(learner, on, rows_of(32), experiment.data.train, states, steps=steps)
    return jax.tree.map(lambda leaf: leaf[0], states), metrics


@pytest.mark.debug
def test_stopped_between_two_targets_and_continued_ends_as_unbroken(path, tmp_path):
    """One chapter of pre-training, three of clustering: stopped after the first of those."""
    experiment = built(path)
    measured, figures = stopped_and_continued(experiment, tmp_path, chapters=2)
    assert set(figures) == {"embedding_map", "cluster_means", "cluster_confusion"}
    rows = {"dec", "autoencoder_kmeans", "kmeans", "pca_kmeans"}
    assert {name.split("/")[0] for name in measured} == rows
    assert all(measured[f"{row}/accuracy"] > 0.7 for row in rows)
    assert measured["dec/clusters_used"] == 3
    assert measured["dec/updates"] == 60


def test_targets_are_those_of_all_rows_and_stand_still_until_they_are_renewed(path):
    experiment, state = entered(path)
    after, _ = stepped(path)
    codes = experiment.functions["encode"](state.params, experiment.data.train.fields["x"])
    log_q = log_soft_assignments(codes, state.params["centroids"])
    np.testing.assert_allclose(state.extra["targets"], target_distribution(log_q), rtol=2e-4)
    np.testing.assert_array_equal(state.extra["clusters"], log_q.argmax(axis=1))
    assert len(codes) == 120
    np.testing.assert_array_equal(after.extra["targets"], state.extra["targets"])
    renewed = experiment.phases[1].refresh(after, experiment.data.train)
    assert np.abs(renewed.extra["targets"] - after.extra["targets"]).max() > 1e-3
    assert renewed.extra["changed"] == np.mean(renewed.extra["clusters"] != state.extra["clusters"])


def test_centroids_start_at_the_means_of_their_clusters_and_both_are_trained(path):
    experiment, state = entered(path)
    codes = np.asarray(experiment.functions["encode"](state.params, experiment.data.train.fields["x"]))
    means = [codes[np.asarray(state.extra["clusters"]) == number].mean(axis=0) for number in range(3)]
    np.testing.assert_allclose(state.params["centroids"], means, rtol=1e-4, atol=1e-5)
    after, metrics = stepped(path)
    assert np.abs(after.params["centroids"] - state.params["centroids"]).max() > 1e-4
    assert metrics["loss"][0, -1] < metrics["loss"][0, 0]


def test_only_the_improved_form_goes_on_reconstructing(path):
    for method, moves in (("dec", False), ("idec", True)):
        _, state = entered(path, method=method)
        after, metrics = stepped(path, method=method)
        old, new = (s.params["encoder"]["params"] for s in (state, after))
        assert not np.array_equal(old["encoder_kernel_0"], new["encoder_kernel_0"])
        assert np.array_equal(old["decoder_kernel_0"], new["decoder_kernel_0"]) != moves
        assert ("reconstruction" in metrics) == moves


@pytest.mark.parametrize("driver", ["pmap", "shard_map", "jit"])
def test_eight_devices_equal_one_after_twenty_steps(path, driver):
    (one, one_metrics), (many, metrics) = stepped(path, method="idec"), stepped(path, driver, 8, method="idec")
    for expected, found in zip(
        jax.tree.leaves((one.params, one.extra)), jax.tree.leaves((many.params, many.extra)), strict=True
    ):
        expected, found = np.asarray(expected), np.asarray(found)
        assert (np.abs(found - expected) <= 1e-5 * np.maximum(1, np.abs(expected))).all()
    np.testing.assert_allclose(metrics["loss"], one_metrics["loss"], rtol=1e-4)
    assert parallel.differing_replicas(many) == []


def test_a_seed_has_finished_where_few_rows_change_their_cluster(path):
    experiment, state = entered(path, tolerance=0.01)
    finished = experiment.phases[1].finished
    for changed, expected in ((0.0, True), (0.009, True), (0.01, False), (1.0, False)):
        assert finished(state._replace(extra=state.extra | {"changed": jnp.float32(changed)})) is expected


@pytest.mark.parametrize(
    ("used", "largest", "verdict"), [(3, 0.5, "ok"), (2, 0.5, "collapsed"), (3, 0.95, "collapsed")]
)
def test_collapse_is_told(path, used, largest, verdict):
    metrics = {"dec/clusters_used": {"per_seed": [3, used]}, "dec/largest_share": {"per_seed": [0.4, largest]}}
    assert built(path).health(metrics) == verdict


def test_equal_rows_collapse_and_stay_finite(tmp_path):
    np.savez(tmp_path / "equal.npz", x=np.ones((30, 4), np.float32), label=np.arange(30) % 3)
    experiment, state = entered(tmp_path / "equal.npz")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.extra)))
    measured = experiment.evaluate(state, experiment.data, KEY)
    assert measured["dec/clusters_used"] == 1
    assert experiment.health({name: {"per_seed": [value]} for name, value in measured.items()}) == "collapsed"


def test_series_without_labels(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "series.npz", x=rng.normal(size=(40, 6, 2)).astype(np.float32))
    changes = {"num_clusters": 3, "hidden_size": 4, "joined": False}
    experiment, state = entered(tmp_path / "series.npz", **changes)
    assert experiment.data.test.num_examples < experiment.data.train.num_examples == len(state.extra["targets"])
    after, _ = stepped(tmp_path / "series.npz", steps=2, **changes)
    measured = experiment.evaluate(after, experiment.data, KEY)
    assert all(np.isfinite(value) for value in measured.values())
    assert {name.split("/")[1] for name in measured} == {
        "silhouette",
        "clusters_used",
        "largest_share",
        "changed",
        "updates",
    }
    assert set(experiment.figures(after, experiment.data, KEY, {})) == {"embedding_map", "cluster_means"}
    # an importer's series are in their own units
    x = np.load(tmp_path / "series.npz")["x"][:5]
    shares = experiment.functions["assign"](after.params, x, np.asarray([6, 6, 3, 1, 6]))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_clusters": 121}, "--num-clusters 121: expected 2 to 120"),
        ({"num_clusters": 1}, "--num-clusters 1: "),
        ({"hidden": (0,)}, "hidden"),
        ({"code_size": 0}, "code_size=0: expected at least 1"),
        ({"restarts": 0}, "restarts=0: expected at least 1"),
        ({"gamma": 0.0}, "gamma=0.0: expected a weight above 0"),
        ({"tolerance": 1.0}, "tolerance=1.0: expected a share"),
    ],
)
def test_impossible_configurations_are_refused(path, changes, words):
    with pytest.raises(UsageError, match=words):
        deep_clustering.build(dataclasses.replace(SMALL, dataset=str(path), **changes))


def test_one_class_and_texts_are_refused_and_one_class_in_named_clusters_is_not(tmp_path):
    np.savez(tmp_path / "one.npz", x=np.random.default_rng(0).normal(size=(30, 4)), label=np.zeros(30, int))
    with pytest.raises(UsageError, match=r"--num-clusters 1, the classes of .*: expected 2 to 30"):
        built(tmp_path / "one.npz")
    experiment, state = entered(tmp_path / "one.npz", num_clusters=3)
    assert 0 < experiment.evaluate(state, experiment.data, KEY)["dec/accuracy"] < 1
    with pytest.raises(DataError, match="is a text; expected rows of values"):
        built("sentences", num_clusters=2)


@pytest.mark.parametrize("joined", [True, False])
def test_a_series_of_nothing_is_named_by_its_own_split(tmp_path, joined):
    path = ts_file(tmp_path / "Own", {"TRAIN": WAVES, "TEST": [*WAVES, [None] * 5]})
    with pytest.raises(DataError, match=r"Own: series 8 of the test split .* has no observed value in its 5 steps"):
        built(path, joined=joined)
