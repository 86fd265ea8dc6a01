"""Counted costs: products of known shapes, alone, in loops and branches, and the formula of a recurrence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from seqjax.errors import UsageError
from seqjax.evaluate.cost import multiply_adds, num_parameters
from seqjax.models.recurrent import RNN
from seqjax.recurrent import gru

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))


def test_products_of_known_shapes():
    assert multiply_adds(jnp.matmul, A, B) == 3 * 4 * 5
    assert multiply_adds(lambda a, b: jnp.tanh(a) @ b + 1, A, B) == 60
    assert multiply_adds(lambda a: jnp.einsum("nij,njk->nik", a, a), jnp.ones((7, 2, 2))) == 7 * 8
    assert multiply_adds(jax.jit(jnp.matmul), A, B) == 60
    assert multiply_adds(jnp.add, A, A) == 0
    # the products of the backward pass: by each factor
    assert multiply_adds(jax.grad(lambda a, b: (a @ b).sum(), argnums=(0, 1)), A, B) == 3 * 60


def test_loops_and_branches():
    def looped(a, b):
        return lax.scan(lambda total, _: (total + a @ b, None), jnp.zeros((3, 5)), length=6)[0]

    assert multiply_adds(looped, A, B) == 6 * 60
    assert multiply_adds(lambda a: lax.cond(a[0, 0] > 0, lambda: a @ B, lambda: a[:, :1] @ B[:1]), A) == 60
    assert multiply_adds(lambda a: lax.while_loop(lambda x: x.sum() < 0, lambda x: x + 1, a), A) == 0
    with pytest.raises(UsageError, match="products in a while_loop"):
        multiply_adds(lambda a: lax.while_loop(lambda x: x.sum() < 0, lambda x: x @ x, a), jnp.ones((3, 3)))


@pytest.mark.parametrize("residuals", ["full", None])
def test_a_recurrence_costs_three_gates_a_step(residuals):
    batch, time, inputs, hidden = 2, 11, 4, 6
    model, x = RNN(gru, hidden, residuals=residuals), jnp.ones((batch, time, inputs))
    params = model.init(jax.random.key(0), x)
    products = multiply_adds(model.apply, params, x)
    assert products == batch * time * 3 * hidden * (inputs + hidden)
    assert num_parameters(params) == sum(np.size(leaf) for leaf in jax.tree.leaves(params)) >= 3 * hidden * 10
