"""The cells under test and data for them, shared by the test files of this folder."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from oracles import elman_steps, gru_steps, layer_norm_lstm_steps, lstm_steps

from seqjax.recurrent import elman, gru, layer_norm_lstm, lstm

INPUT_SIZE, HIDDEN_SIZE, PROJECTION_SIZE = 4, 5, 3

SWEPT = {
    "elman_tanh": elman(HIDDEN_SIZE),
    "elman_softplus": elman(HIDDEN_SIZE, jax.nn.softplus),
    "lstm": lstm(HIDDEN_SIZE),
    "lstm_projection": lstm(HIDDEN_SIZE, projection_size=PROJECTION_SIZE),
    "gru": gru(HIDDEN_SIZE),
    "gru_learned_carry": gru(HIDDEN_SIZE, learned_carry=True),  # resets hand it a gradient
    "gru_reset_before": gru(HIDDEN_SIZE, reset_after=False),
}
CELLS = SWEPT | {"elman_relu": elman(HIDDEN_SIZE, jax.nn.relu), "layer_norm_lstm": layer_norm_lstm(HIDDEN_SIZE)}
ORACLES = {
    "elman_tanh": partial(elman_steps, activation=np.tanh),
    "elman_softplus": partial(elman_steps, activation=lambda a: np.log1p(np.exp(a))),
    "elman_relu": partial(elman_steps, activation=lambda a: np.maximum(a, 0)),
    "lstm": lstm_steps,
    "lstm_projection": lstm_steps,
    "gru": gru_steps,
    "gru_learned_carry": gru_steps,
    "gru_reset_before": gru_steps,
    "layer_norm_lstm": layer_norm_lstm_steps,
}


def noisy(tree, seed, scale=0.3):
    """The tree plus Gaussian noise, so that no bias is zero and no gate starts alike."""
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noise = [scale * jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    return treedef.unflatten([a + n for a, n in zip(leaves, noise, strict=True)])


def weights_of(cell, seed=0, input_size=INPUT_SIZE):
    return noisy(cell.init(jax.random.key(seed), input_size), seed + 1)


def inputs(batch_size, num_steps, seed=7, input_size=INPUT_SIZE):
    return jax.random.normal(jax.random.key(seed), (batch_size, num_steps, input_size), jnp.result_type(float))


def carry_of(cell, params, batch_size, seed=11):
    return noisy(cell.initial_carry(params, batch_size), seed)


def assert_close(found, expected, tolerance):
    """Every leaf: max |a - b| <= tolerance * max(1, max |b|), NaN nowhere."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        assert np.isfinite(a).all()
        np.testing.assert_array_less(np.abs(a - b).max(initial=0), tolerance * max(1, np.abs(b).max(initial=0)))
