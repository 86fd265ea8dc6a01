"""Classifiers that any model stands beside, and what is measured of all of them. On the host, in float64."""

import warnings

import numpy as np
from jaxtyping import Float, Int

STRENGTHS = (0.01, 0.1, 1.0)  # inverse weights of the penalty on squared weights
MAX_ITERATIONS = 100


def measures(row: str, log_probabilities: Float[np.ndarray, "N K"], labels: Int[np.ndarray, "N"]) -> dict[str, float]:
    """`row/accuracy`, the share of rows whose likeliest class is theirs, and `row/nats`, -log p of theirs a row."""
    nats = -np.take_along_axis(log_probabilities, labels[:, None], axis=1)
    return {
        f"{row}/accuracy": float((np.argmax(log_probabilities, axis=1) == labels).mean()),
        f"{row}/nats": float(nats.mean(dtype=np.float64)),
    }


def class_shares(labels: Int[np.ndarray, "N"], num_rows: int) -> Float[np.ndarray, "M K"]:
    """Log-probabilities of one who looks at no row: each class's share of `labels`, which has them all."""
    return np.tile(np.log(np.bincount(labels) / len(labels)), (num_rows, 1))


def logistic_regression(
    train: tuple[Float[np.ndarray, "N D"], Int[np.ndarray, "N"]],
    validation: tuple[Float[np.ndarray, "V D"], Int[np.ndarray, "V"]],
    rows: Float[np.ndarray, "M D"],
) -> Float[np.ndarray, "M K"]:
    """Log-probabilities of `rows` under scikit-learn's logistic regression, fitted on values and classes of `train`.

    Its strength is the one of `STRENGTHS` with the least nats on `validation`, the weakest where that is empty. After
    `MAX_ITERATIONS` steps of L-BFGS it stops, converged or not. Classes are 0 to K - 1, each among the training rows.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def cost(fitted: LogisticRegression) -> float:
        return measures("own", _log_probabilities(fitted, validation[0]), validation[1])["own/nats"]

    fits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in STRENGTHS if len(validation[0]) else STRENGTHS[:1]:
            fits.append(LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(*train))
    return _log_probabilities(min(fits, key=cost) if len(fits) > 1 else fits[0], rows)


def _log_probabilities(fitted, rows: np.ndarray) -> np.ndarray:
    # predict_log_proba takes the logarithm of probabilities that may have become 0
    from scipy.special import log_softmax

    scores = fitted.decision_function(rows)
    return log_softmax(np.stack([np.zeros(len(rows)), scores], axis=1) if scores.ndim == 1 else scores, axis=1)
