"""The reference scan: lengths, resets, direction, layout, carries, a user's own step, and what it refuses."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from cases import CELLS, assert_close, carry_of, inputs, weights_of

from seqjax.errors import UsageError
from seqjax.recurrent import LSTMCarry, elman, gru, lstm, sweep, unroll

CELL = CELLS["lstm"]
RUNNERS = ("unroll", "full", "lean", "segments")


def runner(name):
    return unroll if name == "unroll" else lambda *args, **kwargs: sweep(*args, residuals=name, **kwargs)


def running_sum(params, carry, x):
    carry = carry + x
    return carry, {"sum": carry}


def test_a_bare_step_is_enough():
    xs = jnp.arange(1, 13).reshape(2, 6)  # integers, and no feature axis
    carry, ys = unroll(running_sum, None, xs, jnp.zeros(2, int), lengths=jnp.array([6, 3]))
    np.testing.assert_array_equal(ys["sum"], [[1, 3, 6, 10, 15, 21], [7, 15, 24, 0, 0, 0]])
    np.testing.assert_array_equal(carry, [21, 24])
    carry, ys = unroll(running_sum, None, xs, jnp.zeros(2, int), lengths=jnp.array([6, 3]), reverse=True)
    np.testing.assert_array_equal(ys["sum"], [[21, 20, 18, 15, 11, 6], [24, 17, 9, 0, 0, 0]])
    np.testing.assert_array_equal(carry, [21, 24])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", RUNNERS)
def test_each_example_is_as_if_alone_and_cut(name, reverse):
    """Lengths 0 to T, packed sequences and direction against runs on the cut pieces, which have none of these."""
    run = jax.jit(lambda p, x, c, n, r: runner(name)(CELL, p, x, c, lengths=n, resets=r, reverse=reverse))
    params, xs = weights_of(CELL), inputs(4, 6)
    begin = carry_of(CELL, params, 4)
    lengths = jnp.array([6, 0, 3, 5])
    resets = jnp.zeros((4, 6), bool).at[0, 2].set(True).at[0, 4].set(True).at[3, 0].set(True).at[2, 4].set(True)
    carry, ys = run(params, xs, begin, lengths, resets)
    pieces = {0: [(0, 2), (2, 4), (4, 6)], 1: [], 2: [(0, 3)], 3: [(0, 5)]}
    alone = jax.jit(lambda p, x, c: unroll(CELL, p, x, c))
    for b, spans in pieces.items():
        state = jax.tree.map(lambda a, b=b: a[b : b + 1], begin)
        expected = np.zeros((6, 5), np.float32)
        for k, (start, stop) in enumerate(spans[::-1] if reverse else spans):
            # the first piece goes on from the given carry, unless a reset stands at its very first step
            if k > 0 or (b == 3 and not reverse):
                state = CELL.initial_carry(params, 1)
            piece = xs[b : b + 1, start:stop]
            state, out = alone(params, piece[:, ::-1] if reverse else piece, state)
            expected[start:stop] = out[0, ::-1] if reverse else out[0]
        assert_close(ys[b], expected, 1e-6)
        assert_close(jax.tree.map(lambda a, b=b: a[b], carry), jax.tree.map(lambda a: a[0], state), 1e-6)


@pytest.mark.parametrize("name", RUNNERS)
def test_padding_holds_anything(name):
    params, xs = weights_of(CELL), inputs(3, 6)
    lengths = jnp.array([4, 0, 6])
    padding = jnp.arange(6)[None, :, None] >= lengths[:, None, None]

    def loss(params, xs, carry):
        carry, ys = runner(name)(CELL, params, xs, carry, lengths=lengths)
        return jnp.sum(jnp.sin(carry.h) + carry.c**2) + jnp.sum(ys**3), (carry, ys)

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    clean, spoiled = (run(params, jnp.where(padding, fill, xs), carry_of(CELL, params, 3)) for fill in (0.0, 1e6))
    broken = run(params, jnp.where(padding, jnp.nan, xs), carry_of(CELL, params, 3))
    for found in (spoiled, broken):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(clean), strict=True):
            np.testing.assert_array_equal(a, b)
    (_, (carry, ys)), (_, d_xs, d_carry) = clean
    assert np.all(np.where(padding, d_xs, 0) == 0)
    assert np.all(np.where(padding, ys, 0) == 0)
    assert np.all(np.abs(np.asarray(d_xs)[0, :4]).max(-1) > 0)
    # the row of length 0 hands the carry through, and its gradient too
    begin = carry_of(CELL, params, 3)
    np.testing.assert_array_equal(carry.c[1], begin.c[1])
    np.testing.assert_allclose(d_carry.c[1], 2 * begin.c[1], rtol=1e-6)


@pytest.mark.parametrize("name", RUNNERS)
def test_no_gradient_from_the_future(name):
    params, xs = weights_of(CELL), inputs(2, 6)
    jacobian = jax.jit(jax.jacrev(lambda x: runner(name)(CELL, params, x)[1].sum((0, 2))))(xs)  # [T B T D]
    size = np.abs(np.asarray(jacobian)).max((1, 3))
    assert np.all(size[np.triu_indices(6, 1)] == 0)
    assert np.all(size[np.tril_indices(6)] > 0)


def test_time_major_is_the_same_transposed():
    params, xs = weights_of(CELL), inputs(3, 5)
    lengths, resets = jnp.array([5, 2, 4]), jax.random.bernoulli(jax.random.key(1), 0.3, (3, 5))
    carry, ys = unroll(CELL, params, xs, lengths=lengths, resets=resets, reverse=True)
    for run in (unroll, sweep):
        found, zs = run(
            CELL, params, xs.swapaxes(0, 1), lengths=lengths, resets=resets.T, reverse=True, time_major=True
        )
        assert_close((found, zs.swapaxes(0, 1)), (carry, ys), 1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_two_halves_are_the_whole(name):
    with jax.enable_x64(True):
        cell = CELLS[name]
        params, xs = weights_of(cell), inputs(3, 8)
        resets = jax.random.bernoulli(jax.random.key(1), 0.3, (3, 8))
        for run in (unroll, sweep) if cell.sweep else (unroll,):
            whole = run(cell, params, xs, resets=resets)
            carry, first = run(cell, params, xs[:, :4], resets=resets[:, :4])
            carry, second = run(cell, params, xs[:, 4:], carry, resets=resets[:, 4:])
            assert_close((carry, jnp.concatenate([first, second], 1)), whole, 1e-14)


def test_forward_mode_agrees_with_reverse():
    with jax.enable_x64(True):
        cell = CELLS["gru"]
        params, xs = weights_of(cell), inputs(1, 3)
        f = lambda x: jnp.sum(unroll(cell, params, x, lengths=jnp.array([2]))[1] ** 2)  # noqa: E731
        assert_close(jax.jit(jax.jacfwd(jax.jacfwd(f)))(xs), jax.jit(jax.jacrev(jax.jacrev(f)))(xs), 1e-13)


@pytest.mark.parametrize("run", [unroll, sweep])
def test_refusals_name_argument_found_and_expected(run, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    params, xs = weights_of(CELL), inputs(2, 3)

    def refused(message, xs=xs, carry=None, cell=CELL, **options):
        with pytest.raises(UsageError, match=message):
            run(cell, params, xs, carry, **options)

    refused(r"xs?: found shape (\(2,\) at a step|\(2, 3\)), expected .B", xs=xs[..., 0])
    refused(r"xs: found shape \(3,\), expected \[B T", xs=xs[0, :, 0])
    refused(r"lengths: found values from -1 to 3, expected 0 to 3", lengths=jnp.array([3, -1]))
    refused(r"lengths: found values from 0 to 4, expected 0 to 3", lengths=jnp.array([4, 1]))
    refused(r"lengths: found shape \(3,\), expected \(2,\)", lengths=jnp.array([1, 1, 1]))
    refused(r"lengths: found dtype float32, expected integers", lengths=jnp.array([1.0, 1.0]))
    refused(r"lengths: found a list, expected an array of integers", lengths=[1, 1])
    refused(r"resets: found shape \(3, 2\), expected \(2, 3\)", resets=jnp.zeros((3, 2), bool))
    h = jnp.zeros((2, 5))
    refused(r"carry: found .*float32\[2, 4\].*expected .*float32\[2, 5\]", carry=LSTMCarry(h, h[:, 1:]))
    refused(r"carry: found .*float32\[1, 5\].*expected .*float32\[2, 5\]", carry=LSTMCarry(h[:1], h[:1]))
    refused(r"carry: found \('float32.*expected LSTMCarry", carry=(h, h))
    refused(r"carry: found .*float16.*expected .*float32", carry=LSTMCarry(h.astype(jnp.float16), h))
    if run is unroll:
        refused("carry: found None or resets, expected a cell with `initial_carry`", cell=CELL.step)
        refused(
            r"carry: found float32\[2, 3, 1\], expected float32\[2, 3, 1, 1\]",
            cell=lambda p, c, x: (c[..., None], x),
            carry=jnp.zeros((2, 3, 1)),
        )
    else:
        refused("cell: found one without a hand-written `sweep`.*use `unroll`", cell=CELLS["layer_norm_lstm"])
        refused("residuals: found 'half', expected one of full, lean, segments", residuals="half")


def test_traced_lengths_are_not_checked():
    params, xs = weights_of(CELL), inputs(2, 3)
    run = jax.jit(lambda n: unroll(CELL, params, xs, lengths=n)[1])
    np.testing.assert_array_equal(run(jnp.array([9, -2]))[1], 0)


def test_no_steps_at_all():
    for make in (elman, lstm, gru):
        cell = make(5)
        params = weights_of(cell)
        begin = carry_of(cell, params, 2)
        for run in map(runner, RUNNERS):
            carry, ys = run(cell, params, jnp.zeros((2, 0, 4)), begin)
            assert ys.shape == (2, 0, 5)
            assert_close(carry, begin, 1e-30)
