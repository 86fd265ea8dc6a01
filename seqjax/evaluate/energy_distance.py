"""A distance between two samples that is cheap enough for every chapter, and jittable."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.errors import DataError


def energy_distance(one: Float[Array, "N D"], other: Float[Array, "M D"]) -> Float[Array, ""]:
    """`2 E|X - Y| - E|X - X'| - E|Y - Y'|` over pairs of different rows, in units of the rows: 0 for one distribution.

    Unbiased, so it may fall below 0 by chance. All N M distances are held at once. Raises DataError for fewer than two
    rows. Source: Szekely & Rizzo, "Energy statistics" (2013), equation 2.1.
    """
    n, m = len(one), len(other)
    if min(n, m) < 2:
        raise DataError(f"{n} and {m} rows: expected at least two of each.")
    within = _distances(one, one).sum() / (n * (n - 1)) + _distances(other, other).sum() / (m * (m - 1))
    return 2 * _distances(one, other).mean() - within


def _distances(one: Float[Array, "N D"], other: Float[Array, "M D"]) -> Float[Array, "N M"]:
    # about a common centre, so that the squares lose few digits where the rows lie far from 0
    centre = other.mean(axis=0, keepdims=True)
    one, other = one - centre, other - centre
    squared = jnp.square(one).sum(axis=1)[:, None] + jnp.square(other).sum(axis=1)[None, :] - 2 * one @ other.T
    return jnp.sqrt(jnp.maximum(squared, 0))
