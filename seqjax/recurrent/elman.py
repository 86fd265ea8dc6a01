"""The simple recurrent network of Elman (1990), with any activation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from seqjax.errors import require
from seqjax.recurrent.bptt import Rule, hand_written
from seqjax.recurrent.gates import Gate
from seqjax.recurrent.weights import (
    Initializer,
    affine,
    batched,
    glorot_uniform,
    matmul,
    orthogonal,
    own_input_size,
    require_matrix,
    require_weights,
    summed,
    summed_outer,
)
from seqjax.types import Cell, Key, Params


def elman(
    hidden_size: int,
    activation: Callable[[Array], Array] = jnp.tanh,
    *,
    learned_carry: bool = False,
    product_dtype: DTypeLike | None = None,
    input_init: Initializer = glorot_uniform,
    recurrent_init: Initializer = orthogonal,
) -> Cell:
    """`h_t = f(x_t W + h_tm1 U + b)`, the output is `h_t`; the carry is `h [B H]`.

    Params: `input_kernel [D H]` (W), `recurrent_kernel [H H]` (U), `bias [H]` (b), and with `learned_carry`
    `initial_h [H]`, zeros at first.

    activation: f, elementwise; `jax.nn.relu` with an identity `recurrent_init` is the IRNN of Le et al. (2015).
    product_dtype: dtype to which the factors of the products are rounded, such as `jnp.bfloat16`; sums and the carry
        keep the dtype of the weights.

    Raises `UsageError` on unknown weight names and on wrong shapes. Source: Elman, "Finding structure in time" (1990).

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import elman
        >>> cell = elman(5)
        >>> params = cell.init(jax.random.key(0), 3)
        >>> params["recurrent_kernel"].shape
        (5, 5)
        >>> carry, y = cell.step(params, cell.initial_carry(params, 2), jnp.ones((2, 3)))
        >>> y.shape
        (2, 5)
    """
    require(hidden_size >= 1, "hidden_size", hidden_size, "at least 1")

    def weight_shapes(input_size: int) -> dict[str, tuple[int, ...]]:
        shapes = {
            "input_kernel": (input_size, hidden_size),
            "recurrent_kernel": (hidden_size, hidden_size),
            "bias": (hidden_size,),
        }
        return shapes | ({"initial_h": (hidden_size,)} if learned_carry else {})

    def init(key: Key, input_size: int) -> Params:
        input_key, recurrent_key = jax.random.split(key)
        params = {
            "input_kernel": input_init(input_key, (input_size, hidden_size)),
            "recurrent_kernel": recurrent_init(recurrent_key, (hidden_size, hidden_size)),
            "bias": jnp.zeros(hidden_size),
        }
        return params | ({"initial_h": jnp.zeros(hidden_size)} if learned_carry else {})

    def initial_carry(params: Params, batch_size: int) -> Float[Array, "B H"]:
        require_weights(params, weight_shapes(own_input_size(params)))
        return batched(params["initial_h"] if learned_carry else jnp.zeros_like(params["bias"]), batch_size)

    def projected(params: Params, x: Array) -> Array:
        return affine(x, params["input_kernel"], params["bias"], product_dtype)

    def pre_activation(params: Params, h: Array, x: Array) -> Array:
        return projected(params, x) + matmul(h, params["recurrent_kernel"], product_dtype)

    def step(
        params: Params, carry: Float[Array, "B H"], x: Float[Array, "B D"]
    ) -> tuple[Float[Array, "B H"], Float[Array, "B H"]]:
        require_matrix("x", x)
        require_weights(params, weight_shapes(x.shape[-1]))
        h = activation(pre_activation(params, carry, x))
        return h, h

    def gates(params: Params, carry: Float[Array, "B H"], x: Float[Array, "B D"]) -> dict[str, Gate]:
        require_matrix("x", x)
        require_weights(params, weight_shapes(x.shape[-1]))
        a = pre_activation(params, carry, x)
        return {"h": Gate(activation(a), jax.grad(lambda a: activation(a).sum())(a))}

    def fuse(params: Params, rows: int) -> tuple[Params, Array]:
        return params, params["recurrent_kernel"].T

    def project(fused, xs):
        # with one gate alone, joining x to h in the loop costs more than it saves
        return projected(fused[0], xs)

    def activate(fused, h, x):
        a = x + matmul(h, fused[0]["recurrent_kernel"], product_dtype)
        # the slope goes with the value, of which it is nearly a by-product, so that the way back computes neither
        h, slope_of = jax.vjp(activation, a)
        return h, slope_of(jnp.ones_like(h))[0]

    def advance(fused, h_prev, gates):
        h, _ = gates
        return h, h

    def keep(gates):
        _, slope = gates
        return slope

    def retreat(fused, h_prev, slope, dh, dy):
        da = slope * (dh + dy)
        return matmul(da, fused[1], product_dtype), da

    def products(params, hs_prev, xs, slopes, da):
        gradients = {
            "input_kernel": summed_outer(xs, da, product_dtype),
            "recurrent_kernel": summed_outer(hs_prev, da, product_dtype),
            "bias": summed(da),
        }
        return gradients, matmul(da, params["input_kernel"].T, product_dtype)

    rule = Rule(weight_shapes, fuse, project, activate, advance, keep, retreat, products)
    return Cell(init, initial_carry, step, hand_written(rule), gates)
