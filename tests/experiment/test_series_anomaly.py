"""A series judged step by step: a run that beats the floors, scores by hand, and series that are refused."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

from experiments import series_anomaly
from seqjax.data.faults import faults
from seqjax.evaluate.range_auc import range_auc
from seqjax.types import Split

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = series_anomaly.Config(
    window=8, hidden_size=8, code_size=2, components=2, learning_rate=2e-2, steps=60, chapter_steps=30, batch_size=32
)
KEY = jax.random.key(0)


@functools.cache
def built(**changes):
    experiment = series_anomaly.build(dataclasses.replace(SMALL, **changes))
    return experiment, jax.jit(experiment.phases[0].learner.init)(KEY)


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_blind(tmp_path):
    experiment, _ = built()
    measured, figures = stopped_and_continued(experiment, tmp_path)
    rows = ("reconstruction", "prediction", "pca", "random", "constant")
    assert {name.split("/")[0] for name in measured} == set(rows)
    for row in rows[:3]:
        assert measured[f"{row}/auroc"] > 0.6
        assert measured[f"{row}/average_precision"] > 1.5 * measured["random/average_precision"]
        assert measured[f"{row}/range_auroc"] > measured["random/range_auroc"] + 0.1
        assert measured[f"{row}/auroc_1"] > 0.9
        assert measured[f"{row}/false_alarm_rate"] < 0.05
    assert measured["constant/auroc"] == 0.5
    assert set(figures) == {"scored_series", "roc_curves"}
    shaded = [len(axis.patches) for axis in figures["scored_series"].axes]
    assert shaded == [16] * 4


def test_scores_and_thresholds_by_hand():
    experiment, start = built()
    measured = experiment.evaluate(start, experiment.data, KEY)
    x, label = faults()["x"], faults()["label"]
    scaled = (x - x[:8400].mean(axis=0)) / x[:8400].std(axis=0)
    flat = np.lib.stride_tricks.sliding_window_view(scaled, 8, axis=0).transpose(0, 2, 1).reshape(-1, 16)
    pca = PCA(2).fit(flat[: 8400 - 7])

    def scores(first, last):
        own = flat[first : last - 7]
        errors = np.square(pca.inverse_transform(pca.transform(own)) - own).reshape(-1, 8, 2).sum(axis=2)
        return np.asarray(
            [
                np.mean([errors[n, t - n] for n in range(max(0, t - 7), min(t + 1, len(own)))])
                for t in range(last - first)
            ]
        )

    test, validation, truth = scores(9600, 12_000), scores(8400, 9600), label[9600:] != 0
    limit = np.sort(validation)[int(np.ceil(0.99 * 1199))]
    expected = {
        "auroc": roc_auc_score(truth, test),
        "average_precision": average_precision_score(truth, test),
        "range_auroc": range_auc(test, truth, buffer=16).roc,
        "range_average_precision": range_auc(test, truth, buffer=16).pr,
        "threshold": limit,
        "false_alarm_rate": (test[~truth] > limit).mean(),
        "detection_rate": (test[truth] > limit).mean(),
        "auroc_3": roc_auc_score(label[9600:][~truth | (label[9600:] == 3)] != 0, test[~truth | (label[9600:] == 3)]),
    }
    for name, value in expected.items():
        assert measured[f"pca/{name}"] == pytest.approx(value, rel=1e-3, abs=2e-3), name


def test_silent_networks_score_the_distance_to_the_mean_and_foretelling_sees_no_future():
    experiment, start = built()
    x = faults()["x"][9600:9700]
    scale = faults()["x"][:8400]
    scaled = (x - scale.mean(axis=0)) / scale.std(axis=0)
    score = experiment.functions["score"]
    for own in score(jax.tree.map(np.zeros_like, start.params), x).values():
        np.testing.assert_allclose(own, np.square(scaled).sum(axis=1), rtol=1e-3, atol=1e-5)
    changed = x.copy()
    changed[50:] += 3
    before, after = score(start.params, x), score(start.params, changed)
    np.testing.assert_array_equal(before["prediction"][:50], after["prediction"][:50])
    assert np.abs(before["prediction"][50:] - after["prediction"][50:]).min() > 0
    # a window that holds a changed step is told again as another
    assert np.abs(before["reconstruction"][43:50] - after["reconstruction"][43:50]).min() > 0
    np.testing.assert_allclose(before["reconstruction"][:43], after["reconstruction"][:43], rtol=1e-5)


def test_what_trains_and_validates_are_normal_windows_alone(tmp_path):
    rng = np.random.default_rng(0)
    label = np.zeros(200, int)
    label[[20, 21, 150, 190]] = 1
    np.savez(tmp_path / "own.npz", x=np.where(label[:, None] != 0, 1e4, rng.normal(size=(200, 1))), label=label)
    experiment, start = built(dataset=str(tmp_path / "own.npz"))
    x, anomalous = (np.asarray(experiment.data.train.fields[name])[0] for name in ("x", "label"))
    np.testing.assert_allclose([x[anomalous == 0].mean(), x[anomalous == 0].std()], [0, 1], atol=1e-5)
    batch = jax.jit(functools.partial(experiment.phases[0].batch_at, batch_size=124))(experiment.data.train, KEY, 0)
    steps = np.asarray(batch["index"])[:, None] + np.arange(8)
    assert not anomalous[steps].any()
    assert len(set(batch["index"].tolist())) == 133 - 9
    split = experiment.data.validation
    other = Split(split.fields | {"x": np.where(split.fields["label"][..., None] != 0, -50, split.fields["x"])})
    validate = jax.jit(lambda x: experiment.validate(start, Split(split.fields | {"x": x}), KEY))
    assert float(validate(split.fields["x"])) == float(validate(other.fields["x"].astype(np.float32)))


def test_a_constant_series_is_told_by_what_it_was(tmp_path):
    label = (np.arange(100) == 90).astype(int)
    np.savez(tmp_path / "still.npz", x=np.full((100, 1), 3.0) + label[:, None], label=label)
    experiment, start = built(dataset=str(tmp_path / "still.npz"))
    measured = experiment.evaluate(start, experiment.data, KEY)
    assert all(np.isfinite(value) for value in measured.values())
    assert measured["prediction/auroc"] == 1
    # no direction varies, and the step counts in each of the windows that hold it
    assert measured["pca/auroc"] == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--window", "1"], ["window=1"]),
        (["--code-size", "0"], ["code_size=0"]),
        (["--components", "0"], ["components=0"]),
        (["--quantile", "0"], ["quantile=0.0"]),
        (["--buffer", "-1"], ["buffer=-1"]),
        (["--window", "1201"], ["faults: none of the 1200 steps of its validation split", "--window"]),
        (["--dataset", "seasons"], ["'seasons': expected faults"]),
        (["--dataset", "short.npz"], ["short: 1 time steps cannot be cut"]),
        (["--dataset", "unlabelled.npz"], ["unlabelled.npz has no labels"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    np.savez("short.npz", x=np.ones((1, 1)), label=np.ones(1, int))
    np.savez("unlabelled.npz", x=np.ones((50, 1)))
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=series_anomaly)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
