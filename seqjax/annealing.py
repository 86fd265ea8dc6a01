"""Weights of a loss that rise with the training step."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.errors import require


def linear(step: Int[ArrayLike, ""], *, rising_steps: int) -> Float[Array, ""]:
    """From 0 at step 0 to 1 at `rising_steps`, and 1 from then on (Bowman et al. 2016); 1 throughout for 0 steps."""
    require(rising_steps >= 0, "rising_steps", rising_steps, "0 or more")
    if rising_steps == 0:
        return jnp.ones((), jnp.float32)
    return jnp.minimum(jnp.asarray(step, jnp.float32) / rising_steps, 1.0)


def cyclical(step: Int[ArrayLike, ""], *, steps: int, cycles: int = 4, rising: float = 0.5) -> Float[Array, ""]:
    """`cycles` rises from 0 to 1 over `steps`, each over the share `rising` of its cycle and then held at 1.

    Source: Fu et al. 2019, equations 6 and 7, with a linear rise. From `steps` on it is 1.
    """
    require(steps >= cycles >= 1, "cycles", cycles, f"1 to {steps}, the number of steps")
    require(0 < rising <= 1, "rising", rising, "a share in (0, 1]")
    length = steps / cycles
    # by whole steps: a cycle begins at the first step at or after its share of the run
    within = jnp.mod(jnp.asarray(step, jnp.float32), length) / (rising * length)
    return jnp.where(jnp.asarray(step) >= steps, 1.0, jnp.minimum(within, 1.0))
