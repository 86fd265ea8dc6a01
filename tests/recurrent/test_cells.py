"""Each cell against a NumPy loop in float64, and what a cell promises about its weights."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from cases import CELLS, HIDDEN_SIZE, INPUT_SIZE, ORACLES, SWEPT, assert_close, carry_of, inputs, noisy, weights_of

from seqjax.errors import UsageError
from seqjax.recurrent import elman, gru, layer_norm_lstm, lstm, output_head, sweep, unroll


@pytest.mark.parametrize("name", CELLS)
def test_values_are_those_of_a_numpy_loop(name):
    with jax.enable_x64(True):
        cell = CELLS[name]
        params, xs = weights_of(cell), inputs(2, 5)
        carry = carry_of(cell, params, 2)
        last, ys = jax.jit(lambda p, x, c: unroll(cell, p, x, c))(params, xs, carry)
        numpy_params = jax.tree.map(np.asarray, params)
        for b in range(2):
            rows = [np.asarray(leaf)[b] for leaf in jax.tree.leaves(carry)]
            expected = list(ORACLES[name](numpy_params, np.asarray(xs)[b], *rows))
            assert_close(ys[b], np.stack([y for y, _ in expected]), 1e-13)
            assert_close([leaf[b] for leaf in jax.tree.leaves(last)], list(expected[-1][1]), 1e-13)


def test_default_weights():
    params = lstm(16, forget_bias=1.5, projection_size=8, learned_carry=True).init(jax.random.key(0), 12)
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 1.5, 0, 0], 16))
    for block in np.split(np.asarray(gru(16).init(jax.random.key(0), 12)["recurrent_kernel"]), 3, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(16), atol=1e-5)
    # the fan of a gate's kernel is its own, not that of all four side by side: sd = sqrt(2 / (12 + 16))
    kernel = np.asarray(lstm(160).init(jax.random.key(1), 120)["input_kernel"])
    assert abs(kernel.std() / np.sqrt(2 / (120 + 160)) - 1) < 0.02
    gates = np.split(np.asarray(params["input_kernel"]), 4, axis=1)
    assert all(np.abs(a - b).max() > 0.1 for k, a in enumerate(gates) for b in gates[:k])


@pytest.mark.parametrize("make", [elman, lstm, gru])
def test_learned_carry_begins_and_is_learned(make):
    cell = make(HIDDEN_SIZE, learned_carry=True)
    params = weights_of(cell)
    plain = {name: value for name, value in params.items() if not name.startswith("initial_")}
    given = jax.tree.map(lambda a: a, cell.initial_carry(params, 3))
    assert all(np.ptp(np.asarray(leaf), axis=0).max() == 0 for leaf in jax.tree.leaves(given))
    expected = unroll(make(HIDDEN_SIZE), plain, inputs(3, 4), given)
    for run in (unroll, sweep):
        assert_close(run(cell, params, inputs(3, 4)), expected, 1e-6)
    gradients = jax.grad(lambda p: sweep(cell, p, inputs(3, 4))[1].sum())(params)
    assert all(np.abs(np.asarray(gradients[name])).max() > 1e-3 for name in params)


@pytest.mark.parametrize("make", [elman, lstm, gru])
def test_bfloat16_products_keep_a_float32_carry(make):
    exact, rounded = make(64), make(64, product_dtype=jnp.bfloat16)
    params, xs = noisy(exact.init(jax.random.key(0), 32), 1, 0.05), inputs(8, 12, input_size=32)

    def run(cell, runner):
        loss = lambda p, x: jnp.mean(jnp.square(runner(cell, p, x)[1]))  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, xs)

    carry, ys = sweep(rounded, params, xs)
    assert {leaf.dtype for leaf in jax.tree.leaves((carry, ys))} == {jnp.dtype("float32")}
    reference, fast, slow = run(exact, unroll), run(rounded, sweep), run(rounded, unroll)
    for found in (fast, slow):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True):
            assert 1e-5 < np.linalg.norm(a - b) / np.linalg.norm(b) < 1e-2
    np.testing.assert_allclose(fast[0], slow[0], rtol=1e-5)
    # sums in bfloat16 would stop growing at 256
    long = unroll(elman(1, lambda a: a, product_dtype=jnp.bfloat16), ones(4096), jnp.ones((1, 1, 4096)))[1]
    assert float(long[0, 0, 0]) == 4096


def ones(rows):
    return {"input_kernel": jnp.ones((rows, 1)), "recurrent_kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}


def test_head_reads_out_every_state():
    head = output_head(3, jax.nn.softplus)
    params = {"kernel": jnp.arange(6.0).reshape(2, 3) / 4, "bias": jnp.array([1.0, -1.0, 0.5])}
    hs = inputs(2, 4, input_size=2)
    expected = np.log1p(np.exp(np.einsum("bth,hv->btv", hs, params["kernel"]) + np.asarray(params["bias"])))
    np.testing.assert_allclose(head.apply(params, hs), expected, rtol=1e-5)
    assert jax.tree.map(jnp.shape, head.init(jax.random.key(0), 2)) == {"kernel": (2, 3), "bias": (3,)}


@pytest.mark.parametrize("name", SWEPT)
@pytest.mark.parametrize("runner", [unroll, sweep])
def test_wrong_weights_are_named(name, runner, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    cell = CELLS[name]
    params = weights_of(cell)
    xs = inputs(2, 3)
    with pytest.raises(UsageError, match=r"unknown weights \['kernel'\], missing weights \['input_kernel'\]"):
        runner(cell, {"kernel" if k == "input_kernel" else k: v for k, v in params.items()}, xs)
    columns = params["bias"].shape[0]
    with pytest.raises(UsageError, match=rf"params\['bias'\]: found shape \({columns - 1},\), expected \({columns},\)"):
        runner(cell, params | {"bias": params["bias"][1:]}, xs)
    of_inputs = rf"expected \({INPUT_SIZE - 1}, .*for inputs of size {INPUT_SIZE - 1}"
    with pytest.raises(UsageError, match=rf"input_kernel.*found shape \({INPUT_SIZE}, .*{of_inputs}"):
        runner(cell, params, xs[..., 1:])
    with pytest.raises(UsageError, match="params: found tuple, expected a dict"):
        runner(cell, tuple(params.values()), xs, cell.initial_carry(params, 2))


@pytest.mark.parametrize("make", [elman, gru, lstm, layer_norm_lstm])
def test_no_units_are_refused(make):
    with pytest.raises(UsageError, match="hidden_size=0"):
        make(0)
    if make is lstm:
        with pytest.raises(UsageError, match="projection_size=0"):
            lstm(2, projection_size=0)
