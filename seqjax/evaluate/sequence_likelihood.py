"""The cost of whole sequences in nats a step: of a model with one latent vector for each, and of what stands beside it.

A step's cost is that of all sequences over the number of all their steps, the first step of each included.
"""

import jax
import numpy as np
from jaxtyping import Float, Int

from seqjax.data.sequences import Sequences
from seqjax.evaluate.density_baselines import gaussian_log_likelihoods
from seqjax.evaluate.likelihood import Sampler, importance_log_likelihood
from seqjax.evaluate.posterior import active_units, drawn
from seqjax.types import Key, Params, Split

STEPS_AT_ONCE = 100_000  # of all sequences that are decoded together
MIN_STDDEV = 0.01


def nats_a_step(nats: Float[np.ndarray, "N"], lengths: Int[np.ndarray, "N"]) -> float:
    """The nats of all sequences over the steps of all."""
    return float(np.sum(nats, dtype=np.float64) / np.sum(lengths))


def half_width(nats: Float[np.ndarray, "N"], lengths: Int[np.ndarray, "N"]) -> float:
    """Half the 95 % interval of `nats_a_step` over test sequences, a ratio of two means; 0 for one sequence."""
    if len(nats) == 1:
        return 0.0
    residuals = nats - nats_a_step(nats, lengths) * lengths
    return float(1.96 * np.std(residuals, ddof=1) / np.sqrt(len(nats)) / np.mean(lengths))


def sequence_measures(
    row: str, sampler: Sampler, params: Params, split: Split, key: Key, *, num_samples: int
) -> dict[str, float]:
    """A table row of a model with one latent vector for each sequence.

    nats_a_step, half_width: of `num_samples` importance samples, and its interval over test sequences.
    negative_elbo: the evidence lower bound with its sign turned, in nats a step; distortion and rate, its two terms.
    kl: the rate in nats a sequence; active_units: see `posterior`.
    """
    log_likelihood_key, draws_key = jax.random.split(key)
    lengths = np.asarray(split.fields["length"])
    longest = split.fields["x"].shape[1]
    nats = -importance_log_likelihood(
        sampler,
        params,
        split,
        log_likelihood_key,
        num_samples=num_samples,
        draws_at_once=max(1, STEPS_AT_ONCE // longest),
    )
    chunk = max(1, STEPS_AT_ONCE // (10 * longest))
    distortions, rates, means, *_ = jax.tree.map(np.asarray, drawn(sampler, params, split, draws_key, chunk=chunk))
    return {
        f"{row}/nats_a_step": nats_a_step(nats, lengths),
        f"{row}/half_width": half_width(nats, lengths),
        f"{row}/negative_elbo": nats_a_step(distortions, lengths) + nats_a_step(rates, lengths),
        f"{row}/distortion": nats_a_step(distortions, lengths),
        f"{row}/rate": nats_a_step(rates, lengths),
        f"{row}/kl": float(np.mean(rates, dtype=np.float64)),
        f"{row}/active_units": float(active_units(means[0]).sum()),
    }


def marginal_nats(found: Sequences, train: Split, test: Split) -> Float[np.ndarray, "N"]:
    """Nats of each test sequence if every value were drawn on its own, as often as it comes in the training split.

    Symbols and single features with Laplace's rule of succession; Gaussian features by mean and standard deviation.
    """
    fitted, x = steps_of(train), steps_of(test)
    match found.likelihood:
        case "bernoulli":
            rates = marginal_rates(found, train)
            costs = -np.where(x, np.log(rates), np.log1p(-rates)).sum(axis=1)
        case "categorical":
            costs = -np.log(marginal_rates(found, train))[x]
        case "gaussian":
            costs = -gaussian_log_likelihoods(fitted.astype(np.float64), x.astype(np.float64), min_stddev=MIN_STDDEV)
    ends = np.cumsum(np.asarray(test.fields["length"]))
    return np.asarray([part.sum() for part in np.split(costs, ends[:-1])])


def marginal_rates(found: Sequences, train: Split) -> Float[np.ndarray, "V"]:
    """How often each symbol comes, or each feature is 1, by Laplace's rule of succession."""
    fitted = steps_of(train)
    if found.likelihood == "categorical":
        counts = np.bincount(fitted, minlength=found.num_values) + 1
        return counts / counts.sum()
    return (fitted.sum(axis=0) + 1) / (len(fitted) + 2)


def steps_of(split: Split) -> np.ndarray:
    """The steps of all sequences in a row, without the padding."""
    x, lengths = (np.asarray(split.fields[name]) for name in ("x", "length"))
    return x[np.arange(x.shape[1])[None, :] < lengths[:, None]]
