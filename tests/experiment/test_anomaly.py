"""One class seen, the others told: runs that beat the floors, classes that know nothing of each other, bad labels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued
from sklearn.metrics import roc_auc_score

from experiments import anomaly
from seqjax.errors import UsageError
from seqjax.models.one_class import centre_of

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = anomaly.Config(
    hidden=(8,),
    code_size=2,
    components=2,
    learning_rate=1e-2,
    ball_learning_rate=1e-2,
    pretraining_steps=40,
    steps=40,
    chapter_steps=20,
    batch_size=16,
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Three classes of 60 rows, each near a plane of its own in 6 dimensions."""
    rng = np.random.default_rng(0)
    label = np.arange(180) % 3
    planes, centres = rng.normal(size=(3, 2, 6)), rng.normal(size=(3, 6))
    x = centres[label] + np.einsum("nk,nkd->nd", rng.normal(size=(180, 2)), planes[label])
    path = tmp_path_factory.mktemp("planes") / "planes.npz"
    np.savez(path, x=(x + 0.1 * rng.normal(size=x.shape)).astype(np.float32), label=label)
    return path


@functools.cache
def built(path, **changes):
    return anomaly.build(dataclasses.replace(SMALL, dataset=str(path), **changes))


@functools.cache
def started(path, **changes):
    experiment = built(path, **changes)
    return experiment, jax.jit(experiment.phases[0].learner.init)(KEY)


@pytest.mark.debug
def test_stopped_between_its_phases_and_continued_deep_svdd_ends_as_unbroken(path, tmp_path):
    experiment = built(path, scorer="deep_svdd", normal_class=1)
    measured, figures = stopped_and_continued(experiment, tmp_path, chapters=3)
    assert {name.split("/")[0] for name in measured} == {"deep_svdd", "pca", "random", "constant"}
    assert measured["deep_svdd/auroc"] > 0.65
    assert measured["pca/auroc"] > 0.95
    assert measured["constant/auroc"] == 0.5
    assert measured["deep_svdd/auroc_1"] == measured["deep_svdd/auroc"]
    assert set(figures) == {"roc_curves", "score_histograms", "extremes"}


def test_an_autoencoder_learns_its_class_and_its_table_is_scikit_learns(path):
    experiment, state = started(path)
    step = jax.jit(experiment.phases[0].learner.step)
    fetch = jax.jit(functools.partial(experiment.phases[0].batch_at, batch_size=16))
    # each network begins at the mean of its own class, and is validated on it alone
    x, label = (np.asarray(experiment.data.train.fields[name]) for name in ("x", "label"))
    means = [x[label == c].mean(axis=0) for c in range(3)]
    np.testing.assert_allclose(state.params["params"]["decoder_bias_1"], means, rtol=1e-5)
    before = float(experiment.validate(state, experiment.data.validation, KEY))
    x, label = (np.asarray(experiment.data.validation.fields[name]) for name in ("x", "label"))
    own = experiment.functions["score"](state.params, x, KEY)
    assert before == pytest.approx(np.mean([own[label == c, c].mean() for c in range(3)]), rel=1e-5)
    for number in range(100):
        state, _ = step(state, fetch(experiment.data.train, KEY, number))
    assert float(experiment.validate(state, experiment.data.validation, KEY)) < 0.8 * before
    measured = experiment.evaluate(state, experiment.data, KEY)
    fields = {name: np.asarray(field) for name, field in experiment.data.test.fields.items()}
    scores = experiment.functions["score"](state.params, fields["x"], KEY)
    areas = [roc_auc_score(fields["label"] != c, scores[:, c]) for c in range(3)]
    assert measured["autoencoder/auroc"] == pytest.approx(np.mean(areas), abs=1e-6)
    assert measured["autoencoder/auroc"] > 0.7
    # thresholds are those of validation rows: other test rows change none
    turned = experiment.data._replace(test=experiment.data.train)
    assert experiment.evaluate(state, turned, KEY)["autoencoder/threshold"] == measured["autoencoder/threshold"]


def test_with_contrast_normalised_brightness_is_no_anomaly(path):
    experiment, state = started(path, contrast=True)
    x = np.asarray(built(path).data.test.fields["x"])
    score = functools.partial(experiment.functions["score"], state.params, key=KEY)
    np.testing.assert_allclose(score(3 * x + 7), score(x), rtol=1e-3)
    np.testing.assert_allclose(np.abs(experiment.data.train.fields["x"]).mean(axis=1), 1, rtol=1e-6)
    assert set(experiment.figures(state, experiment.data, KEY, {})) == {"roc_curves", "score_histograms", "extremes"}


def test_classes_know_nothing_of_each_other(path):
    """The network of a class, after a step beside the others, is what it is after a step alone."""
    found = []
    for normal_class in (None, 1):
        experiment, state = started(path, normal_class=normal_class)
        batch = jax.jit(functools.partial(experiment.phases[0].batch_at, batch_size=16))(experiment.data.train, KEY, 0)
        assert set(experiment.data.train.fields["label"][batch["index"][:, -1]].tolist()) == {normal_class or 2}
        params = jax.jit(experiment.phases[0].learner.step)(state, batch)[0].params
        found.append(jax.tree.map(lambda leaf, n=normal_class: leaf[1 if n is None else 0], params))
    for beside, alone in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(beside, alone, rtol=1e-4, atol=1e-6)


def test_the_ball_is_around_the_mean_of_the_classs_own_training_rows(path):
    experiment, state = started(path, scorer="deep_svdd", outliers=0.2)
    after = experiment.phases[1]
    entered = after.enter(state, experiment.data.train, KEY)
    distances = np.asarray(experiment.functions["score"](entered.params, experiment.data.train.fields["x"], KEY))
    label = np.asarray(experiment.data.train.fields["label"])
    for c in range(3):
        beyond = distances[label == c, c] > float(entered.params["squared_radius"][c])
        assert beyond.mean() == pytest.approx(0.2, abs=0.03)
    jax.tree.map(np.testing.assert_array_equal, entered.params["encoder"], state.params["encoder"])
    # the centre is the mean of the encoder's outputs: found again from distances to shifted centres, by |a|^2 - |b|^2
    shift = jnp.asarray([1.0, 0.0])
    params = entered.params | {"centre": entered.params["centre"] + shift[None]}
    moved = np.asarray(experiment.functions["score"](params, experiment.data.train.fields["x"], KEY))
    outputs = (distances - moved + 1) / 2 + np.asarray(entered.params["centre"])[None, :, 0]
    for c in range(3):
        own = jnp.asarray(np.stack([outputs[label == c, c]] * 2, axis=1))
        expected = centre_of(own, jnp.ones(len(own), bool))[0]
        assert float(entered.params["centre"][c, 0]) == pytest.approx(float(expected), abs=1e-3)
    moved = entered._replace(params=entered.params | {"squared_radius": jnp.zeros(3)})
    renewed = after.refresh(moved, experiment.data.train)
    np.testing.assert_allclose(renewed.params["squared_radius"], entered.params["squared_radius"], rtol=1e-5)


def test_both_phases_have_their_own_rates_and_the_weights_their_decay(path):
    changes = {"learning_rate": 1e-2, "ball_learning_rate": 1e-3, "weight_decay": 0.5}
    experiment, state = started(path, scorer="deep_svdd", **changes)
    entered = experiment.phases[1].enter(state, experiment.data.train, KEY)
    for phase, begun, rate, term in zip(
        experiment.phases, (state, entered), (1e-2, 1e-3), ("reconstruction", "distance"), strict=True
    ):
        batch = phase.batch_at(experiment.data.train, KEY, 0, batch_size=16)
        after, metrics = jax.jit(phase.learner.step)(begun, batch)
        weights = {name: begun.params[name] for name in ("encoder", "decoder") if name in begun.params}
        penalty = 0.25 * sum(float(np.square(leaf).sum()) for leaf in jax.tree.leaves(weights))
        assert float(metrics["loss"] - metrics[term]) == pytest.approx(penalty, rel=1e-4)
        # the first step of Adam is as large as its rate
        moved = [np.abs(a - b) for a, b in zip(*map(jax.tree.leaves, (after.params, begun.params)), strict=True)]
        assert max(leaf.max() for leaf in moved) == pytest.approx(rate, rel=1e-2)


def test_bounds_of_other_values_than_intensities(path):
    with pytest.raises(UsageError, match=r"planes: has values outside \[0, 1\]"):
        built(path, scorer="vae")
    experiment, state = started(path, scorer="vae", likelihood="gaussian")
    measured = experiment.evaluate(state, experiment.data, KEY)
    assert all(np.isfinite(value) for value in measured.values())
    again = experiment.evaluate(state, experiment.data, KEY)
    assert measured == again


def npz(path, x, label=None):
    np.savez(path, x=np.asarray(x, np.float32), **({} if label is None else {"label": np.asarray(label)}))
    return path


def test_one_row_to_train_on_and_rows_that_are_all_the_same(tmp_path):
    x = np.concatenate([np.ones((40, 4)), np.zeros((40, 4))])
    np.savez(
        tmp_path / "few.npz",
        x_train=x[:1],
        label_train=[0],
        x_validation=x[:2],
        label_validation=[0, 0],
        x_test=x[30:50],
        label_test=np.arange(20) // 10,
    )
    experiment, state = started(tmp_path / "few.npz")
    measured = experiment.evaluate(state, experiment.data, KEY)
    assert all(np.isfinite(value) for value in measured.values())
    assert measured["pca/auroc"] == 1
    same = npz(tmp_path / "same.npz", np.ones((60, 4)), np.arange(60) % 2)
    measured = built(same).evaluate(started(same)[1], built(same).data, KEY)
    assert measured["pca/auroc"] == measured["autoencoder/auroc"] == 0.5


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--dataset", "sentences"], ["sentences: has no labels"]),
        (["--dataset", "unlabelled.npz"], ["unlabelled: has no labels"]),
        (["--dataset", "one.npz"], ["one: all test examples are of class 0"]),
        (["--normal-class", "12"], ["digits: class 12 has no training example", "--normal-class"]),
        (["--validation-size", "0"], ["digits: class 0 has no validation example"]),
        (["--hidden", "0"], ["hidden=(0,)"]),
        (["--code-size", "0"], ["code_size=0"]),
        (["--quantile", "1"], ["quantile=1.0"]),
        (["--outliers", "0"], ["outliers=0.0"]),
        (["--weight-decay", "-1"], ["weight_decay=-1.0"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    npz("unlabelled.npz", np.ones((30, 4)))
    npz("one.npz", np.ones((30, 4)), np.zeros(30, int))
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=anomaly)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err


def test_a_series_of_nothing_is_named(capsys, tmp_path):
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Own_{part}.ts").write_text(
            "@univariate true\n@missing true\n@classLabel true a b\n@data\n" + "1,2:a\n3,4:b\n" * 9 + "?,?:a\n"
        )
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", "--dataset", tmp_path, module=anomaly)
    assert code == 2
    assert "no observed value" in err
    assert "Own" in err
