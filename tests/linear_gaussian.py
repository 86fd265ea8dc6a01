"""Linear VAEs whose true posterior is a diagonal Gaussian, in float64, and what is known of them in closed form."""

import numpy as np
from scipy.stats import multivariate_normal

from seqjax.models.vae import VAE

D, Z = 5, 2
STDDEV = 0.7
RNG = np.random.default_rng(4)
# orthogonal columns, so that the posterior of z given x has no correlations
W = np.linalg.qr(RNG.normal(size=(D, Z)))[0] * np.asarray([1.5, 0.4])
B = RNG.normal(size=D)
A, S = np.asarray([0.8, -1.2]), np.asarray([0.6, 0.9])  # z_0 = A z_1 + S noise, where there are two layers

ONE = VAE(D, ((),), (Z,), likelihood="gaussian", stddev=STDDEV)
TWO = VAE(D, ((), ()), (Z, Z), likelihood="gaussian", stddev=STDDEV)


def dense(kernel, bias):
    return {"kernel": np.asarray(kernel), "bias": np.asarray(bias)}


def gaussian(kernel, bias, stddev):
    return {"mean": dense(kernel, bias), "log_stddev": dense(np.zeros_like(kernel), np.log(stddev))}


def layer_zero(prior_variance):
    """q(z_0 | x) by Bayes' rule, where the prior of z_0 has that variance."""
    precision = 1 / prior_variance + np.square(W).sum(axis=0) / STDDEV**2
    gain = W / STDDEV**2 / precision
    return gaussian(gain, -B @ gain, 1 / np.sqrt(precision))


def one_layer():
    return {"params": {"p_0": {"mean": dense(W.T, B)}, "q_0": layer_zero(np.ones(Z))}}


def two_layers():
    variance = A**2 + S**2
    upper = gaussian(np.diag(A / variance), np.zeros(Z), S / np.sqrt(variance))
    return {
        "params": {
            "p_0": {"mean": dense(W.T, B)},
            "p_1": gaussian(np.diag(A), np.zeros(Z), S),
            "q_0": layer_zero(variance),
            "q_1": upper,
        }
    }


def shifted(params, by):
    """The same model with a worse posterior: the means of q_0 moved."""
    q = params["params"]["q_0"]
    moved = q | {"mean": dense(q["mean"]["kernel"], q["mean"]["bias"] + by)}
    return {"params": params["params"] | {"q_0": moved}}


def log_evidence(x, prior_variance=1.0):
    covariance = (W * prior_variance) @ W.T + STDDEV**2 * np.eye(D)
    return multivariate_normal.logpdf(x, B, covariance)


def sampled(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, Z)) @ W.T + B + STDDEV * rng.normal(size=(count, D))
