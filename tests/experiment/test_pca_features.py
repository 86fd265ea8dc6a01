"""Features before networks: what they are fitted on, two networks that do not know each other, and bad input."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued
from sklearn.linear_model import LogisticRegression

from experiments import pca_features
from seqjax.data.batches import whole
from seqjax.data.load import load
from seqjax.errors import UsageError
from seqjax.evaluate.features import centroid_distances, standardised, whitened
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Split

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = pca_features.Config(
    features=("whitened", "centroids"),
    components=3,
    centroids=6,
    label_share=1.0,
    hidden=(12,),
    code_size=2,
    learning_rate=2e-2,
    steps=60,
    chapter_steps=20,
    batch_size=32,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    label = np.arange(240) % 3
    x = 1.5 * rng.normal(size=(3, 5))[label] + rng.normal(size=(240, 5))
    path = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(path, x=(x * [1, 10, 1, 1, 1]).astype(np.float32), label=label)
    return path


@functools.cache
def built(path, **changes):
    return pca_features.build(dataclasses.replace(SMALL, dataset=str(path), **changes))


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_with_all_rows_of_the_table(path, tmp_path):
    measured, figures = stopped_and_continued(built(path), tmp_path)
    assert set(figures) == {"scree", "confusion"}
    assert {name.split("/")[0] for name in measured} == {
        "classifier",
        "autoencoder_kmeans",
        "kmeans",
        "logistic",
        "majority",
    }
    assert measured["classifier/accuracy"] > measured["majority/accuracy"] + 0.4
    assert measured["autoencoder_kmeans/nmi"] > 0.3


def test_features_are_fitted_on_the_training_split(path):
    original, found = load(str(path)), built(path).data
    encoders = [whitened(original.train, 3), standardised(original.train, centroid_distances(original.train, 6))]
    for name in ("train", "validation", "test"):
        expected = np.concatenate([encoder(getattr(original, name)) for encoder in encoders], axis=1)
        np.testing.assert_allclose(getattr(found, name).fields["x"], expected, rtol=1e-5, atol=1e-5)
    raw = built(path, features=("raw",)).data
    np.testing.assert_allclose(raw.test.fields["x"], values_of(original.test), rtol=1e-6)
    assert built(path, features=("pca", "standardised")).data.test.fields["x"].shape[1] == 8


def test_the_baseline_sees_the_same_features_and_labels(path):
    experiment = built(path, label_share=0.1)
    rows, test = experiment.data.train.fields, experiment.data.test.fields
    assert 0 < rows["labelled"].sum() < 25
    measured = experiment.evaluate(jax.jit(experiment.phases[0].learner.init)(KEY), experiment.data, KEY)
    known = rows["labelled"]
    accuracies = [
        LogisticRegression(C=strength).fit(rows["x"][known], rows["label"][known]).score(test["x"], test["label"])
        for strength in (0.01, 0.1, 1.0)
    ]
    assert min(abs(measured["logistic/accuracy"] - accuracy) for accuracy in accuracies) < 0.03


KEY = jax.random.key(3)


def changed(before, after, part):
    pairs = zip(jax.tree.leaves(before[part]), jax.tree.leaves(after[part]), strict=True)
    return [not np.array_equal(a, b) for a, b in pairs]


def test_neither_network_knows_of_the_other_and_hidden_labels_do_not_matter(path):
    experiment = built(path, label_share=0.1)
    learner = experiment.phases[0].learner
    start, step = jax.jit(learner.init)(KEY), jax.jit(learner.step)
    batch = whole(experiment.data.train)
    after, _ = step(start, batch)
    assert all(changed(start.params, after.params, "classifier"))
    assert all(changed(start.params, after.params, "autoencoder"))

    hidden = ~batch["labelled"]
    relabelled = batch | {"label": np.where(hidden, (batch["label"] + 1) % 3, batch["label"])}
    np.testing.assert_equal(jax.device_get(step(start, relabelled)[0].params), jax.device_get(after.params))
    shown = batch | {"label": (batch["label"] + 1) % 3}
    other, _ = step(start, shown)
    assert any(changed(after.params, other.params, "classifier"))
    assert not any(changed(after.params, other.params, "autoencoder"))


def test_functions_take_rows_as_they_come(path):
    experiment = built(path)
    params = jax.jit(experiment.phases[0].learner.init)(KEY).params
    x = load(str(path)).test.fields["x"][:4]
    np.testing.assert_allclose(
        experiment.functions["features"](params, x), experiment.data.test.fields["x"][:4], atol=1e-5
    )
    np.testing.assert_allclose(experiment.functions["classify"](params, x).sum(axis=1), 1, rtol=1e-5)
    some = Split({"x": experiment.data.test.fields["x"][:4]})
    assert experiment.functions["encode"](params, x).shape == (some.num_examples, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": ()}, "features=.*expected one or more"),
        ({"components": 0}, "components=0"),
        ({"centroids": 0}, "centroids=0"),
        ({"floor": -0.1}, "floor=-0.1"),
        ({"hidden": (0,)}, "hidden"),
        ({"label_share": 0.0}, "label_share=0.0"),
    ],
)
def test_impossible_configurations_are_refused(path, changes, words):
    with pytest.raises(UsageError, match=words):
        built(path, **changes)


def test_more_centroids_than_rows_are_refused(path):
    with pytest.raises(UsageError, match=r"--centroids 500: expected 1 to \d+, the number of training rows of "):
        built(path, centroids=500)


def test_bad_data_end_in_a_line_or_two(capsys, tmp_path):
    np.savez(tmp_path / "unlabelled.npz", x=np.random.default_rng(0).normal(size=(30, 4)))
    args = ("--run-dir", tmp_path / "run", "--dataset")
    code, _, err = command(capsys, *args, tmp_path / "unlabelled.npz", module=pca_features)
    assert code == 2
    assert "has no labels in its train split" in err
    code, _, err = command(capsys, *args, "digits", "--features", "nosuch", module=pca_features)
    assert code == 2
    assert "nosuch" in err
    assert "Traceback" not in err
