"""Areas under range-based curves: anomalies of a series are stretches of time, whose labelled ends are not exact.

Source: Paparrizos, Boniol, Palpanas, Tsay, Elmore & Franklin, "Volume under the surface" (VLDB 2022), section 3. On the
host, in float64.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from seqjax.errors import require
from seqjax.evaluate.anomaly import check_both


class RangeAUC(NamedTuple):
    """Area under the curve of range-based recall over false alarms, and of range-based precision over recall."""

    roc: float
    pr: float


def stretches(anomalous: Bool[np.ndarray, "T"]) -> list[tuple[int, int]]:
    """First step, and the one after the last, of each anomaly."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], anomalous.astype(np.int8), [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def soft_label(anomalous: Bool[np.ndarray, "T"], buffer: int) -> Float[np.ndarray, "T"]:
    """1 within an anomaly, (1 - d / buffer)^(1/2) at d steps from its end, for d up to half the buffer, and 0 beyond.

    Where anomalies come near each other their labels add up, to 1 at most.
    """
    steps, total = np.arange(len(anomalous)), np.zeros(len(anomalous))
    for start, end in stretches(anomalous):
        distance = np.maximum(np.maximum(start - steps, steps - (end - 1)), 0)
        near = distance <= buffer / 2
        total[near] += np.sqrt(1 - distance[near] / max(buffer, 1))
    return np.minimum(total, 1)


def range_auc(scores: Float[np.ndarray, "T"], anomalous: Bool[np.ndarray, "T"], *, buffer: int) -> RangeAUC:
    """R-AUC-ROC and R-AUC-PR over all thresholds that the scores make; from one to the next a straight line.

    With l the soft label, a the label of 0 and 1, and p the alarms at a threshold:
        P = sum (a + l) / 2, N = T - P; recall = (l.p / P) * (share of anomalies with an alarm within them);
        false alarms = (1 - l).p / N; precision = l.p / sum p.
    l.p can exceed P, whose share counts as 1 then. The first curve begins at (0, 0) and ends at (1, 1), the second
    begins at recall 0 with its first precision. A constant score has an area of 1 - F / 2, where F, its share of false
    alarms, is (T - sum l) / N: 0.5 without a buffer, little more with a short one. A random score has more than that,
    since alarms within a buffer count as hits while P holds but half of it: no area says anything without its floor.

    NaN where a score is not finite. Raises DataError unless there are both anomalous and normal steps.
    """
    require(buffer >= 0, "buffer", buffer, "a number of steps, 0 or more")
    check_both(anomalous)
    if not np.isfinite(scores).all():
        return RangeAUC(float("nan"), float("nan"))
    soft = soft_label(anomalous, buffer)
    positives = (anomalous.sum() + soft.sum()) / 2
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each threshold's ties
    alarms, hits = last + 1.0, np.cumsum(soft[order])[last]
    highest = np.asarray([scores[start:end].max() for start, end in stretches(anomalous)])
    detected = (highest[None, :] >= ranked[last][:, None]).mean(axis=1)
    recall = np.minimum(hits / positives, 1) * detected
    false_alarms = (alarms - hits) / (len(scores) - positives)
    precision = hits / alarms
    return RangeAUC(
        float(np.trapezoid(np.concatenate([[0], recall, [1]]), np.concatenate([[0], false_alarms, [1]]))),
        float(np.trapezoid(np.append(precision[0], precision), np.append(0, recall))),
    )
