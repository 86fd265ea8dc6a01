"""Deep embedded clustering (Xie, Girshick & Farhadi 2016): soft assignments, what they are drawn to, the divergence.

Assignments are kept as logarithms: those of far codes would be 0.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import xlogy
from jaxtyping import Float

from seqjax.errors import require


def log_soft_assignments(
    codes: Float[Array, "B Z"], centroids: Float[Array, "K Z"], *, degrees: float = 1.0
) -> Float[Array, "B K"]:
    """log q, q the Student-t similarity of a code to each centroid as a share of all (equation 1).

    degrees: of freedom, the paper's alpha.
    """
    require(degrees > 0, "degrees", degrees, "a number above 0")
    # differences and no products: the kernel is steepest where a code is nearest
    squared = jnp.sum(jnp.square(codes[:, None, :] - centroids[None, :, :]), axis=2)
    return jax.nn.log_softmax(-(degrees + 1) / 2 * jnp.log1p(squared / degrees), axis=1)


def target_distribution(log_assignments: Float[Array, "N K"]) -> Float[Array, "N K"]:
    """p, the squared assignments over the size of each cluster, normalised (equation 3).

    The sizes are sums over the rows given: those of the full data set. Those of a batch make another method.
    """
    log_sizes = jax.nn.logsumexp(log_assignments, axis=0)
    return jax.nn.softmax(2 * log_assignments - log_sizes[None, :], axis=1)


def assignment_divergence(log_assignments: Float[Array, "B K"], targets: Float[Array, "B K"]) -> Float[Array, "B"]:
    """KL(p || q) of each example in nats (a row of equation 2), `targets` being p."""
    return jnp.sum(xlogy(targets, targets) - targets * log_assignments, axis=1)
