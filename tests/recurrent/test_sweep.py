"""The hand-written derivative against automatic differentiation of the plain scan, in float64."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, SWEPT, assert_close, carry_of, inputs, noisy, weights_of
from jax.test_util import check_grads

from seqjax.errors import UsageError
from seqjax.recurrent import elman, gru, lstm, sweep, unroll

POLICIES = ("full", "lean", "segments")
NUM_STEPS = 17  # no divisor near its root: the last segment is padded
LENGTHS = (17, 0, 9)


def run(name, policy, *args, **options):
    if policy == "unroll":
        return unroll(CELLS[name], *args, **options)
    return sweep(CELLS[name], *args, **options, residuals=policy)


def data(name, batch_size=3, num_steps=NUM_STEPS):
    params = weights_of(CELLS[name])
    return params, inputs(batch_size, num_steps), carry_of(CELLS[name], params, batch_size)


def loss(name, policy, ragged=True, reverse=False):
    """A curved function of every output and of the last carry."""

    def value(params, xs, carry):
        batch_size, num_steps, _ = xs.shape
        options = {}
        if ragged:
            resets = jax.random.bernoulli(jax.random.key(5), 0.2, (batch_size, num_steps))
            options = {"lengths": jnp.array(LENGTHS), "resets": resets}
        last, ys = run(name, policy, params, xs, carry, reverse=reverse, **options)
        return jnp.sum(jnp.sin(ys) * ys) + sum(jnp.sum(jnp.cos(leaf)) for leaf in jax.tree.leaves(last))

    return value


def gradients(name, policy, **options):
    return jax.jit(jax.value_and_grad(loss(name, policy, **options), argnums=(0, 1, 2)))


@cache
def reference(name, ragged, reverse):
    return gradients(name, "unroll", ragged=ragged, reverse=reverse)(*data(name))


@pytest.mark.parametrize(
    ("name", "ragged", "reverse", "policy"),
    [(name, True, True, policy) for name in SWEPT for policy in ("full", "lean")]
    + [(name, True, True, "segments") for name in ("elman_softplus", "lstm_projection", "gru_learned_carry")]
    + [("lstm", False, False, policy) for policy in POLICIES]
    + [("gru", True, False, policy) for policy in POLICIES],
)
def test_values_and_gradients_are_those_of_unroll(name, ragged, reverse, policy):
    with jax.enable_x64(True):
        found = gradients(name, policy, ragged=ragged, reverse=reverse)(*data(name))
        assert_close(found, reference(name, ragged, reverse), 1e-12)


def penalty(name, policy):
    """A gradient penalty, as in a recurrent critic: its gradient goes through the backward pass."""

    def value(params, xs, carry):
        slopes = jax.grad(loss(name, policy), argnums=(0, 1, 2))(params, xs, carry)
        return sum(jnp.sum(jnp.sin(3 * slope)) for slope in jax.tree.leaves(slopes))

    return jax.jit(jax.grad(value, argnums=(0, 1, 2)))


@cache
def reference_penalty(name):
    return penalty(name, "unroll")(*data(name))


@pytest.mark.parametrize(
    ("name", "policy"),
    [(name, "full") for name in SWEPT] + [("lstm", "lean"), ("lstm", "segments"), ("gru", "segments")],
)
def test_gradients_of_gradients_are_those_of_unroll(name, policy):
    with jax.enable_x64(True):
        assert_close(penalty(name, policy)(*data(name)), reference_penalty(name), 1e-10)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_derivatives_are_those_of_finite_differences(name):
    with jax.enable_x64(True):
        value = jax.jit(loss(name, "full", ragged=False))
        check_grads(value, data(name, 2, 3), order=2, modes=["rev"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_seeds_are_a_batch_axis(policy):
    """Weights with a seed axis, data without: each seed as if alone, and data gradients not summed over seeds."""
    with jax.enable_x64(True):
        params, xs, carry = data("lstm")
        seeds = jax.tree.map(lambda *rows: jnp.stack(rows), *(noisy(params, seed) for seed in range(3)))
        step = jax.grad(loss("lstm", policy), argnums=(0, 1))
        found = jax.jit(jax.vmap(step, in_axes=(0, None, None)))(seeds, xs, carry)
        alone = jax.jit(jax.grad(loss("lstm", "unroll"), argnums=(0, 1)))
        for seed in range(3):
            expected = alone(jax.tree.map(lambda a, seed=seed: a[seed], seeds), xs, carry)
            assert_close(jax.tree.map(lambda a, seed=seed: a[seed], found), expected, 1e-12)


@pytest.mark.parametrize(("batch_size", "num_steps"), [(1, 1), (3, 2)])
def test_fewer_steps_of_examples_than_the_kernels_have_rows(batch_size, num_steps):
    """Where the LSTM does not join its kernels."""
    with jax.enable_x64(True):
        args = data("lstm", batch_size, num_steps)
        expected = gradients("lstm", "unroll", ragged=False)(*args)
        for policy in POLICIES:
            assert_close(gradients("lstm", policy, ragged=False)(*args), expected, 1e-13)


@pytest.mark.parametrize("policy", ["full", "segments"])
def test_inside_a_chapter_of_training(policy):
    """A scan of steps with rematerialisation, as a training loop has it; and one program for all calls."""
    params, xs, carry = data("gru")

    def chapter(params, policy):
        slope = jax.grad(jax.checkpoint(loss("gru", policy)))
        return jax.lax.scan(
            lambda p, _: (jax.tree.map(lambda a, g: a - 0.01 * g, p, slope(p, xs, carry)), None), params, None, length=3
        )[0]

    train = jax.jit(chapter, static_argnums=1)
    assert_close(train(params, policy), train(params, "unroll"), 1e-5)
    with jax.no_tracing():
        train(params, policy)
    assert train._cache_size() == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_forward_mode_says_to_use_unroll(policy):
    params, xs, _ = data("lstm")
    f = lambda x: sweep(CELLS["lstm"], params, x, residuals=policy)[1]  # noqa: E731
    for attempt in (
        lambda: jax.jvp(f, (xs,), (xs,)),
        lambda: jax.jit(lambda x: jax.jvp(f, (x,), (x,)))(xs),
        lambda: jax.jvp(jax.jit(f), (xs,), (xs,)),
        lambda: jax.jacfwd(f)(xs),
        lambda: jax.hessian(lambda x: f(x).sum())(xs),
    ):
        with pytest.raises(UsageError, match=r"reverse mode only.*for forward mode .* use `unroll`"):
            attempt()


def test_long_sequences_agree_in_float32():
    cell = gru(8)
    params, xs = weights_of(cell), inputs(2, 2_000)
    slope = lambda policy: jax.jit(jax.grad(lambda p: sweep(cell, p, xs, residuals=policy)[1].mean()))(params)  # noqa: E731
    assert_close(slope("segments"), slope("full"), 1e-5)


@pytest.mark.parametrize("make", [elman, lstm, gru])
def test_dtypes_follow_the_inputs(make):
    cell = make(5)
    params = weights_of(cell)
    xs = inputs(2, 3).astype(jnp.bfloat16)
    d_params, d_xs = jax.grad(lambda p, x: sweep(cell, p, x)[1].sum(), argnums=(0, 1))(params, xs)
    assert d_xs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(d_params)} == {np.dtype("float32")}
