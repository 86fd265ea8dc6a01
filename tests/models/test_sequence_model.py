"""The sequence model against its parts; its layers as one cell against the RNN; gates that start with time scales."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import UsageError
from seqjax.models.recurrent import RNN
from seqjax.models.sequence import SequenceModel, cell_function, stacked, with_time_scales
from seqjax.recurrent import lstm, unroll

XS = jax.random.normal(jax.random.key(0), (3, 7, 2))
LENGTHS = jnp.asarray([7, 4, 1])


def model_and_params(name, **options):
    model = SequenceModel(cell_function(name), 5, 4, num_layers=2, **options)
    return model, model.init(jax.random.key(1), XS)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_readout_of_the_last_layer_and_layers_as_one_cell(name):
    model, params = model_and_params(name)
    cell, own = cell_function(name)(5), params["params"]["recurrence"]
    hs = RNN(cell_function(name), 5, 2).apply({"params": own}, XS, seq_lengths=LENGTHS)
    readout = params["params"]["readout"]
    expected = hs @ readout["kernel"] + readout["bias"][None, None]
    np.testing.assert_allclose(model.apply(params, XS, lengths=LENGTHS), expected, rtol=1e-5, atol=1e-6)

    one = stacked(cell, 2)
    carry, ys = unroll(one, own, XS, lengths=LENGTHS)
    np.testing.assert_allclose(ys, hs, rtol=1e-5, atol=1e-6)
    assert len(carry) == 2
    gates = one.gates(own, one.initial_carry(own, 3), XS[:, 0])
    first, _ = cell.step(own["layer_0_forward"], cell.initial_carry(own["layer_0_forward"], 3), XS[:, 0])
    below = jax.tree.leaves(first)[0]
    upper = cell.gates(own["layer_1_forward"], cell.initial_carry(own["layer_1_forward"], 3), below)
    assert set(gates) == {f"{gate}_{layer}" for gate in upper for layer in (0, 1)}
    for gate, found in upper.items():
        np.testing.assert_allclose(gates[f"{gate}_1"].value, found.value, rtol=1e-6)


def test_a_projected_cell_is_read_out_and_given_time_scales():
    model = SequenceModel(partial(lstm, projection_size=3), 4, 2)
    params = model.init(jax.random.key(1), XS)
    params["params"]["readout"]["bias"] = jnp.ones(2)
    hs = RNN(model.cell, 4).apply({"params": params["params"]["recurrence"]}, XS)
    assert hs.shape == (3, 7, 3)
    expected = hs @ params["params"]["readout"]["kernel"] + 1
    np.testing.assert_allclose(model.apply(params, XS), expected, rtol=1e-5, atol=1e-6)
    layer = with_time_scales(params, jax.random.key(2), 9)["params"]["recurrence"]["layer_0_forward"]
    i, f, g, o = np.split(np.asarray(layer["bias"]), 4)
    assert np.all(f > 0)
    np.testing.assert_array_equal(i, -f)
    np.testing.assert_array_equal([g, o], 0)


def test_refusals():
    for options, message in (({"input_dropout": 0.5}, "index: found"), ({"input_dropout": 1.0}, "input_dropout=1")):
        model, _ = model_and_params("gru")
        with pytest.raises(UsageError, match=message):
            model.clone(**options).init(jax.random.key(1), XS, key=jax.random.key(2))


def test_dropout_of_inputs_and_outputs_belongs_to_the_example():
    model, params = model_and_params("gru", dropout=0.5)
    key, index = jax.random.key(2), jnp.arange(3)
    plain = model.apply(params, XS)
    dropped = model.apply(params, XS, key=key, index=index)
    assert not np.allclose(plain, dropped)
    order = jnp.asarray([2, 0, 1])
    shuffled = model.apply(params, XS[order], key=key, index=index[order])
    np.testing.assert_allclose(shuffled, dropped[order], rtol=1e-5, atol=1e-6)

    reading, _ = model_and_params("gru", input_dropout=0.5)
    seen = reading.apply(params, XS, key=key, index=index)
    assert not np.allclose(plain, seen)
    # what is dropped from the inputs cannot matter where there are none
    still = jnp.zeros_like(XS)
    np.testing.assert_array_equal(reading.apply(params, still, key=key, index=index), model.apply(params, still))


@pytest.mark.parametrize(("name", "block", "sign"), [("lstm", 1, 1), ("lstm", 0, -1), ("gru", 1, 1)])
def test_gates_start_with_time_scales_up_to_the_longest(name, block, sign):
    model = SequenceModel(cell_function(name), 400, 1)
    params = model.init(jax.random.key(0), XS)
    bias = with_time_scales(params, jax.random.key(1), 101)["params"]["recurrence"]["layer_0_forward"]["bias"]
    scales = np.exp(sign * np.asarray(bias).reshape(-1, 400)[block])
    assert 1 <= scales.min() < 3
    assert 98 < scales.max() <= 100
    assert scales.mean() == pytest.approx(50.5, abs=5)
    before = np.asarray(params["params"]["recurrence"]["layer_0_forward"]["bias"]).reshape(-1, 400)
    touched = {"lstm": {0, 1}, "gru": {1}}[name]
    for other in set(range(len(before))) - touched:
        np.testing.assert_array_equal(before[other], np.asarray(bias).reshape(-1, 400)[other])


def test_an_elman_network_has_no_gates_to_set():
    _, params = model_and_params("rnn")
    jax.tree.map(np.testing.assert_array_equal, with_time_scales(params, jax.random.key(1), 50), params)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_a_sequence_read_part_by_part_with_the_carry_passed_on_is_the_whole(name):
    model, params = model_and_params(name)
    whole_carry, whole = model.apply(params, XS, return_carry=True)
    carry, first = model.apply(params, XS[:, :3], return_carry=True)
    carry, second = model.apply(params, XS[:, 3:], initial_carry=carry, return_carry=True)
    np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), carry, whole_carry)
    anew = model.apply(params, XS[:, 3:])
    assert np.abs(np.asarray(anew - second)).max() > 1e-3
