"""Drawn sequences: known frequencies, the most likely symbols of a real model, prompts, rows apart, one compilation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models.sampling import continuations
from seqjax.models.sequence import SequenceModel, cell_function, stacked
from seqjax.recurrent import output_head

NUM_SYMBOLS = 5
LOGITS = jax.random.normal(jax.random.key(0), (NUM_SYMBOLS, NUM_SYMBOLS))


def chain(carry, symbols):
    """A Markov chain that counts its steps."""
    return carry + 1, LOGITS[symbols]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_are_those_of_the_softmax(temperature):
    rows, length = 200, 100
    drawn = jax.jit(functools.partial(continuations, chain, length=length))
    symbols = np.asarray(drawn(jnp.int32(0), jnp.zeros((rows, 1), int), jnp.full(rows, temperature), jax.random.key(1)))
    assert symbols.shape == (rows, length)
    before = np.concatenate([np.zeros((rows, 1), int), symbols[:, :-1]], axis=1)
    counts = np.zeros((NUM_SYMBOLS, NUM_SYMBOLS))
    np.add.at(counts, (before.ravel(), symbols.ravel()), 1)
    expected = counts.sum(axis=1, keepdims=True) * np.asarray(jax.nn.softmax(LOGITS / temperature))
    # the 99.9th percentile of chi-squared with 20 degrees of freedom
    assert (np.square(counts - expected) / expected).sum() < 45.3


def test_cold_draws_are_the_most_likely_symbols_of_the_whole_sequence_read_at_once():
    model = SequenceModel(cell_function("gru"), 8, NUM_SYMBOLS, num_layers=2)
    params = jax.jit(model.init)(jax.random.key(2), jnp.zeros((1, 1, NUM_SYMBOLS)))
    params = jax.tree.map(lambda p: 4 * p, params)
    own = stacked(cell_function("gru")(8), 2)
    weights, readout = params["params"]["recurrence"], params["params"]["readout"]

    def step(carry, symbols):
        carry, h = own.step(weights, carry, jax.nn.one_hot(symbols, NUM_SYMBOLS))
        return carry, output_head(NUM_SYMBOLS).apply(readout, h)

    prompts = jnp.asarray([[0, 1, 2], [3, 3, 4], [4, 0, 0]])
    drawn = jax.jit(
        lambda temperature, key: continuations(step, own.initial_carry(weights, 3), prompts, temperature, key, length=9)
    )
    found = drawn(jnp.zeros(3), jax.random.key(3))
    whole = jnp.concatenate([prompts, found], axis=1)
    logits = model.apply(params, jax.nn.one_hot(whole, NUM_SYMBOLS))
    np.testing.assert_array_equal(found, jnp.argmax(logits, axis=-1)[:, 2:-1])
    assert len(np.unique(found)) > 1

    # a row's draws are its own: the temperature of another row changes nothing
    warm = drawn(jnp.ones(3), jax.random.key(3))
    mixed = drawn(jnp.asarray([1.0, 0.0, 1.0]), jax.random.key(3))
    np.testing.assert_array_equal(mixed, jnp.stack([warm[0], found[1], warm[2]]))
    assert drawn._cache_size() == 1
