"""Fully connected layers, and the activation functions by the names that configurations use."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid", "linear"]


def activation_function(name: Activation) -> Callable[[Array], Array]:
    """The function of that name; `linear` is the identity, `leaky_relu` has a slope of 0.2 below 0, as in critics."""
    match name:
        case "linear":
            return lambda x: x
        case "leaky_relu":
            return partial(nn.leaky_relu, negative_slope=0.2)
    return getattr(nn, name)


class MLP(nn.Module):
    """Dense layers of the given sizes with the activation between them, none after the last.

    Products are taken in `dtype` (`None`: that of input and weights); weights and output are at least float32.
    """

    sizes: tuple[int, ...]
    activation: Activation = "relu"
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B Z"]:
        for position, size in enumerate(self.sizes):
            if position > 0:
                x = activation_function(self.activation)(x)
            x = nn.Dense(size, dtype=self.dtype)(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
