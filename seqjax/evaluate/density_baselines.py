"""Densities that any model of images stands beside: each value on its own, a mixture, principal components with noise.

All are fitted on the training split, on the host; log-likelihoods are in nats, one an example.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from seqjax.data.binarised import binarised
from seqjax.errors import require
from seqjax.evaluate.likelihood import likelihood_measures
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Dataset

PSEUDO_COUNT = 1.0  # rows
MIXTURE_ITERATIONS = 60
START_ROWS = 0  # seed of the rows that a mixture starts from


class BernoulliMixture(NamedTuple):
    """`log_weights [K]` of the components and the `logits [K D]` of their rates."""

    log_weights: Float[Array, "K"]
    logits: Float[Array, "K D"]

    def log_joint(self, x: Float[Array, "N D"]) -> Float[Array, "N K"]:
        """log p(component, x) in nats."""
        silent = -jax.nn.softplus(self.logits).sum(axis=1)
        return x @ self.logits.T + (silent + self.log_weights)[None, :]

    def log_likelihood(self, x: Float[Array, "N D"]) -> Float[Array, "N"]:
        return jax.nn.logsumexp(self.log_joint(x), axis=1)


def fitted_bernoulli_mixture(train: Float[np.ndarray, "N D"], num_components: int) -> BernoulliMixture:
    """Expectation and maximisation from pinned rows of `train` (zeros and ones); one component is the marginal.

    `PSEUDO_COUNT` rows of ones and as many of zeros are added to the marginal rates, and as many rows of the marginal
    to each component: so nothing is impossible, and a component that explains no row does no harm.
    """
    require(num_components >= 1, "mixture_components", num_components, "at least 1")
    x = jnp.asarray(train, jnp.float32)
    marginal = (x.sum(axis=0) + PSEUDO_COUNT) / (len(train) + 2 * PSEUDO_COUNT)
    count = min(num_components, len(train))
    rows = np.random.RandomState(START_ROWS).permutation(len(train))[:count]
    # between a row and the marginal, since a row alone would have rates of 0 and 1
    rates = marginal[None] if count == 1 else 0.5 * marginal[None] + 0.5 * (0.25 + 0.5 * x[rows])
    mixture = BernoulliMixture(jnp.full(count, -math.log(count)), jax.scipy.special.logit(rates))
    for _ in range(MIXTURE_ITERATIONS if count > 1 else 0):
        mixture = _better(mixture, x, marginal)
        # one iteration a dispatch, so that a signal need not wait for all of them
        jax.block_until_ready(mixture)
    return mixture


@jax.jit
def _better(mixture: BernoulliMixture, x: Float[Array, "N D"], marginal: Float[Array, "D"]) -> BernoulliMixture:
    """The mixture after one iteration."""
    shares = jax.nn.softmax(mixture.log_joint(x), axis=1)
    sizes = shares.sum(axis=0)
    rates = (shares.T @ x + PSEUDO_COUNT * marginal[None]) / (sizes + PSEUDO_COUNT)[:, None]
    weights = (sizes + PSEUDO_COUNT) / (x.shape[0] + mixture.logits.shape[0] * PSEUDO_COUNT)
    return BernoulliMixture(jnp.log(weights), jax.scipy.special.logit(rates))


def bernoulli_baselines(data: Dataset, num_components: int) -> dict[str, float]:
    """The rows `marginal` (each value on its own) and `mixture` (of so many such), of binary test data.

    Fitted on one pinned binary draw of the training split.
    """
    fitted, test = values_of(binarised(data, train=True).train), jnp.asarray(values_of(data.test), jnp.float32)
    found = {}
    for row, count in (("marginal", 1), ("mixture", num_components)):
        log_likelihoods = fitted_bernoulli_mixture(fitted, count).log_likelihood(test)
        found |= likelihood_measures(row, np.asarray(log_likelihoods, np.float64), test.shape[1])
    return found


def gaussian_baselines(data: Dataset, code_size: int, *, min_stddev: float) -> dict[str, float]:
    """The rows `marginal` (each value a Gaussian on its own) and `ppca` (as many components as the code has units)."""
    fitted, test = values_of(data.train), values_of(data.test)
    rows = {
        "marginal": gaussian_log_likelihoods(fitted, test, min_stddev=min_stddev),
        "ppca": probabilistic_pca_log_likelihoods(fitted, test, code_size, min_stddev=min_stddev),
    }
    return {k: v for row, found in rows.items() for k, v in likelihood_measures(row, found, test.shape[1]).items()}


def gaussian_log_likelihoods(
    train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "M D"], *, min_stddev: float
) -> Float[np.ndarray, "M"]:
    """log-density of test rows with each value Gaussian on its own, scales at least `min_stddev`."""
    stddev = np.maximum(train.std(axis=0), min_stddev)[None]
    scaled = (test - train.mean(axis=0)[None]) / stddev
    return (-0.5 * np.square(scaled) - np.log(stddev) - 0.5 * np.log(2 * np.pi)).sum(axis=1)


def probabilistic_pca_log_likelihoods(
    train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "M D"], code_size: int, *, min_stddev: float
) -> Float[np.ndarray, "M"]:
    """log-density of test rows under the Gaussian of Tipping & Bishop 1999: principal components and one noise scale.

    The linear-Gaussian VAE with that many latents and the noise at least `min_stddev` can do no better on the training
    rows (equations 7 and 8).
    """
    mean = train.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(train - mean, rowvar=False, bias=True).reshape(train.shape[1], -1))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    kept = min(code_size, len(values) - 1) if len(values) > 1 else 0
    noise = max(float(values[kept:].mean()), min_stddev**2)
    spread = np.maximum(values[:kept], noise)
    centred = test - mean
    along = centred @ vectors[:, :kept]
    rest = np.maximum(np.square(centred).sum(axis=1) - np.square(along).sum(axis=1), 0)
    log_det = np.log(spread).sum() + (len(values) - kept) * np.log(noise)
    quadratic = (np.square(along) / spread).sum(axis=1) + rest / noise
    return -0.5 * (quadratic + log_det + len(values) * np.log(2 * np.pi))
