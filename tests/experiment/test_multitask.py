"""Each subset of the tasks trains as if alone, labels that are not known do not matter, tables have all their rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
from on_devices import assert_close, layout, rows_of
from short_runs import stopped_and_continued
from ts_folders import WAVES, both, ts_file

from experiments import multitask
from experiments.multitask import ALL, SUBSETS
from seqjax.clustering_losses import log_soft_assignments, target_distribution
from seqjax.data.batches import whole
from seqjax.errors import DataError, UsageError
from seqjax.types import Split

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = multitask.Config(
    label_share=0.1,
    hidden=(12,),
    code_size=3,
    learning_rate=1e-2,
    batch_size=32,
    steps=60,
    cluster_steps=60,
    refresh_every=30,
    restarts=2,
)
KEY = jax.random.key(5)
PLACES = {subset: position for position, subset in enumerate(SUBSETS)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    label = np.arange(200) % 3
    centres = 1.5 * rng.normal(size=(3, 6))
    path = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(path, x=(centres[label] + rng.normal(size=(200, 6))).astype(np.float32), label=label)
    return path


@functools.cache
def built(path, **changes):
    return multitask.build(dataclasses.replace(SMALL, dataset=str(path), **changes))


@functools.cache
def entered(path):
    """The experiment, its first state, and the one at the first step with clusters, nothing having been trained."""
    experiment = built(path)
    start = jax.jit(experiment.phases[0].learner.init)(KEY)
    return experiment, start, experiment.phases[1].enter(start, experiment.data.train, KEY)


@functools.cache
def step_of(path):
    return jax.jit(entered(path)[0].phases[1].learner.step)


def of(subset, tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf[PLACES[subset]]), tree)


def moved(before, after):
    """Which parts of the parameters of each subset differ."""
    return {
        subset: {
            name
            for name in before
            if any(
                not np.array_equal(a, b)
                for a, b in zip(
                    jax.tree.leaves(of(subset, before[name])), jax.tree.leaves(of(subset, after[name])), strict=True
                )
            )
        }
        for subset in SUBSETS
    }


def test_there_are_seven_subsets():
    assert list(SUBSETS) == [
        "classify",
        "cluster",
        "reconstruct",
        "classify_cluster",
        "classify_reconstruct",
        "cluster_reconstruct",
        "classify_cluster_reconstruct",
    ]


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_with_all_rows_of_the_table(path, tmp_path):
    measured, figures = stopped_and_continued(built(path), tmp_path, chapters=3)
    assert set(figures) == {"embedding_map", "cluster_means", "cluster_confusion"}
    for subset, tasks in SUBSETS.items():
        assert (f"{subset}/accuracy" in measured) == ("classify" in tasks)
        assert (f"{subset}/squared_error" in measured) == ("reconstruct" in tasks)
        assert {f"{subset}/{m}" for m in ("cluster_accuracy", "cluster_nmi", "cluster_ari", "probe_accuracy")} <= set(
            measured
        )
    assert measured[f"{ALL}/accuracy"] > measured["majority/accuracy"] + 0.3
    assert measured[f"{ALL}/squared_error"] < measured["mean/squared_error"]
    assert {"logistic/accuracy", "pca_logistic/accuracy", "kmeans/cluster_nmi", "pca_kmeans/cluster_nmi"} <= set(
        measured
    )


def test_all_subsets_start_alike_and_each_task_moves_what_it_uses(path):
    experiment, start, state = entered(path)
    for subset in SUBSETS:
        for a, b in zip(*(jax.tree.leaves(of(s, start.params)) for s in (subset, ALL)), strict=True):
            np.testing.assert_array_equal(a, b)
    batch = whole(experiment.data.train)
    # the classifier starts at zero, so that its second step is the first to reach the encoder
    before, _ = step_of(path)(start, batch)
    assert moved(before.params, step_of(path)(before, batch)[0].params) == {
        subset: ({"encoder"} if {"classify", "reconstruct"} & set(tasks) else set())
        | ({"classifier", "bias"} if "classify" in tasks else set())
        for subset, tasks in SUBSETS.items()
    }
    after, _ = step_of(path)(state, batch)
    assert {subset for subset, parts in moved(state.params, after.params).items() if "centroids" in parts} == {
        subset for subset, tasks in SUBSETS.items() if "cluster" in tasks
    }
    decoder = [of("classify_cluster", s.params["encoder"])["params"]["decoder_kernel_0"] for s in (state, after)]
    np.testing.assert_array_equal(*decoder)


def test_a_subset_trains_as_if_it_were_alone(path):
    """What the others hold does not matter to it, Adam's moments included."""
    experiment, _, state = entered(path)
    batch = whole(experiment.data.train)
    other = jnp.asarray([subset != "classify_cluster" for subset in SUBSETS])
    disturbed = jax.tree.map(lambda p: p + 0.1 * other.reshape(-1, *[1] * (p.ndim - 1)), state.params)
    one, two = state, state._replace(params=disturbed)
    for _ in range(3):
        (one, _), (two, _) = step_of(path)(one, batch), step_of(path)(two, batch)
    for a, b in zip(*(jax.tree.leaves(of("classify_cluster", s.params)) for s in (one, two)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    assert moved(one.params, two.params)[ALL]


def test_labels_that_are_not_known_move_nothing_and_known_ones_weigh_as_all_together(path):
    experiment, _, state = entered(path)
    batch = whole(experiment.data.train)
    known = np.asarray(batch["labelled"])
    assert 0 < known.mean() < 0.15
    wrong = batch | {"label": jnp.where(batch["labelled"], batch["label"], 2 - batch["label"])}
    (one, metrics), (two, _) = step_of(path)(state, batch), step_of(path)(state, wrong)
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    # a classifier of zeros: log 3 nats a labelled row
    np.testing.assert_allclose(metrics["classify"], np.log(3), rtol=1e-5)


def test_targets_are_each_subsets_own_over_all_training_rows(path):
    experiment, start, state = entered(path)
    assert not np.any(start.extra["targets"])
    x = experiment.data.train.fields["x"]
    codes = experiment.functions["encode"](state.params, x)
    log_q = log_soft_assignments(codes, jnp.asarray(of(ALL, state.params["centroids"])))
    np.testing.assert_allclose(of(ALL, state.extra["targets"]), target_distribution(log_q), rtol=2e-4)
    np.testing.assert_allclose(experiment.functions["assign"](state.params, x), jnp.exp(log_q), rtol=1e-4)


def test_eight_devices_equal_one_after_twenty_steps(path):
    experiment, _, state = entered(path)

    def trained(driver, num_devices, states):
        learner, split = experiment.phases[1].learner, experiment.data.train
        return on_devices.stepped(learner, layout(driver, num_devices), rows_of(32), split, states, steps=20)[0]

    # Adam takes whole steps along rounding errors where a gradient is 0: its moments are to be real ones first
    start, _ = step_of(path)(state, whole(experiment.data.train))
    start = jax.tree.map(lambda leaf: leaf[None], start)
    one, many = trained("jit", 1, start), trained("pmap", 8, start)
    assert_close(many.params, one.params)


def test_series(tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    x = (np.where(label[:, None, None] == 1, 1, -1) + rng.normal(size=(40, 5, 2))).astype(np.float32)
    np.savez(tmp_path / "series.npz", x=x, label=label)
    experiment = built(tmp_path / "series.npz", hidden_size=3)
    learner, rows = experiment.phases[0].learner, experiment.data.train
    start = jax.jit(learner.init)(KEY)
    after, metrics = jax.jit(learner.step)(start, whole(Split({n: f[:8] for n, f in rows.fields.items()})))
    assert all(np.isfinite(value) for value in metrics.values())
    assert "encoder" in moved(start.params, after.params)["reconstruct"]
    probabilities = experiment.functions["classify"](after.params, x[:3], np.asarray([5, 2, 1]))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("used", "verdict"), [(3, "ok"), (2, "collapsed")])
def test_collapse_of_the_encoder_of_all_tasks_is_told(path, used, verdict):
    metrics = {f"{ALL}/clusters_used": {"per_seed": [used]}, f"{ALL}/largest_share": {"per_seed": [0.5]}}
    assert built(path).health(metrics) == verdict


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label_share": 0.0}, "label_share=0.0"),
        ({"cluster_weight": 0.0}, "cluster_weight=0.0: expected a number above 0"),
        ({"num_clusters": 500}, "--num-clusters 500"),
        ({"hidden": (0,)}, "hidden"),
        ({"restarts": 0}, "restarts=0: expected at least 1"),
    ],
)
def test_impossible_configurations_are_refused(path, changes, words):
    with pytest.raises(UsageError, match=words):
        multitask.build(dataclasses.replace(SMALL, dataset=str(path), **changes))


def test_data_without_labels_are_refused(tmp_path):
    np.savez(tmp_path / "unlabelled.npz", x=np.random.default_rng(0).normal(size=(30, 4)))
    with pytest.raises(DataError, match="has no labels in its train split"):
        built(tmp_path / "unlabelled.npz")


def test_a_series_of_nothing_is_named(tmp_path):
    path = ts_file(tmp_path / "Own", both([*WAVES, *WAVES, [None] * 5]))
    with pytest.raises(DataError, match=r"Own: series \d+ of the \w+ split .* has no observed value in its 5 steps"):
        built(path)
