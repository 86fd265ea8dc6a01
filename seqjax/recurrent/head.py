"""The readout of a recurrence."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.recurrent.weights import Initializer, affine, glorot_uniform, require_weights
from seqjax.types import Key, Params


class Head(NamedTuple):
    """`init(key, hidden_size) -> params`; `apply(params, hs [... H]) -> ys [... V]`."""

    init: Callable[[Key, int], Params]
    apply: Callable[[Params, Array], Array]


def output_head(
    output_size: int, activation: Callable[[Array], Array] | None = None, *, kernel_init: Initializer = glorot_uniform
) -> Head:
    """`y_t = g(V h_t + c)` for states with any leading axes; without an activation g the outputs are logits.

    Params: `kernel [H V]`, `bias [V]`. Raises `UsageError` on unknown weight names and on wrong shapes.
    Source: Elman (1990).

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import output_head
        >>> head = output_head(2)
        >>> params = head.init(jax.random.key(0), 3)
        >>> print(head.apply(params, jnp.zeros((4, 7, 3))).shape)
        (4, 7, 2)
    """

    def init(key: Key, hidden_size: int) -> Params:
        return {"kernel": kernel_init(key, (hidden_size, output_size)), "bias": jnp.zeros(output_size)}

    def apply(params: Params, hs: Float[Array, "*batch H"]) -> Float[Array, "*batch V"]:
        require_weights(params, {"kernel": (hs.shape[-1], output_size), "bias": (output_size,)})
        logits = affine(hs, params["kernel"], params["bias"], None)
        return logits if activation is None else activation(logits)

    return Head(init, apply)
