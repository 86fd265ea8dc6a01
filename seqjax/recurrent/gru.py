"""The gated recurrent unit of Cho et al. (2014), with the reset gate after or before the recurrent product."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from seqjax.errors import require
from seqjax.recurrent.bptt import Rule, hand_written
from seqjax.recurrent.gates import Gate, sigmoid_gate, tanh_gate
from seqjax.recurrent.weights import (
    Initializer,
    affine,
    batched,
    gate_blocks,
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


def gru(
    hidden_size: int,
    *,
    reset_after: bool = True,
    learned_carry: bool = False,
    product_dtype: DTypeLike | None = None,
    input_init: Initializer = glorot_uniform,
    recurrent_init: Initializer = orthogonal,
) -> Cell:
    """Reset and update gate `r, z`, candidate `n`; the carry is `h [B H]`, which is also the output.

        r, z = sigmoid(x W + h_prev U + b)
        n = tanh(x W + b + r (h_prev U + b_n))      reset after (PyTorch, cuDNN, Keras)
        n = tanh(x W + b + (r h_prev) U)            reset before (Cho et al. 2014)
        h = (1 - z) n + z h_prev

    Params, **gates side by side in the order r, z, n**: `input_kernel [D 3H]` (W), `recurrent_kernel [H 3H]` (U),
    `bias [3H]` (b), for reset after `candidate_bias [H]` (b_n), and with `learned_carry` `initial_h [H]`.

    product_dtype: dtype to which the factors of the products are rounded, such as `jnp.bfloat16`; sums and the carry
        keep the dtype of the weights.

    Raises `UsageError` on unknown weight names and on wrong shapes.
    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), eqs. 5-8, where z is 1 - z.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import gru
        >>> cell = gru(5)
        >>> params = cell.init(jax.random.key(0), 3)
        >>> params["recurrent_kernel"].shape
        (5, 15)
        >>> carry, y = cell.step(params, cell.initial_carry(params, 2), jnp.ones((2, 3)))
        >>> y.shape
        (2, 5)
    """
    require(hidden_size >= 1, "hidden_size", hidden_size, "at least 1")
    gates_size = 2 * hidden_size

    def weight_shapes(input_size: int) -> dict[str, tuple[int, ...]]:
        shapes = {
            "input_kernel": (input_size, 3 * hidden_size),
            "recurrent_kernel": (hidden_size, 3 * hidden_size),
            "bias": (3 * hidden_size,),
        }
        if reset_after:
            shapes |= {"candidate_bias": (hidden_size,)}
        return shapes | ({"initial_h": (hidden_size,)} if learned_carry else {})

    def init(key: Key, input_size: int) -> Params:
        input_key, recurrent_key = jax.random.split(key)
        params = {
            "input_kernel": gate_blocks(input_init, input_key, input_size, hidden_size, 3),
            "recurrent_kernel": gate_blocks(recurrent_init, recurrent_key, hidden_size, hidden_size, 3),
            "bias": jnp.zeros(3 * hidden_size),
        }
        if reset_after:
            params |= {"candidate_bias": jnp.zeros(hidden_size)}
        return params | ({"initial_h": jnp.zeros(hidden_size)} if learned_carry else {})

    def initial_carry(params: Params, batch_size: int) -> Float[Array, "B H"]:
        require_weights(params, weight_shapes(own_input_size(params)))
        dtype = params["bias"].dtype
        return batched(params["initial_h"] if learned_carry else jnp.zeros(hidden_size, dtype), batch_size)

    def activate(params, h, x):
        """`r, z, n` and, for reset after, the recurrent part of the candidate that r multiplies."""
        xz = affine(x, params["input_kernel"], params["bias"], product_dtype)
        kernel = params["recurrent_kernel"]
        if reset_after:
            # the recurrent bias of r and z is in `bias` already
            bias = jnp.concatenate([jnp.zeros_like(params["bias"][:gates_size]), params["candidate_bias"]])
            hz = affine(h, kernel, bias, product_dtype)
        else:
            hz = matmul(h, kernel[:, :gates_size], product_dtype)
        r, z = jnp.split(jax.nn.sigmoid(xz[..., :gates_size] + hz[..., :gates_size]), 2, axis=-1)
        if reset_after:
            m = hz[..., gates_size:]
            return r, z, jnp.tanh(xz[..., gates_size:] + r * m), m
        return r, z, jnp.tanh(xz[..., gates_size:] + matmul(r * h, kernel[:, gates_size:], product_dtype)), None

    def advance(params, h, gates):
        _, z, n, _ = gates
        h = n + z * (h - n)
        return h, h

    def checked_gates(params: Params, h: Array, x: Array) -> tuple[Array, Array, Array, Array | None]:
        require_matrix("x", x)
        require_weights(params, weight_shapes(x.shape[-1]))
        return activate(params, h, x)

    def step(
        params: Params, carry: Float[Array, "B H"], x: Float[Array, "B D"]
    ) -> tuple[Float[Array, "B H"], Float[Array, "B H"]]:
        return advance(params, carry, checked_gates(params, carry, x))

    def gates(params: Params, carry: Float[Array, "B H"], x: Float[Array, "B D"]) -> dict[str, Gate]:
        r, z, n, _ = checked_gates(params, carry, x)
        return {"reset": sigmoid_gate(r), "update": sigmoid_gate(z), "candidate": tanh_gate(n)}

    def fuse(params: Params, rows: int) -> Params:
        return params

    def project(params, xs):
        # in the loop: with three gates, writing and reading what is projected costs more than small products do
        return xs

    def keep(gates):
        return gates

    def retreat(params, h_prev, gates, dh, dy):
        r, z, n, m = gates
        dh = dh + dy
        dn = dh * (1 - z) * (1 - n**2)
        dz = dh * (h_prev - n) * z * (1 - z)
        kernel = params["recurrent_kernel"]
        if reset_after:
            drz = jnp.concatenate([dn * m * r * (1 - r), dz], axis=-1)
            dm = dn * r
            dh_prev = dh * z + matmul(jnp.concatenate([drz, dm], axis=-1), kernel.T, product_dtype)
            return dh_prev, (drz, dn, dm)
        d_reset_h = matmul(dn, kernel[:, gates_size:].T, product_dtype)
        drz = jnp.concatenate([d_reset_h * h_prev * r * (1 - r), dz], axis=-1)
        return dh * z + d_reset_h * r + matmul(drz, kernel[:, :gates_size].T, product_dtype), (drz, dn, None)

    def products(params, hs_prev, xs, gates, deltas):
        drz, dn, dm = deltas
        dxz = jnp.concatenate([drz, dn], axis=-1)
        candidate = (hs_prev, dm) if reset_after else (gates[0] * hs_prev, dn)
        gradients = {
            "input_kernel": summed_outer(xs, dxz, product_dtype),
            "recurrent_kernel": jnp.concatenate(
                [summed_outer(hs_prev, drz, product_dtype), summed_outer(*candidate, product_dtype)], axis=1
            ),
            "bias": summed(dxz),
        }
        if reset_after:
            gradients |= {"candidate_bias": summed(dm)}
        return gradients, matmul(dxz, params["input_kernel"].T, product_dtype)

    rule = Rule(weight_shapes, fuse, project, activate, advance, keep, retreat, products)
    return Cell(init, initial_carry, step, hand_written(rule), gates)
