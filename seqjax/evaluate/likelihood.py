"""The log-likelihood of a model with latents, by importance sampling, and what it comes to in bits.

Source: Burda, Grosse & Salakhutdinov 2016, section 5: log p(x) is about the log of the mean of K weights
p(x, z) / q(z | x), which lies below it and rises towards it with K.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from seqjax.data.batches import intensities
from seqjax.errors import require
from seqjax.models.vae import Draws
from seqjax.types import Batch, Key, Params, Split

SAMPLES_AT_ONCE = 100
DRAWS_AT_ONCE = 4000  # of one dispatch: on a CPU well under a second, so that a signal need not wait for long

Sampler = Callable[[Params, Batch, Key, Array], Draws]
"""`(params, batch, key, numbers of the draws [K]) -> Draws`: a draw is a function of key, example and number."""


def importance_log_likelihood(
    sampler: Sampler, params: Params, split: Split, key: Key, *, num_samples: int, draws_at_once: int = DRAWS_AT_ONCE
) -> Float[np.ndarray, "N"]:
    """log of the mean of `num_samples` weights of each example, in nats, as float64.

    The loop over chunks of examples and of draws runs on the host, so that a signal is heard between any two. How the
    work is cut into chunks changes the values by rounding alone. `sampler` is compiled once for each object.
    """
    require(num_samples >= 1, "importance_samples", num_samples, "at least 1")
    count = min(num_samples, SAMPLES_AT_ONCE)
    rows_at_once = max(1, min(split.num_examples, draws_at_once // count))
    found = np.empty(split.num_examples)
    for start in range(0, split.num_examples, rows_at_once):
        # a last chunk that is filled up compiles nothing new
        rows = np.minimum(np.arange(start, start + rows_at_once, dtype=np.int32), split.num_examples - 1)
        batch = {name: np.asarray(field[rows]) for name, field in split.fields.items()} | {"index": rows}
        total = np.full(rows_at_once, -np.inf)
        for first in range(0, num_samples, count):
            part = _log_sum_of_weights(sampler, params, batch, key, jnp.int32(first), jnp.int32(num_samples), count)
            total = np.logaddexp(total, np.asarray(part, np.float64))
        found[rows] = total - math.log(num_samples)
    return found


@functools.partial(jax.jit, static_argnames=("sampler", "count"))
def _log_sum_of_weights(
    sampler: Sampler, params: Params, batch: Batch, key: Key, first: Array, end: Array, count: int
) -> Float[Array, "B"]:
    samples = first + jnp.arange(count, dtype=jnp.int32)
    batch = {name: intensities(field) for name, field in batch.items()}
    log_weights = sampler(params, batch, key, samples).log_weights
    return jax.nn.logsumexp(jnp.where((samples < end)[None, :], log_weights, -jnp.inf), axis=1)


def bits_per_dimension(nats: float, num_values: int) -> float:
    """The same cost in bits for each value of an example. Of a density, relative to the unit of the values.

    Examples:
        >>> import math
        >>> from seqjax import bits_per_dimension
        >>> bits_per_dimension(784 * math.log(2), 784)
        1.0
    """
    return nats / (num_values * math.log(2))


def half_width(values: Float[np.ndarray, "N"]) -> float:
    """Half the width of the 95 % interval of the mean over test examples; 0 for one example."""
    if len(values) == 1:
        return 0.0
    return float(1.96 * np.std(values, ddof=1) / math.sqrt(len(values)))


def likelihood_measures(row: str, log_likelihoods: Float[np.ndarray, "N"], num_values: int) -> dict[str, float]:
    """`row/nll`, nats an example; `row/nll_half_width`, its interval over test examples; `row/bits_per_dim`."""
    nll = float(-np.mean(log_likelihoods))
    return {
        f"{row}/nll": nll,
        f"{row}/nll_half_width": half_width(log_likelihoods),
        f"{row}/bits_per_dim": bits_per_dimension(nll, num_values),
    }
