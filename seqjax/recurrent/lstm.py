"""The long short-term memory of Hochreiter & Schmidhuber (1997) with forget gates (Gers et al. 2000)."""

from typing import NamedTuple

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
    summed_outers,
)
from seqjax.types import Cell, Key, Params


class LSTMCarry(NamedTuple):
    """h: `[B H]` the output (`[B P]` with a projection), c: `[B H]` the memory."""

    h: Array
    c: Array


def memory_step(gates: tuple[Array, Array, Array, Array], c_prev: Array) -> tuple[Array, Array]:
    """`c = f c_prev + i g` and `tanh c`, elementwise."""
    i, f, g, _ = gates
    c = f * c_prev + i * g
    return c, jnp.tanh(c)


def squashed(z: Float[Array, "... gates"]) -> tuple[Array, Array, Array, Array]:
    """The four gates from their pre-activations side by side, in the order i, f, g, o."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def lstm(
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    projection_size: int | None = None,
    learned_carry: bool = False,
    product_dtype: DTypeLike | None = None,
    input_init: Initializer = glorot_uniform,
    recurrent_init: Initializer = orthogonal,
) -> Cell:
    """Input, forget and output gate `i, f, o`, candidate `g`; the carry is `LSTMCarry(h, c)`, the output `h`.

        i, f, o = sigmoid(x W + h_prev U + b),   g = tanh(x W + h_prev U + b)
        c = f c_prev + i g,   h = o tanh(c)      with a projection: h = (o tanh(c)) R

    Params, **gates side by side in the order i, f, g, o**: `input_kernel [D 4H]` (W), `recurrent_kernel [H 4H]` (U,
    `[P 4H]` with a projection), `bias [4H]` (b), `projection [H P]` (R) with `projection_size` P, and with
    `learned_carry` `initial_h` and `initial_c`, zeros at first.

    forget_bias: what the forget gate's part of the bias starts from (Gers et al. 2000; Jozefowicz et al. 2015); it is
        part of the weights, not added to them.
    product_dtype: dtype to which the factors of the products are rounded, such as `jnp.bfloat16`; sums and the carry
        keep the dtype of the weights.

    Raises `UsageError` on unknown weight names and on wrong shapes.
    Source: Hochreiter & Schmidhuber (1997); the projection: Sak, Senior & Beaufays (2014).

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import lstm
        >>> cell = lstm(5)
        >>> params = cell.init(jax.random.key(0), 3)
        >>> params["recurrent_kernel"].shape
        (5, 20)
        >>> carry, y = cell.step(params, cell.initial_carry(params, 2), jnp.ones((2, 3)))
        >>> y.shape
        (2, 5)
    """
    require(hidden_size >= 1, "hidden_size", hidden_size, "at least 1")
    require(projection_size is None or projection_size >= 1, "projection_size", projection_size, "at least 1")
    output_size = projection_size or hidden_size

    def weight_shapes(input_size: int) -> dict[str, tuple[int, ...]]:
        shapes = {
            "input_kernel": (input_size, 4 * hidden_size),
            "recurrent_kernel": (output_size, 4 * hidden_size),
            "bias": (4 * hidden_size,),
        }
        if projection_size:
            shapes |= {"projection": (hidden_size, projection_size)}
        if learned_carry:
            shapes |= {"initial_h": (output_size,), "initial_c": (hidden_size,)}
        return shapes

    def init(key: Key, input_size: int) -> Params:
        input_key, recurrent_key, projection_key = jax.random.split(key, 3)
        params = {
            "input_kernel": gate_blocks(input_init, input_key, input_size, hidden_size, 4),
            "recurrent_kernel": gate_blocks(recurrent_init, recurrent_key, output_size, hidden_size, 4),
            "bias": jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(forget_bias),
        }
        if projection_size:
            params |= {"projection": input_init(projection_key, (hidden_size, projection_size))}
        if learned_carry:
            params |= {"initial_h": jnp.zeros(output_size), "initial_c": jnp.zeros(hidden_size)}
        return params

    def initial_carry(params: Params, batch_size: int) -> LSTMCarry:
        require_weights(params, weight_shapes(own_input_size(params)))
        if learned_carry:
            return LSTMCarry(batched(params["initial_h"], batch_size), batched(params["initial_c"], batch_size))
        dtype = params["bias"].dtype
        return LSTMCarry(jnp.zeros((batch_size, output_size), dtype), jnp.zeros((batch_size, hidden_size), dtype))

    def squashed_sum(params: Params, h: Array, x: Array) -> tuple[Array, Array, Array, Array]:
        require_matrix("x", x)
        require_weights(params, weight_shapes(x.shape[-1]))
        z = affine(x, params["input_kernel"], params["bias"], product_dtype)
        return squashed(z + matmul(h, params["recurrent_kernel"], product_dtype))

    def output(o: Array, s: Array, projection: Array | None) -> Array:
        return o * s if projection is None else matmul(o * s, projection, product_dtype)

    def step(params: Params, carry: LSTMCarry, x: Float[Array, "B D"]) -> tuple[LSTMCarry, Float[Array, "B H"]]:
        i, f, g, o = squashed_sum(params, carry.h, x)
        c, s = memory_step((i, f, g, o), carry.c)
        h = output(o, s, params.get("projection"))
        return LSTMCarry(h, c), h

    def gates(params: Params, carry: LSTMCarry, x: Float[Array, "B D"]) -> dict[str, Gate]:
        i, f, g, o = squashed_sum(params, carry.h, x)
        _, s = memory_step((i, f, g, o), carry.c)
        return {
            "input": sigmoid_gate(i),
            "forget": sigmoid_gate(f),
            "candidate": tanh_gate(g),
            "output": sigmoid_gate(o),
            "memory": tanh_gate(s),
        }

    def fuse(params: Params, rows: int) -> Params:
        fused = {"recurrent_transposed": params["recurrent_kernel"].T} | params
        if isinstance(rows, int) and rows < own_input_size(params) + output_size:
            # joining the kernels would move more numbers than joining x to h at every step saves; rows without a
            # number, as an export has them, are taken to be many
            return fused
        return {"kernel": jnp.concatenate([params["input_kernel"], params["recurrent_kernel"]])} | fused

    def project(fused, xs):
        return xs if "kernel" in fused else affine(xs, fused["input_kernel"], fused["bias"], product_dtype)

    def activate(fused, carry, x):
        if "kernel" not in fused:
            return squashed(x + matmul(carry.h, fused["recurrent_kernel"], product_dtype))
        return squashed(affine(jnp.concatenate([x, carry.h], axis=-1), fused["kernel"], fused["bias"], product_dtype))

    def advance(fused, carry, gates):
        c, s = memory_step(gates, carry.c)
        h = output(gates[3], s, fused.get("projection"))
        return LSTMCarry(h, c), h

    def keep(gates):
        return gates

    def retreat(fused, carry_prev, gates, d_carry, dy):
        i, f, g, o = gates
        _, s = memory_step(gates, carry_prev.c)
        dh = d_carry.h + dy
        dm = matmul(dh, fused["projection"].T, product_dtype) if projection_size else dh
        dc = d_carry.c + dm * o * (1 - s**2)
        dz = jnp.concatenate(
            [dc * g * i * (1 - i), dc * carry_prev.c * f * (1 - f), dc * i * (1 - g**2), dm * s * o * (1 - o)], axis=-1
        )
        d_prev = LSTMCarry(matmul(dz, fused["recurrent_transposed"], product_dtype), dc * f)
        return d_prev, (dz, dh if projection_size else None)

    def products(params, carries_prev, xs, gates, deltas):
        dz, dh = deltas
        d_input, d_recurrent = summed_outers((xs, carries_prev.h), dz, product_dtype)
        gradients = {"input_kernel": d_input, "recurrent_kernel": d_recurrent, "bias": summed(dz)}
        if projection_size:
            _, s = memory_step(gates, carries_prev.c)
            gradients |= {"projection": summed_outer(gates[3] * s, dh, product_dtype)}
        return gradients, matmul(dz, params["input_kernel"].T, product_dtype)

    rule = Rule(weight_shapes, fuse, project, activate, advance, keep, retreat, products)
    return Cell(init, initial_carry, step, hand_written(rule), gates)
