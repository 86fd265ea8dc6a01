"""Clusters of series: a run that finds more classes than the values show, the protocol, and series that are none."""

import jax
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued
from ts_folders import WAVES, both, ts_file

from experiments import sequence_clustering
from seqjax.data.load import load
from seqjax.evaluate.assignments import seed_of
from seqjax.evaluate.cluster_scores import clustering_scores
from seqjax.evaluate.clustering import k_means
from seqjax.types import Split

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {name: value for name, value in sequence_clustering.SMOKE.items() if name != "dataset"}
BUILT = {}


def config_of(**changes):
    return sequence_clustering.Config(**(SMALL | changes))


def built(**changes):
    """The experiment and an untrained state, made once for all tests."""
    name = str(changes)
    if name not in BUILT:
        experiment = sequence_clustering.build(config_of(**changes))
        BUILT[name] = experiment, jax.jit(experiment.phases[0].learner.init)(jax.random.key(0))
    return BUILT[name]


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_the_values(tmp_path):
    experiment, _ = built()
    measured, figures = stopped_and_continued(experiment, tmp_path)
    rows = ("recurrent_autoencoder", "standardised", "pca", "random_projection", "raw")
    assert {name.split("/")[0] for name in measured} == set(rows)
    assert measured["recurrent_autoencoder/nmi"] > 1.3 * max(measured[f"{row}/nmi"] for row in rows[1:])
    assert measured["recurrent_autoencoder/clusters_used"] == 5
    assert set(figures) == {"embedding_map", "cluster_means", "cluster_confusion"}


def test_clusters_are_found_among_the_test_codes_by_k_means_and_scored_by_their_labels():
    experiment, start = built()
    key = jax.random.key(4)
    measured = experiment.evaluate(start, experiment.data, key)
    test = load("events").test.fields
    codes = experiment.functions["encode"](start.params, test["x"], test["length"])
    for row, values in (("recurrent_autoencoder", codes), ("raw", test["x"].reshape(300, -1))):
        clusters = k_means(np.asarray(values), 5, seed=seed_of(key)).assign(np.asarray(values))
        for name, value in clustering_scores(clusters, test["label"]).items():
            assert measured[f"{row}/{name}"] == pytest.approx(value, abs=1e-6)


def test_the_test_split_trains_and_validates_nothing(tmp_path):
    one, other = (
        sequence_clustering.build(config_of(dataset=str(ts_file(tmp_path / name, {"TRAIN": WAVES, "TEST": test}))))
        for name, test in (("One", WAVES), ("Other", [[1e3 * value for value in wave] for wave in WAVES]))
    )
    for part in ("train", "validation"):
        fields, others = (getattr(experiment.data, part).fields for experiment in (one, other))
        for name, field in fields.items():
            np.testing.assert_array_equal(field, others[name])
    experiment, _ = built()
    train = load("events").train.fields
    seen = np.arange(96)[None] < train["length"][:, None]
    scaled = (train["x"] - train["x"][seen].mean(axis=0)) / train["x"][seen].std(axis=0)
    expected = np.where(seen[:, :, None], scaled, 0).reshape(300, 24, 8)
    np.testing.assert_allclose(experiment.data.train.fields["x"], expected, atol=1e-5)


def test_neither_padding_nor_the_order_of_the_batch_moves_a_series_to_another_cluster():
    experiment, start = built()
    test = load("events").test.fields
    x, length = np.asarray(test["x"]), np.asarray(test["length"])
    codes = np.asarray(experiment.functions["encode"](start.params, x, length))
    assign = k_means(codes, 5, seed=0).assign
    padded = np.where(np.arange(x.shape[1])[None, :, None] < length[:, None, None], x, 1e6)
    order = np.random.RandomState(0).permutation(len(x))
    turned = np.asarray(experiment.functions["encode"](start.params, padded[order], length[order]))
    np.testing.assert_array_equal(assign(turned), assign(codes)[order])


def test_every_task_that_is_asked_for_is_measured_for_every_row():
    tasks = ("dbscan", "probe", "neighbours", "one_class", "explained")
    experiment, start = built(tasks=tasks)
    measured = experiment.evaluate(start, experiment.data, jax.random.key(0))
    rows = ("recurrent_autoencoder", "standardised", "pca", "random_projection", "raw")
    measures = ("nmi", "dbscan_nmi", "probe_accuracy", "neighbour_accuracy", "one_class_auroc", "explained_8")
    assert {f"{row}/{measure}" for row in rows for measure in measures} <= set(measured)
    assert measured["pca/explained_8"] > measured["random_projection/explained_8"]


@pytest.mark.parametrize("encoder", ["autoencoder", "vae", "sequence_vae", "next_step"])
def test_every_encoder_meets_the_task(encoder):
    experiment, start = built(encoder=encoder, frame=8, hidden_size=8, encoder_size=8)
    step = jax.jit(experiment.phases[0].learner.step)
    batch = {name: field[:8] for name, field in experiment.data.train.fields.items()} | {"index": np.arange(8)}
    before = step(start, batch)[1]["loss"]
    state = start
    for _ in range(10):
        state, metrics = step(state, batch)
    assert metrics["loss"] < before
    some = Split({name: field[:60] for name, field in experiment.data.test.fields.items()})
    few = experiment.data._replace(train=some, validation=some, test=some)
    measured = experiment.evaluate(start, few, jax.random.key(0))
    assert 0 < measured[f"{encoder}/nmi"] < 1


def measured_untrained(path, **changes):
    experiment = sequence_clustering.build(config_of(dataset=str(path), **changes))
    state = jax.jit(experiment.phases[0].learner.init)(jax.random.key(0))
    measured = experiment.evaluate(state, experiment.data, jax.random.key(0))
    assert all(np.isfinite(value) for value in measured.values())
    per_seed = {name: {"per_seed": [value]} for name, value in measured.items()}
    return measured, experiment.health(per_seed), experiment, state


def test_series_without_labels_constant_ones_and_single_steps(tmp_path):
    measured, health, *_ = measured_untrained(
        ts_file(tmp_path / "Own", both([[1.0], [2.0, None], *WAVES, [3.0] * 9]), classes=()), num_clusters=2
    )
    assert {name.split("/")[1] for name in measured} == {"silhouette", "clusters_used", "largest_share"}
    # all of one step, all the same: no two clusters are there to be found, and the verdict says so
    flat = ts_file(tmp_path / "Flat", both([[5.0]] * 6))
    measured, health, experiment, state = measured_untrained(flat, frame=None, validation_size=0)
    assert health == "collapsed"
    assert measured["raw/nmi"] == 0
    _, metrics = jax.jit(experiment.phases[0].learner.step)(
        state, {name: field[:2] for name, field in experiment.data.train.fields.items()} | {"index": np.arange(2)}
    )
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize(
    ("series", "options", "args", "words"),
    [
        (both([*WAVES, [None] * 5]), {}, [], ["Own: series", "no observed value", "5 steps"]),
        (both(WAVES), {"classes": ()}, [], ["--num-clusters: Own has no labels", "number of clusters"]),
        (both(WAVES), {"labels": ["a"] * 8}, [], ["--num-clusters 1, the classes of Own"]),
        (both(WAVES), {}, ["--num-clusters", "9"], ["--num-clusters 9", "expected 2 to 7"]),
        (
            {"TRAIN": WAVES, "TEST": WAVES[:2]},
            {},
            ["--num-clusters", "3"],
            ["--num-clusters 3", "expected 2 to 2, the number of test examples"],
        ),
        (both([[1.0], [2.0]] * 4), {}, ["--encoder", "next_step"], ["series of one step"]),
        (both(WAVES), {}, ["--frame", "0"], ["frame=0"]),
    ],
)
def test_bad_series(capsys, tmp_path, series, options, args, words):
    path = ts_file(tmp_path / "Own", series, **options)
    code, _, err = command(
        capsys, "--run-dir", tmp_path / "run", "--dataset", path, *args, "--devices", "1", module=sequence_clustering
    )
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err


def test_rows_are_no_series(capsys, tmp_path):
    code, _, err = command(capsys, "--run-dir", tmp_path, "--dataset", "ring", module=sequence_clustering)
    assert code == 2
    assert "ring has x of shape" in err
