"""Areas and thresholds against scikit-learn and against counting; floors of those who do not look."""

import jax
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

from seqjax.errors import DataError, UsageError
from seqjax.evaluate import anomaly

RNG = np.random.default_rng(0)
SCORES = np.round(RNG.normal(size=60), 1)  # with ties
ANOMALOUS = RNG.uniform(size=60) < 0.3


def test_areas_are_scikit_learns_and_count_pairs():
    assert anomaly.auroc(SCORES, ANOMALOUS) == roc_auc_score(ANOMALOUS, SCORES)
    above = [(a > n) + 0.5 * (a == n) for a in SCORES[ANOMALOUS] for n in SCORES[~ANOMALOUS]]
    assert anomaly.auroc(SCORES, ANOMALOUS) == pytest.approx(np.mean(above), abs=1e-12)
    assert anomaly.average_precision(SCORES, ANOMALOUS) == average_precision_score(ANOMALOUS, SCORES)
    # by hand: precision 1 at the first anomaly, 2/4 at the second
    assert anomaly.average_precision(np.arange(4.0)[::-1], np.asarray([True, False, False, True])) == 0.75


def test_whoever_does_not_look_scores_the_floor():
    blind = anomaly.blind_scores((20_000,), jax.random.key(0))
    anomalous = np.arange(20_000) % 5 == 0
    for name, tolerance in (("random", 0.02), ("constant", 0)):
        assert anomaly.auroc(blind[name], anomalous) == pytest.approx(0.5, abs=tolerance)
        assert anomaly.average_precision(blind[name], anomalous) == pytest.approx(0.2, abs=tolerance)


def test_thresholds_leave_their_share_and_know_nothing_of_what_they_judge():
    reference = np.arange(1.0, 101)
    assert anomaly.threshold(reference, 0.95) == 96  # 95 of the others lie below
    rates = anomaly.alarm_rates(np.asarray([96.0, 97, 50, 200]), np.arange(4) == 3, 96.0)
    assert rates == (pytest.approx(1 / 3), 1)
    one, other = (
        anomaly.measures("row", scores, ANOMALOUS, reference, quantile=0.9) for scores in (SCORES, 100 + SCORES)
    )
    assert one["row/threshold"] == other["row/threshold"] == 91
    assert (one["row/detection_rate"], other["row/detection_rate"]) == (0, 1)
    assert one["row/auroc"] == other["row/auroc"]


def test_principal_components_leave_what_they_do_not_span():
    train, x = RNG.normal(size=(50, 6)) @ RNG.normal(size=(6, 6)), RNG.normal(size=(7, 6))
    left = (x - train.mean(axis=0)) @ PCA(6).fit(train).components_[2:].T
    np.testing.assert_allclose(anomaly.pca_scores(train, x, 2), np.square(left).sum(axis=1), rtol=1e-9)
    # fewer rows than components, down to one: what is left is the distance to their span
    for rows in (train[:1], np.tile(train[:1], (9, 1)), np.tile(train[:1], (3, 1))):
        np.testing.assert_allclose(anomaly.pca_scores(rows, x, 32), np.square(x - train[:1]).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(anomaly.pca_scores(train, x, 32), 0, atol=1e-20)


def test_one_class_measures_are_means_over_classes():
    label, classes = np.asarray([4, 4, 7, 7, 9, 4]), (4, 7)
    scores, reference = RNG.normal(size=(6, 2)), RNG.normal(size=(5, 2))
    reference_label = np.asarray([4, 7, 7, 4, 9])
    found = anomaly.one_class_measures(
        "row", scores, label, reference, reference_label, classes, quantile=0.5, each=True
    )
    areas = [roc_auc_score(label != number, scores[:, c]) for c, number in enumerate(classes)]
    assert [found["row/auroc_4"], found["row/auroc_7"]] == areas
    assert found["row/auroc"] == pytest.approx(np.mean(areas))
    limits = [reference[[0, 3], 0].max(), reference[[1, 2], 1].max()]
    assert found["row/threshold"] == pytest.approx(np.mean(limits))
    alarms = [(scores[label != number, c] > limits[c]).mean() for c, number in enumerate(classes)]
    assert found["row/detection_rate"] == pytest.approx(np.mean(alarms))
    assert "row/auroc_4" not in anomaly.one_class_measures(
        "row", scores, label, reference, reference_label, classes, quantile=0.5
    )


def test_the_mean_curve_has_the_mean_area():
    scores, anomalous = RNG.normal(size=(400, 3)), RNG.uniform(size=(400, 3)) < 0.4
    shares, detections = anomaly.mean_roc_curve(scores, anomalous, 2001)
    areas = [roc_auc_score(truth, own) for own, truth in zip(scores.T, anomalous.T, strict=True)]
    assert np.trapezoid(detections, shares) == pytest.approx(np.mean(areas), abs=2e-3)


def test_nothing_to_be_told_apart_and_scores_that_are_no_numbers():
    for anomalous in (np.zeros(60, bool), np.ones(60, bool)):
        with pytest.raises(DataError, match="of the 60 examples to be judged are anomalous; expected some"):
            anomaly.auroc(SCORES, anomalous)
    broken = np.where(np.arange(60) == 3, np.nan, SCORES)
    found = anomaly.measures("row", broken, ANOMALOUS, broken, quantile=0.9)
    assert all(np.isnan(value) for value in found.values())
    with pytest.raises(DataError, match="found no normal scores"):
        anomaly.threshold(np.zeros(0), 0.9)
    with pytest.raises(UsageError, match="quantile=1"):
        anomaly.threshold(SCORES, 1.0)
