"""The layer-normalised LSTM of Ba, Kiros & Hinton (2016)."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.errors import require
from seqjax.recurrent.gates import Gate, sigmoid_gate, tanh_gate
from seqjax.recurrent.lstm import LSTMCarry, memory_step, squashed
from seqjax.recurrent.weights import (
    Initializer,
    batched,
    gate_blocks,
    glorot_uniform,
    orthogonal,
    own_input_size,
    require_matrix,
    require_weights,
)
from seqjax.types import Cell, Key, Params


def layer_norm_lstm(
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    epsilon: float = 1e-5,
    learned_carry: bool = False,
    input_init: Initializer = glorot_uniform,
    recurrent_init: Initializer = orthogonal,
) -> Cell:
    """An LSTM that normalises, over the units, both sums into the gates and the memory before its output.

        i, f, g, o from LN(x W; s_x) + LN(h_prev U; s_h) + b,   c = f c_prev + i g,   h = o tanh(LN(c; s_c) + b_c)

    with `LN(a; s) = s (a - mean a) / sqrt(var a + epsilon)`. The carry is `LSTMCarry(h, c)`.

    Params, gates side by side in the order i, f, g, o: `input_kernel [D 4H]` (W), `recurrent_kernel [H 4H]` (U),
    `bias [4H]` (b), `input_scale [4H]`, `recurrent_scale [4H]`, `memory_scale [H]` (s_x, s_h, s_c; ones at first),
    `memory_bias [H]` (b_c), and with `learned_carry` `initial_h [H]` and `initial_c [H]`.

    There is no hand-written rule: use `unroll`. Raises `UsageError` on unknown weight names and on wrong shapes.
    Source: Ba, Kiros & Hinton, "Layer normalization" (2016), eqs. 20-22; the two biases of 20 are one here.
    """
    require(hidden_size >= 1, "hidden_size", hidden_size, "at least 1")

    def weight_shapes(input_size: int) -> dict[str, tuple[int, ...]]:
        wide, narrow = (4 * hidden_size,), (hidden_size,)
        shapes = {
            "input_kernel": (input_size, *wide),
            "recurrent_kernel": (hidden_size, *wide),
            "bias": wide,
            "input_scale": wide,
            "recurrent_scale": wide,
            "memory_scale": narrow,
            "memory_bias": narrow,
        }
        return shapes | ({"initial_h": narrow, "initial_c": narrow} if learned_carry else {})

    def init(key: Key, input_size: int) -> Params:
        input_key, recurrent_key = jax.random.split(key)
        params = {
            "input_kernel": gate_blocks(input_init, input_key, input_size, hidden_size, 4),
            "recurrent_kernel": gate_blocks(recurrent_init, recurrent_key, hidden_size, hidden_size, 4),
            "bias": jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(forget_bias),
            "input_scale": jnp.ones(4 * hidden_size),
            "recurrent_scale": jnp.ones(4 * hidden_size),
            "memory_scale": jnp.ones(hidden_size),
            "memory_bias": jnp.zeros(hidden_size),
        }
        if learned_carry:
            params |= {"initial_h": jnp.zeros(hidden_size), "initial_c": jnp.zeros(hidden_size)}
        return params

    def initial_carry(params: Params, batch_size: int) -> LSTMCarry:
        require_weights(params, weight_shapes(own_input_size(params)))
        if learned_carry:
            return LSTMCarry(batched(params["initial_h"], batch_size), batched(params["initial_c"], batch_size))
        zeros = batched(jnp.zeros(hidden_size, params["bias"].dtype), batch_size)
        return LSTMCarry(zeros, zeros)

    def normalised(a: Array, scale: Array) -> Array:
        centred = a - a.mean(axis=-1, keepdims=True)
        variance = jnp.square(centred).mean(axis=-1, keepdims=True)
        return scale[None] * centred * jax.lax.rsqrt(variance + epsilon)

    def parts(params: Params, carry: LSTMCarry, x: Array) -> tuple[tuple[Array, Array, Array, Array], Array, Array]:
        """The four gates, the memory, and the squashed memory."""
        require_matrix("x", x)
        require_weights(params, weight_shapes(x.shape[-1]))
        z = normalised(x @ params["input_kernel"], params["input_scale"])
        z += normalised(carry.h @ params["recurrent_kernel"], params["recurrent_scale"])
        gates = squashed(z + params["bias"][None])
        c, _ = memory_step(gates, carry.c)
        return gates, c, jnp.tanh(normalised(c, params["memory_scale"]) + params["memory_bias"][None])

    def step(params: Params, carry: LSTMCarry, x: Float[Array, "B D"]) -> tuple[LSTMCarry, Float[Array, "B H"]]:
        (_, _, _, o), c, s = parts(params, carry, x)
        return LSTMCarry(o * s, c), o * s

    def gates(params: Params, carry: LSTMCarry, x: Float[Array, "B D"]) -> dict[str, Gate]:
        (i, f, g, o), _, s = parts(params, carry, x)
        return {
            "input": sigmoid_gate(i),
            "forget": sigmoid_gate(f),
            "candidate": tanh_gate(g),
            "output": sigmoid_gate(o),
            "memory": tanh_gate(s),
        }

    return Cell(init, initial_carry, step, gates=gates)
