"""Series drawn from what linear statistics say of the training series, for a generator to stand beside."""

import jax
import numpy as np
from jaxtyping import Float, Float32

from seqjax.types import Key


def noise_about_mean(train: Float[np.ndarray, "N T D"], count: int, key: Key) -> Float32[np.ndarray, "K T D"]:
    """`count` series of independent Gaussian values, each with the mean and deviation of its step and feature."""
    train = train.astype(np.float64)
    draws = np.asarray(jax.random.normal(key, (count, *train.shape[1:])), np.float64)
    return (train.mean(axis=0) + train.std(axis=0) * draws).astype(np.float32)


def gaussian_series(train: Float[np.ndarray, "N T D"], count: int, key: Key) -> Float32[np.ndarray, "K T D"]:
    """`count` series from the Gaussian with the means and covariances of all steps and features together.

    It is linear autoregression at its fullest: every step on all steps before it, with coefficients of its own. Means
    and power spectra are those of the training series; what is not linear is lost.
    """
    rows = train.reshape(len(train), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    # the symmetric root: the same whatever axes an eigendecomposition chooses among equal variances
    variances, axes = np.linalg.eigh(centred.T @ centred / len(rows))
    root = (axes * np.sqrt(np.maximum(variances, 0))) @ axes.T
    draws = np.asarray(jax.random.normal(key, (count, rows.shape[1])), np.float64)
    return (mean + draws @ root).reshape(count, *train.shape[1:]).astype(np.float32)
