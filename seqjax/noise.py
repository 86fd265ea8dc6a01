"""Randomness that belongs to an example: keyed by the example's global index, whatever device holds the example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray, Shaped

from seqjax.threefry import written_out


def per_example(
    sample: Callable[[PRNGKeyArray], Array], key: PRNGKeyArray, index: Int[Array, "B"]
) -> Shaped[Array, "B ..."]:
    """`sample(key)` drawn for each example from `fold_in(key, index)`; returns them with the batch axis first."""
    fast = written_out(key)
    return jax.vmap(lambda i: sample(jax.random.fold_in(fast, i)))(index)


def gaussian(
    x: Float[Array, "B ..."], key: PRNGKeyArray, index: Int[Array, "B"], *, stddev: float
) -> Float[Array, "B ..."]:
    """`x` plus independent Gaussian noise of the given standard deviation."""
    noise = per_example(lambda k: jax.random.normal(k, x.shape[1:], x.dtype), key, index)
    return x + stddev * noise


def masking(
    x: Float[Array, "B ..."], key: PRNGKeyArray, index: Int[Array, "B"], *, rate: float
) -> Float[Array, "B ..."]:
    """`x` with each value set to zero with probability `rate` (Vincent et al. 2008)."""
    kept = per_example(lambda k: jax.random.bernoulli(k, 1.0 - rate, x.shape[1:]), key, index)
    return jnp.where(kept, x, 0.0)


def bernoulli(x: Float[Array, "B ..."], key: PRNGKeyArray, index: Int[Array, "B"]) -> Float[Array, "B ..."]:
    """0 or 1 for each value, 1 with the value as probability, rounded to a multiple of 2^-16.

    0 and 1 stay what they are.
    """
    bits = per_example(lambda k: jax.random.bits(k, x.shape[1:], jnp.uint16), key, index)
    drawn = bits.astype(jnp.int32) < jnp.round(x * 2**16).astype(jnp.int32)
    # a root, whose result XLA keeps: cheaper operations it does anew for each use, and all of the draw with them
    return jnp.sqrt(drawn.astype(x.dtype))
