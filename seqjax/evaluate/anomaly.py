"""How well scores tell anomalies from what is normal; the greater a score, the less normal. On the host, in float64.

Every example, and every step of a series, counts by its own score: nothing is adjusted once the truth is known, and
thresholds come from scores of training or validation examples, never from the scores that they judge.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from seqjax.errors import DataError, require
from seqjax.evaluate.reconstruction import fitted_pca, squared_errors
from seqjax.types import Key


def auroc(scores: Float[np.ndarray, "N"], anomalous: Bool[np.ndarray, "N"]) -> float:
    """The probability that an anomaly scores above a normal example, ties by half: 0.5 for whoever knows nothing.

    NaN where a score is not finite. Raises DataError unless there are both anomalies and normal examples.

    Examples:
        >>> import numpy as np
        >>> from seqjax import auroc
        >>> auroc(np.asarray([0.1, 0.4, 0.3, 0.9]), np.asarray([False, False, True, True]))
        0.75
    """
    from sklearn.metrics import roc_auc_score

    check_both(anomalous)
    return float(roc_auc_score(anomalous, scores)) if np.isfinite(scores).all() else float("nan")


def average_precision(scores: Float[np.ndarray, "N"], anomalous: Bool[np.ndarray, "N"]) -> float:
    """Precision at each threshold, weighted by the recall it adds: the share of anomalies for whoever knows nothing.

    No line is drawn between thresholds. NaN and DataError as of `auroc`.
    """
    from sklearn.metrics import average_precision_score

    check_both(anomalous)
    return float(average_precision_score(anomalous, scores)) if np.isfinite(scores).all() else float("nan")


def projection(train: Float[np.ndarray, "M D"], components: int) -> Callable[[np.ndarray], np.ndarray]:
    """`x [N D] -> [N D]`, onto the span of the principal components of `train`: a linear autoencoder.

    Directions in which `train` does not vary are no components: of one row, or of equal ones, the mean alone is left.
    """
    pca = fitted_pca(train, components)
    axes = pca.components_[pca.explained_variance_ > 1e-12 * np.square(train).mean()]
    return lambda x: pca.mean_ + (x - pca.mean_) @ axes.T @ axes


def pca_scores(train: Float[np.ndarray, "M D"], x: Float[np.ndarray, "N D"], components: int) -> Float[np.ndarray, "N"]:
    """Squared distance of each row from its `projection`."""
    return squared_errors(projection(train, components)(x), x)


def blind_scores(shape: tuple[int, ...], key: Key) -> dict[str, Float[np.ndarray, "..."]]:
    """Of those who do not look, the floor of every table: `random`, uniform in [0, 1), and `constant`."""
    return {"random": np.asarray(jax.random.uniform(key, shape), np.float64), "constant": np.zeros(shape)}


def threshold(reference: Float[np.ndarray, "N"], quantile: float) -> float:
    """The least score of `reference`, normal examples that are not judged, which so large a share of them keeps to.

    Raises DataError where there are none.
    """
    require(0 < quantile < 1, "quantile", quantile, "a share between 0 and 1")
    if len(reference) == 0:
        raise DataError("a threshold: found no normal scores to take it from; expected one at least.")
    return float(np.quantile(reference, quantile, method="higher")) if np.isfinite(reference).all() else float("nan")


def alarm_rates(scores: Float[np.ndarray, "N"], anomalous: Bool[np.ndarray, "N"], limit: float) -> tuple[float, float]:
    """The share of normal examples above the limit (false alarms), and of anomalies (detections). NaN for no limit."""
    check_both(anomalous)
    if not (np.isfinite(limit) and np.isfinite(scores).all()):
        return float("nan"), float("nan")
    alarms = scores > limit
    return float(alarms[~anomalous].mean()), float(alarms[anomalous].mean())


def measures(
    row: str,
    scores: Float[np.ndarray, "N"],
    anomalous: Bool[np.ndarray, "N"],
    reference: Float[np.ndarray, "V"],
    *,
    quantile: float,
) -> dict[str, float]:
    """A table row: AUROC, average precision, and what a threshold at that quantile of the reference comes to."""
    limit = threshold(reference, quantile)
    false_alarms, detections = alarm_rates(scores, anomalous, limit)
    return {
        f"{row}/auroc": auroc(scores, anomalous),
        f"{row}/average_precision": average_precision(scores, anomalous),
        f"{row}/false_alarm_rate": false_alarms,
        f"{row}/detection_rate": detections,
        f"{row}/threshold": limit,
    }


def one_class_measures(
    row: str,
    scores: Float[np.ndarray, "N C"],
    label: Int[np.ndarray, "N"],
    reference: Float[np.ndarray, "V C"],
    reference_label: Int[np.ndarray, "V"],
    classes: Sequence[int],
    *,
    quantile: float,
    each: bool = False,
) -> dict[str, float]:
    """`measures`, each the mean over the classes, of which one after the other is normal and all others anomalous.

    Column c holds the scores of one who has seen class `classes[c]` alone; its threshold comes from the rows of the
    reference that are of this class. each: `row/auroc_K` for each class besides.
    """
    scores, reference = (np.asarray(values, np.float64) for values in (scores, reference))
    by_class = [
        measures(row, scores[:, c], label != number, reference[reference_label == number, c], quantile=quantile)
        for c, number in enumerate(classes)
    ]
    found = {name: float(np.mean([own[name] for own in by_class])) for name in by_class[0]}
    if each:
        found |= {f"{row}/auroc_{number}": own[f"{row}/auroc"] for number, own in zip(classes, by_class, strict=True)}
    return found


def mean_roc_curve(
    scores: Float[np.ndarray, "N C"], anomalous: Bool[np.ndarray, "N C"], num_points: int = 201
) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P"]]:
    """Shares of false alarms from 0 to 1, and at each the share of detections, the mean over the columns."""
    from sklearn.metrics import roc_curve

    shares = np.linspace(0, 1, num_points)
    curves = [roc_curve(truth, own)[:2] for own, truth in zip(scores.T, anomalous.T, strict=True)]
    return shares, np.mean([np.interp(shares, *curve) for curve in curves], axis=0)


def check_both(anomalous: Shaped[np.ndarray, "N"]) -> None:
    """Raises DataError unless there are both anomalies and normal examples: no score is better than another else."""
    count = int(np.sum(anomalous))
    if not 0 < count < len(anomalous):
        raise DataError(
            f"{count} of the {len(anomalous)} examples to be judged are anomalous; expected some of them, and not all."
        )
