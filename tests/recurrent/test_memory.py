"""How much temporary memory each residuals policy takes, as compiled."""

import jax
import jax.numpy as jnp
import pytest
from cases import weights_of

from seqjax.recurrent import lstm, sweep


@pytest.mark.parametrize(("every_step", "share"), [(False, 0.1), (True, 0.2)])
def test_segments_need_a_fraction_of_the_memory(every_step, share):
    """Temporary bytes of the gradient at T = 20,000, as compiled."""
    cell = lstm(16)
    params, xs = weights_of(cell), jax.ShapeDtypeStruct((2, 20_000, 4), jnp.float32)

    def temporary_bytes(policy):
        def value(params, xs):
            last, ys = sweep(cell, params, xs, residuals=policy)
            return jnp.sum(ys**2) if every_step else jnp.sum(last.h**2)

        return jax.jit(jax.grad(value)).lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    full = temporary_bytes("full")
    assert temporary_bytes("segments") < share * full
    assert temporary_bytes("lean") < 0.4 * full
