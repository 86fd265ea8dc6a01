"""What a trained posterior says about the data: rate and distortion, active units, information; and its collapse."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from seqjax.evaluate.likelihood import Sampler, bits_per_dimension, importance_log_likelihood, likelihood_measures
from seqjax.evaluate.per_example import per_example
from seqjax.types import Key, Params, Split

ACTIVE_VARIANCE = 1e-2
NUM_DRAWS = 10  # of each example, for rate and distortion
LEAST_RATE = 0.1  # nats an example, below which the latents say nothing
ROWS = 500  # of the matrix of densities that are held at once


def active_units(means: Float[np.ndarray, "N Z"]) -> Bool[np.ndarray, "Z"]:
    """Which units say something about the data: Var_x E_q[z | x] > 0.01 (Burda et al. 2016, section 5.2)."""
    return np.asarray(means, np.float64).var(axis=0) > ACTIVE_VARIANCE


def mutual_information(
    means: Float[np.ndarray, "N Z"], log_stddevs: Float[np.ndarray, "N Z"], draws: Float[np.ndarray, "N Z"]
) -> float:
    """Information in nats that one draw of the latents has about which of the N examples it was made for.

    The mean of log q(z | x_n) - log q(z) over one draw for each example, q(z) being the mean of all N posteriors: an
    estimate of I_q(n; z) of Hoffman & Johnson 2016, which is at most log N. What is left of the mean KL to the prior,
    KL - I, is KL(q(z) || p(z)): how far the aggregated posterior is from the prior.
    """
    from scipy.special import logsumexp

    means, log_stddevs, draws = (np.asarray(a, np.float64) for a in (means, log_stddevs, draws))
    precisions = np.exp(-2 * log_stddevs)
    # the square of the difference as three terms, two of them matrix products; Gaussian constants drop out
    constant = -0.5 * (np.square(means) * precisions).sum(axis=1) - log_stddevs.sum(axis=1)
    own, mixed = [], []
    for start in range(0, len(draws), ROWS):
        z = draws[start : start + ROWS]
        log_q = constant[None] + z @ (means * precisions).T - 0.5 * np.square(z) @ precisions.T
        own.append(log_q[np.arange(len(z)), start + np.arange(len(z))])
        mixed.append(logsumexp(log_q, axis=1) - np.log(len(means)))
    return float(np.mean(np.concatenate(own) - np.concatenate(mixed)))


def latent_measures(
    row: str, sampler: Sampler, params: Params, split: Split, key: Key, *, num_samples: int
) -> dict[str, float]:
    """A table row of a model with latents: likelihood, and what its posterior does.

    nll, nll_half_width, bits_per_dim: of `num_samples` importance samples.
    elbo: the evidence lower bound in nats; distortion and rate, its two terms, in bits for each value of an example.
    kl: the rate in nats, over all layers. active_units: of the lowest layer; `active_units_1` and so on of those above.
    information, aggregate_kl: the parts of the KL of `mutual_information`; of models with one layer, whose prior of
    z is known.
    """
    log_likelihood_key, draws_key = jax.random.split(key)
    log_likelihoods = importance_log_likelihood(sampler, params, split, log_likelihood_key, num_samples=num_samples)
    num_values = int(np.prod(split.fields["x"].shape[1:]))
    found = likelihood_measures(row, log_likelihoods, num_values)
    per_example_values = jax.tree.map(np.asarray, drawn(sampler, params, split, draws_key))
    distortions, rates, means, log_stddevs, draws = per_example_values
    distortion, rate = (float(np.mean(v, dtype=np.float64)) for v in (distortions, rates))
    found |= {
        f"{row}/elbo": -distortion - rate,
        f"{row}/kl": rate,
        f"{row}/distortion_bits_per_dim": bits_per_dimension(distortion, num_values),
        f"{row}/rate_bits_per_dim": bits_per_dimension(rate, num_values),
    }
    for layer, mean in enumerate(means):
        found[f"{row}/active_units{f'_{layer}' if layer else ''}"] = float(active_units(mean).sum())
    if len(means) == 1:
        information = mutual_information(means[0], log_stddevs, draws)
        found |= {f"{row}/information": information, f"{row}/aggregate_kl": rate - information}
    return found


@functools.partial(jax.jit, static_argnames=("sampler", "chunk"))
def drawn(sampler: Sampler, params: Params, split: Split, key: Key, *, chunk: int = 200) -> Any:
    """For each example distortion and rate, mean over draws; each layer's mean; of the lowest also scale and a draw."""

    def of_batch(batch: dict[str, Array]) -> Any:
        draws = sampler(params, batch, key, jnp.arange(NUM_DRAWS, dtype=jnp.int32))
        rate = draws.kl_of_units.sum(axis=1)
        means = tuple(q.mean.mean(axis=1) for q in draws.posteriors)
        lowest = draws.posteriors[0].log_stddev[:, 0], draws.latents[0][:, 0]
        return -draws.log_likelihood.mean(axis=1), rate, means, *lowest

    return per_example(of_batch, split, chunk=chunk)


def posterior_health(row: str) -> Callable[[dict[str, Any]], str]:
    """A verdict: "collapsed" where on some seed no unit is active, or the posterior is the prior to within .1 nats."""

    def health(metrics: dict[str, Any]) -> str:
        active = min(metrics[f"{row}/active_units"]["per_seed"])
        rate = min(metrics[f"{row}/kl"]["per_seed"])
        return "collapsed" if active < 1 or rate < LEAST_RATE else "ok"

    return health
