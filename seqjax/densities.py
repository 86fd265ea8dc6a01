"""Log-densities and divergences of Gaussians with independent values: one value per example, in nats.

A scale is given as the logarithm of the standard deviation, so that no positivity has to be kept. All arguments of a
function broadcast against the first by NumPy's rules, where axes of length 1 have to be there: a sample axis is one
more axis, mapped by `jax.vmap`.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

LOG_SQRT_2_PI = 0.5 * math.log(2 * math.pi)


def _masked_sum(values: Float[Array, "B ..."], mask: Bool[Array, "B ..."] | None) -> Float[Array, "B"]:
    if mask is not None:
        values = jnp.where(_aligned(mask, values), values, 0)
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def _aligned(mask: Bool[Array, "B ..."], values: Float[Array, "B ..."]) -> Bool[Array, "B ..."]:
    return mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))


def gaussian_log_density_of_values(
    x: Float[Array, "..."], mean: Float[Array, "..."] | float, log_stddev: Float[Array, "..."] | float
) -> Float[Array, "..."]:
    """log N(x; mean, stddev^2) of every value on its own."""
    return -0.5 * jnp.square((x - mean) * jnp.exp(-jnp.asarray(log_stddev))) - log_stddev - LOG_SQRT_2_PI


def gaussian_log_density(
    x: Float[Array, "B ..."],
    mean: Float[Array, "..."],
    log_stddev: Float[Array, "..."],
    *,
    mask: Bool[Array, "B ..."] | None = None,
) -> Float[Array, "B"]:
    """log N(x; mean, stddev^2), summed over the values of each example; a density, so it may be positive.

    Finite for finite `x` and `mean` while `log_stddev` stays above -40 (see `floored`).
    mask: the values that count, over the leading axes; neither value nor gradient depends on what the others hold.
    """
    if mask is not None:
        # before anything is done with them: 0 * NaN would reach the gradient
        x, mean, log_stddev = (jnp.where(_aligned(mask, x), a, 0) for a in (x, mean, log_stddev))
    return _masked_sum(gaussian_log_density_of_values(x, mean, log_stddev), mask)


def gaussian_negative_log_likelihood(
    means: Float[Array, "B ..."],
    targets: Float[Array, "B ..."],
    *,
    log_stddev: Float[Array, "..."],
    mask: Bool[Array, "B ..."] | None = None,
) -> Float[Array, "B"]:
    """-log p(targets) under Gaussians about the predicted means, as a loss: see `gaussian_log_density`.

    log_stddev: learned with the means, or a constant; with a constant this is the squared error, scaled and shifted.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import gaussian_negative_log_likelihood
        >>> nats = gaussian_negative_log_likelihood(jnp.zeros((1, 2)), jnp.ones((1, 2)), log_stddev=jnp.zeros((1, 1)))
        >>> print(nats.round(4))  # 1 + log(2 pi)
        [2.8379]
    """
    return -gaussian_log_density(targets, means, log_stddev, mask=mask)


def gaussian_kl_of_values(
    mean: Float[Array, "..."],
    log_stddev: Float[Array, "..."],
    other_mean: Float[Array, "..."] | float = 0.0,
    other_log_stddev: Float[Array, "..."] | float = 0.0,
) -> Float[Array, "..."]:
    """KL(N(mean, stddev^2) || N(other)) of every value on its own, never negative; the other is standard by default.

    Exact to rounding also where the two are nearly the same, as the units are that a model leaves unused.
    """
    log_ratio = log_stddev - other_log_stddev
    shift = (mean - other_mean) * jnp.exp(-jnp.asarray(other_log_stddev))
    return 0.5 * (jnp.square(shift) + _expm1_less_identity(2 * log_ratio))


def gaussian_kl(
    mean: Float[Array, "B ..."],
    log_stddev: Float[Array, "B ..."],
    other_mean: Float[Array, "B ..."],
    other_log_stddev: Float[Array, "B ..."],
    *,
    mask: Bool[Array, "B ..."] | None = None,
) -> Float[Array, "B"]:
    """KL(N(mean, stddev^2) || N(other_mean, other_stddev^2)), summed over the values of each example.

    mask: as of `gaussian_log_density`.
    """
    if mask is not None:
        given = (mean, log_stddev, other_mean, other_log_stddev)
        mean, log_stddev, other_mean, other_log_stddev = (jnp.where(_aligned(mask, a), a, 0) for a in given)
    return _masked_sum(gaussian_kl_of_values(mean, log_stddev, other_mean, other_log_stddev), mask)


def kl_to_standard_normal(
    mean: Float[Array, "B ..."], log_stddev: Float[Array, "B ..."], *, mask: Bool[Array, "B ..."] | None = None
) -> Float[Array, "B"]:
    """KL(N(mean, stddev^2) || N(0, 1)), summed over the values of each example (Kingma & Welling 2014, appendix B).

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import kl_to_standard_normal
        >>> print(kl_to_standard_normal(jnp.asarray([[0.0, 0.0], [1.0, 2.0]]), jnp.zeros((2, 2))))
        [0.  2.5]
    """
    return gaussian_kl(mean, log_stddev, jnp.zeros_like(mean), jnp.zeros_like(log_stddev), mask=mask)


def floored(log_stddev: Float[Array, "..."], lowest: float) -> Float[Array, "..."]:
    """The logarithm of a standard deviation kept above `lowest` (a logarithm) by a softplus.

    A likelihood with a learned scale has no greatest value where a column of the data is constant: the scale would go
    to 0. Above the floor by a few units the value is left as it is, and the gradient is never 0.
    """
    return lowest + jax.nn.softplus(log_stddev - lowest)


def _expm1_less_identity(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """e^x - 1 - x, whose first two terms would cancel near 0."""
    small = jnp.abs(x) < 0.05
    near = jnp.where(small, x, 0)
    series = jnp.square(near) * (0.5 + near * (1 / 6 + near * (1 / 24 + near * (1 / 120 + near / 720))))
    return jnp.where(small, series, jnp.expm1(x) - x)
