"""Which modes of a known mixture of Gaussians a generator reaches, how well, and how evenly.

Source: Lin, Khetan, Fanti & Oh, "PacGAN: the power of two samples in generative adversarial networks" (2018).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.errors import DataError, require

HIGH_QUALITY = 3.0
"""Standard deviations from its nearest mean within which a sample counts. In two dimensions 1 - exp(-4.5) = 98.89 % of
the mixture's own samples do: a larger share is a sign of collapse, not of quality."""


class Coverage(NamedTuple):
    """Of N samples from a generator, on K means.

    modes []: means that are nearest to at least one high-quality sample.
    high_quality []: share of high-quality samples.
    reverse_kl []: KL divergence in nats of the histogram `counts` from the uniform one, log K - entropy. At most log K,
        which is also its value where no sample is of high quality.
    counts [K]: high-quality samples by their nearest mean.
    """

    modes: Array
    high_quality: Array
    reverse_kl: Array
    counts: Array


def mixture_coverage(samples: Float[Array, "N D"], means: Float[Array, "K D"], *, stddev: float) -> Coverage:
    """A sample is of high quality if it lies within 3 `stddev` of its nearest mean. Jittable.

    The histogram is over high-quality samples alone, as in the code published with the paper. A sample that is not
    finite is of low quality. Raises DataError without samples or means.
    """
    require(stddev > 0, "stddev", stddev, "a positive number")
    if 0 in (*samples.shape, *means.shape):
        raise DataError(
            f"samples {list(samples.shape)} and means {list(means.shape)}: expected at least one row of each."
        )
    squared = jnp.sum(jnp.square(samples[:, None, :] - means[None, :, :]), axis=-1)
    high_quality = jnp.min(squared, axis=1) < (HIGH_QUALITY * stddev) ** 2
    nearest = jax.nn.one_hot(jnp.argmin(squared, axis=1), len(means), dtype=jnp.int32)
    counts = jnp.sum(nearest * high_quality[:, None], axis=0)
    shares = counts / jnp.maximum(counts.sum(), 1)
    entropy = -jnp.sum(shares * jnp.log(jnp.where(counts > 0, shares, 1)))
    reverse_kl = jnp.maximum(jnp.log(len(means)) - entropy, 0)  # rounding may leave an even histogram below
    return Coverage(jnp.sum(counts > 0), counts.sum() / len(samples), reverse_kl, counts)


def measures(row: str, coverage: Coverage) -> dict[str, float]:
    """A table row: `modes`, `high_quality_percent`, `reverse_kl` in nats."""
    return {
        f"{row}/modes": float(coverage.modes),
        f"{row}/high_quality_percent": 100 * float(coverage.high_quality),
        f"{row}/reverse_kl": float(coverage.reverse_kl),
    }
