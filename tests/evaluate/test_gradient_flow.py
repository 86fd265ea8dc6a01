"""Gradient norms by lag against the Jacobian product written out; saturation against gates counted by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from seqjax.errors import UsageError
from seqjax.evaluate.gradient_flow import (
    Saturation,
    flow_curves,
    flow_measures,
    gate_saturation,
    gradient_norms,
    model_flow,
)
from seqjax.models.sequence import SequenceModel
from seqjax.recurrent import elman, gru, lstm
from seqjax.types import Cell

XS = jax.random.normal(jax.random.key(0), (3, 6, 2))


def linear(rate):
    """h_t = rate h_{t-1} + x_t, whose gradient is rate**lag exactly."""
    cell = elman(4, lambda a: a)
    params = cell.init(jax.random.key(1), 2) | {"recurrent_kernel": rate * jnp.eye(4)}
    return cell, params


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_a_linear_recurrence_vanishes_or_explodes_at_its_rate(rate):
    cell, params = linear(rate)
    lengths = jnp.array([6, 0, 3])
    norms = gradient_norms(cell, params, XS, lambda carry, ys: carry.sum(-1), lengths=lengths)
    expected = 2 * rate ** np.arange(1, 7)  # |(1, 1, 1, 1)| = 2
    np.testing.assert_allclose(norms[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(norms[1], 0)
    np.testing.assert_allclose(norms[2], np.where(np.arange(6) < 3, expected, 0), rtol=1e-6)


def test_a_loss_on_every_output_adds_up():
    cell, params = linear(0.5)
    norms = gradient_norms(cell, params, XS, lambda carry, ys: ys[..., 0].sum(-1))
    np.testing.assert_allclose(norms, np.tile(np.cumsum(0.5 ** np.arange(1, 7)), (3, 1)), rtol=1e-6)


@pytest.mark.parametrize("make", [lstm, gru, partial(elman, activation=jnp.tanh)])
def test_norms_are_those_of_runs_from_each_state(make):
    """The state before each step is handed to a run over the rest, and its gradient taken there."""
    cell = make(4)
    params = cell.init(jax.random.key(1), 2)
    loss = lambda carry, ys: jnp.sum(jnp.sin(3 * jax.tree.leaves(carry)[-1]), -1)  # noqa: E731
    norms = jax.jit(lambda p, x: gradient_norms(cell, p, x, loss))(params, XS)
    carry = cell.initial_carry(params, 3)

    @jax.jit
    def rest(carry, start):
        for t in range(6):
            carry = jax.tree.map(partial(jnp.where, t >= start), cell.step(params, carry, XS[:, t])[0], carry)
        return loss(carry, None).sum()

    for t in range(6):
        slopes = jax.tree.leaves(jax.grad(rest)(carry, t))
        expected = np.sqrt(sum(np.square(s).sum(-1) for s in slopes))
        np.testing.assert_allclose(norms[:, 5 - t], expected, rtol=1e-5)
        carry, _ = cell.step(params, carry, XS[:, t])


def test_saturation_counts_units():
    cell = gru(3)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 2))
    # reset gates at sigmoid(-3), sigmoid(0), sigmoid(3); updates at sigmoid(3): h_t stays near 0
    params |= {"bias": jnp.array([-3.0, 0, 3, 3, 3, 3, -2, 0, 1.0])}
    found = gate_saturation(cell, params, XS)
    assert set(found) == {"reset", "update", "candidate"}
    np.testing.assert_array_equal(found["reset"].low, [1, 0, 0])
    np.testing.assert_array_equal(found["reset"].high, [0, 0, 1])
    np.testing.assert_array_equal(found["update"].high, [1, 1, 1])
    np.testing.assert_array_equal(found["candidate"].low, [1, 0, 0])  # tanh(-2) = -0.96, tanh(1) = 0.76


def test_saturation_is_a_share_of_the_valid_steps():
    cell = elman(1, jax.nn.relu)
    params = {"input_kernel": jnp.array([[1.0], [0]]), "recurrent_kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}
    xs = jnp.array([[1.0, -1, -1, -1], [1, 1, -1, -1]])[..., None] * jnp.array([1.0, 0])[None, None]
    found = gate_saturation(cell, params, xs, lengths=jnp.array([3, 2]))["h"]
    np.testing.assert_allclose(found.low, [2 / 5])
    np.testing.assert_array_equal(found.high, [0])


def test_every_lstm_gate_is_told():
    cell = lstm(2)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 2))
    params |= {"bias": jnp.array([4.0, 0, 0, 4, 0, 4, -4, 0])}  # i, f, g, o, two units each
    found = gate_saturation(cell, params, XS)
    high = {name: list(np.asarray(share.high)) for name, share in found.items() if name != "memory"}
    assert high == {"input": [1, 0], "forget": [0, 1], "candidate": [0, 1], "output": [0, 0]}
    assert list(np.asarray(found["output"].low)) == [1, 0]
    # unit 1: c_t = 0.98 c_{t-1} + 0.5 tanh(4) passes tanh^-1(0.8) = 1.0986 at the third of six steps
    np.testing.assert_allclose(found["memory"].high[1], 4 / 6, rtol=1e-6)


def test_refusals(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    cell, params = linear(1.0)
    with pytest.raises(UsageError, match="carry: found None"):
        gradient_norms(cell.step, params, XS, lambda carry, ys: carry.sum(-1))
    for without in (Cell(cell.init, cell.initial_carry, cell.step), cell.step):
        with pytest.raises(UsageError, match="cell: found one without `gates`"):
            gate_saturation(without, params, XS)
    with pytest.raises(UsageError, match="xs: found shape"):
        gradient_norms(cell, params, XS[0, 0], lambda carry, ys: carry.sum(-1))


def test_measures_compare_the_longest_lag_with_the_shortest_and_average_over_units():
    norms = jnp.asarray([[4.0, 9.0, 1.0], [2.0, 9.0, 2.0]])
    share = Saturation(jnp.asarray([0.0, 0.5]), jnp.asarray([1.0, 0.5]))
    found = flow_measures("gru", norms, {"reset": share})
    assert found == {"gru/gradient_kept": 0.5, "gru_reset/saturated_low": 0.25, "gru_reset/saturated_high": 0.75}
    assert flow_measures("gru", jnp.zeros((2, 3)), {}) == {"gru/gradient_kept": 0.0}


def test_a_model_is_looked_into_from_its_readout_down():
    """A linear recurrence under a readout of twos: d output / d h at lag k is 2 |(1, 1, 1, 1)| rate**(k + 1)."""
    model = SequenceModel(partial(elman, activation=lambda a: a), 4, 1)
    recurrence = {"input_kernel": jnp.ones((2, 4)), "recurrent_kernel": 0.5 * jnp.eye(4), "bias": jnp.zeros(4)}
    readout = {"kernel": 2 * jnp.ones((4, 1)), "bias": jnp.ones(1)}
    params = {"params": {"recurrence": {"layer_0_forward": recurrence}, "readout": readout}}
    outputs = []

    def loss(last):
        outputs.append(last)
        return last[:, 0]

    norms, saturation = model_flow(model, params, XS, loss)
    np.testing.assert_allclose(norms, np.tile(4 * 0.5 ** np.arange(1, 7), (3, 1)), rtol=1e-6)
    assert outputs[0].shape == (3, 1)
    assert set(saturation) == {"h"}


def test_curves_of_all_cells_untrained_beside_the_trained_one():
    def flow(params, cell):
        return params * jnp.asarray([[1.0, 2], [3, 4]]), {"asked": cell}

    curves = flow_curves(flow, "gru", jnp.float32(10), lambda cell: jnp.float32(len(cell)))
    assert list(curves) == ["gru, trained", "rnn, untrained", "gru, untrained", "lstm, untrained"]
    np.testing.assert_array_equal(curves["gru, trained"], [20, 30])
    np.testing.assert_array_equal(curves["lstm, untrained"], [8, 12])
