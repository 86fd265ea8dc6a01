"""Range-based areas against the definition written out step by step, and answers known by hand."""

import itertools

import numpy as np
import pytest

from seqjax.errors import DataError, UsageError
from seqjax.evaluate.anomaly import auroc
from seqjax.evaluate.range_auc import range_auc, soft_label, stretches

RNG = np.random.default_rng(0)


def truth_of(*ranges, length):
    anomalous = np.zeros(length, bool)
    for start, end in ranges:
        anomalous[start:end] = True
    return anomalous


def written_out(scores, anomalous, buffer):
    """Section 3 of the paper, one threshold and one step at a time."""
    length, ranges, inside = len(scores), [], False
    for t in range(length):
        if anomalous[t] and not inside:
            ranges.append([t, t])
        if anomalous[t]:
            ranges[-1][1] = t
        inside = anomalous[t]
    soft = []
    for t in range(length):
        total = 0.0
        for first, last in ranges:
            if first <= t <= last:
                total += 1
            elif last < t <= last + buffer / 2:
                total += (1 - (t - last) / buffer) ** 0.5
            elif first - buffer / 2 <= t < first:
                total += (1 - (first - t) / buffer) ** 0.5
        soft.append(min(1.0, total))
    positives = sum((float(a) + s) / 2 for a, s in zip(anomalous, soft, strict=True))
    negatives = length - positives
    points, precisions = [(0.0, 0.0)], []
    for limit in sorted(set(scores.tolist()), reverse=True):
        alarms = [t for t in range(length) if scores[t] >= limit]
        hits = sum(soft[t] for t in alarms)
        existence = sum(any(first <= t <= last for t in alarms) for first, last in ranges) / len(ranges)
        points.append((sum(1 - soft[t] for t in alarms) / negatives, min(hits / positives, 1) * existence))
        precisions.append(hits / len(alarms))
    points.append((1.0, 1.0))
    roc = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    recalls = [recall for _, recall in points[:-1]]
    heights = [precisions[0], *precisions]
    pr = sum((recalls[k + 1] - recalls[k]) * (heights[k] + heights[k + 1]) / 2 for k in range(len(precisions)))
    return roc, pr


@pytest.mark.parametrize("buffer", [0, 1, 5, 12])
@pytest.mark.parametrize(
    "ranges", [((3, 4),), ((0, 5), (9, 10), (36, 40)), ((10, 14), (16, 20), (22, 23))], ids=["spike", "ends", "near"]
)
def test_equal_to_the_definition_written_out(buffer, ranges):
    anomalous = truth_of(*ranges, length=40)
    for digits in (8, 0):  # without ties, and with many
        scores = np.round(RNG.normal(size=40) + anomalous, digits)
        expected = written_out(scores, anomalous, buffer)
        np.testing.assert_allclose(range_auc(scores, anomalous, buffer=buffer), expected, rtol=1e-12)


def test_without_a_buffer_spikes_are_examples():
    """Each anomaly one step long: the existence of the found share is the found share, and so counts twice."""
    anomalous = truth_of((3, 4), (20, 21), length=30)
    best = range_auc(anomalous.astype(float), anomalous, buffer=0)
    assert best == (1, 1)
    # an anomaly of many steps is found as soon as one of them is: then only steps count
    anomalous = truth_of((5, 15), length=30)
    scores = np.where(np.arange(30) == 9, 9, RNG.normal(size=30) + anomalous)
    assert range_auc(scores, anomalous, buffer=0).roc == pytest.approx(auroc(scores, anomalous), abs=1e-12)


def test_alarms_near_an_anomaly_count_in_part():
    anomalous = truth_of((50, 60), length=200)
    near, far = (truth_of((start, start + 10), length=200).astype(float) for start in (42, 100))
    none = range_auc(near, anomalous, buffer=0)
    some = range_auc(near, anomalous, buffer=16)
    assert none.pr < 0.3
    assert some.roc > none.roc
    assert some.pr > none.pr + 0.1
    assert range_auc(far, anomalous, buffer=16).roc < 0.51


def test_constant_and_random_scores():
    anomalous = truth_of((50, 60), (120, 130), length=2000)
    assert range_auc(np.zeros(2000), anomalous, buffer=0).roc == 0.5
    soft = soft_label(anomalous, 20)
    false_alarms = (2000 - soft.sum()) / (2000 - (20 + soft.sum()) / 2)
    constant = range_auc(np.zeros(2000), anomalous, buffer=20)
    assert constant.roc == pytest.approx(1 - false_alarms / 2)
    assert constant.pr == pytest.approx(soft.mean() * min(soft.sum() / ((20 + soft.sum()) / 2), 1))
    # chance: about half without a buffer, and more with one, which is why it is always a row of the table
    half, more = (
        np.mean([range_auc(RNG.uniform(size=2000), anomalous, buffer=buffer).roc for _ in range(20)])
        for buffer in (0, 20)
    )
    assert 0.35 < half < 0.55
    assert 0.6 < more < 0.75


def test_no_point_is_adjusted():
    """One alarm within a long anomaly finds it, but not all of its steps."""
    anomalous = truth_of((50, 150), length=400)
    scores = (np.arange(400) == 100) + 0.0
    assert range_auc(scores, anomalous, buffer=0).roc < 0.52


def test_soft_labels_by_hand():
    soft = soft_label(truth_of((4, 6), (9, 10), length=12), 4)
    side = (1 - 1 / 4) ** 0.5, (1 - 2 / 4) ** 0.5
    np.testing.assert_allclose(soft, [0, 0, side[1], side[0], 1, 1, side[0], 1, side[0], 1, side[0], side[1]])
    assert stretches(truth_of((0, 2), (5, 6), (9, 10), length=10)) == [(0, 2), (5, 6), (9, 10)]
    assert stretches(np.zeros(3, bool)) == []


def test_refusals():
    with pytest.raises(DataError, match="0 of the 5"):
        range_auc(np.zeros(5), np.zeros(5, bool), buffer=2)
    with pytest.raises(UsageError, match="buffer=-1"):
        range_auc(np.zeros(5), np.arange(5) == 1, buffer=-1)
    assert np.isnan(range_auc(np.full(5, np.inf), np.arange(5) == 1, buffer=0)).all()
