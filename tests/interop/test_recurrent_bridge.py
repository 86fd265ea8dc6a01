"""Weights there and back, through every framework's form and every file; and what an import refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import DataError, UsageError
from seqjax.interop.recurrent import (
    from_flax,
    from_keras,
    from_pytorch,
    load_weights,
    save_weights,
    to_flax,
    to_keras,
    to_pytorch,
)
from seqjax.interop.recurrent.layers import reordered
from seqjax.models.recurrent import RNN
from seqjax.recurrent import elman, gru, layer_norm_lstm, lstm

MAKERS = {
    "elman": elman,
    "lstm": lstm,
    "projection": partial(lstm, projection_size=3),
    "gru": gru,
    "before": partial(gru, reset_after=False),
    "learned": partial(lstm, learned_carry=True),
    "layer_norm": layer_norm_lstm,
}


def params_of(kind, num_layers=2, both=True):
    model = RNN(MAKERS[kind], 4, num_layers=num_layers, bidirectional=both)
    like = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 3, 6)))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), like), like


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    ("there", "back", "kinds"),
    [
        (to_pytorch, from_pytorch, ["elman", "lstm", "projection", "gru"]),
        (to_keras, from_keras, ["elman", "lstm", "gru", "before"]),
        (to_flax, from_flax, ["elman", "lstm", "gru"]),
    ],
)
def test_there_and_back(there, back, kinds, both):
    for kind in kinds:
        params, like = params_of(kind, 3 if both else 1, both)
        assert_same(back(there(params), like), params)
        one = params["layer_0_forward"]
        assert_same(back(there(one), one), one)  # a single cell's weights, and `like` with values


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("kind", MAKERS)
def test_files(kind, suffix, tmp_path):
    params, like = params_of(kind)
    save_weights(tmp_path / f"weights.{suffix}", params)
    assert_same(load_weights(tmp_path / f"weights.{suffix}", like), params)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_bfloat16_comes_back_as_it_was(suffix, tmp_path):
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params_of("lstm", 1, False)[0])
    save_weights(tmp_path / f"weights.{suffix}", params)
    found = load_weights(tmp_path / f"weights.{suffix}", params)
    assert {a.dtype for a in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    assert_same(found, params)


def test_files_are_plain_arrays_that_others_read(tmp_path):
    from safetensors.numpy import load_file

    params, _ = params_of("lstm", 1, False)
    save_weights(tmp_path / "weights.safetensors", params)
    save_weights(tmp_path / "weights.npz", params)
    found = load_file(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(found["layer_0_forward/bias"], params["layer_0_forward"]["bias"])
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as arrays:
        assert str(arrays["gate_order"]) == "i,f,g,o"
        assert set(arrays) == {*found, "gate_order"}


def test_another_gate_order_is_put_right(tmp_path):
    params, like = params_of("lstm", 1, False)
    weights = {name: np.asarray(a) for name, a in params["layer_0_forward"].items()}
    turned = {f"layer_0_forward/{name}": reordered(a, "ifgo", "fiog") for name, a in weights.items()}
    np.testing.assert_array_equal(turned["layer_0_forward/bias"][:4], weights["bias"][4:8])
    np.savez(tmp_path / "a.npz", **turned, gate_order=np.array("f,i,o,g"))
    assert_same(load_weights(tmp_path / "a.npz", like), params)
    for order in ("r,z,n", "i,f,g,g", "i,f,c,o"):
        np.savez(tmp_path / "b.npz", **turned, gate_order=np.array(order))
        with pytest.raises(UsageError, match=f"found the gate order '{order}', expected an order of i,f,g,o"):
            load_weights(tmp_path / "b.npz", like)
    np.savez(tmp_path / "c.npz", **turned)
    with pytest.raises(UsageError, match="found no 'gate_order', expected one such as i,f,g,o"):
        load_weights(tmp_path / "c.npz", like)


def test_names_of_several_lines_are_told_in_one(tmp_path):
    params, like = params_of("lstm", 1, False)
    weights = {f"layer_0_forward/{name}": np.asarray(a) for name, a in params["layer_0_forward"].items()}
    np.savez(tmp_path / "order.npz", **weights, gate_order=np.array("i,f,\n,o"))
    np.savez(tmp_path / "name.npz", **{"a\nb": np.array([None])}, gate_order=np.array("i,f,g,o"))
    for name in ("order", "name"):
        with pytest.raises((UsageError, DataError)) as told:
            load_weights(tmp_path / f"{name}.npz", like)
        assert len(str(told.value).splitlines()) == 1


def test_the_file_of_another_cell_is_told_by_its_gate_order(tmp_path):
    save_weights(tmp_path / "lstm.npz", params_of("lstm", 1, False)[0])
    with pytest.raises(UsageError, match="found the gate order 'i,f,g,o', expected an order of r,z,n"):
        load_weights(tmp_path / "lstm.npz", params_of("gru", 1, False)[1])


@pytest.mark.parametrize("shape", [(), (4,), (0, 4), (4, 10), (4, 8)])
def test_a_recurrent_kernel_of_no_cell_is_told(shape):
    odd = {"input_kernel": np.zeros((3, 4)), "recurrent_kernel": np.zeros(shape), "bias": np.zeros(4)}
    with pytest.raises(UsageError, match=r"recurrent_kernel.*found shape .*expected \[H H\], \[H 3H\] or \[H 4H\]"):
        to_pytorch(odd)


def test_learned_carry_keeps_its_place_under_reordering(tmp_path):
    """Only arrays with gates side by side are cut into blocks, although H divides by four too."""
    params, like = params_of("learned", 1, False)
    gated = ("input_kernel", "recurrent_kernel", "bias")
    arrays = {
        f"layer_0_forward/{name}": reordered(a, "ifgo", "ofgi") if name in gated else np.asarray(a)
        for name, a in params["layer_0_forward"].items()
    }
    np.savez(tmp_path / "a.npz", **arrays, gate_order=np.array("o,f,g,i"))
    assert_same(load_weights(tmp_path / "a.npz", like), params)


def test_pytorch_forms():
    params, like = params_of("gru", 1, False)
    arrays = to_pytorch(params, prefix="encoder.")
    assert list(arrays) == [f"encoder.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    other = {"decoder.weight_ih_l0": np.zeros(3)}
    assert_same(from_pytorch(arrays | other, like, prefix="encoder."), params)
    no_bias = {name: a for name, a in arrays.items() if "bias" not in name}
    found = from_pytorch(no_bias, like, prefix="encoder.")["layer_0_forward"]
    assert not np.any(found["bias"])
    assert not np.any(found["candidate_bias"])
    # both biases count where PyTorch adds them, and stay apart where the reset gate stands between
    arrays["encoder.bias_hh_l0"] += 1
    found = from_pytorch(arrays, like, prefix="encoder.")["layer_0_forward"]
    own = params["layer_0_forward"]
    np.testing.assert_allclose(found["bias"] - own["bias"], np.repeat([1, 1, 0], 4), atol=1e-6)
    np.testing.assert_allclose(found["candidate_bias"] - own["candidate_bias"], 1, atol=1e-6)


def test_imports_refuse_what_does_not_fit():
    lstm_params, lstm_like = params_of("lstm", 1, False)
    gru_params, gru_like = params_of("gru", 1, False)
    with pytest.raises(UsageError, match=r"weight_ih_l0'\]: found shape \(12, 6\), expected \(16, 6\)"):
        from_pytorch(to_pytorch(gru_params), lstm_like)
    with pytest.raises(UsageError, match=r"forward, kernel: found shape \(6, 16\), expected \(6, 12\)"):
        from_keras(to_keras(lstm_params), gru_like)
    with pytest.raises(UsageError, match=r"found the weights \['hf/bias'.*expected \['hn/bias'"):
        from_flax(to_flax(lstm_params), gru_like)
    arrays = to_pytorch(lstm_params)
    with pytest.raises(UsageError, match=r"unknown weights \['weight_ih_l1'\] for 1 layers"):
        from_pytorch(arrays | {"weight_ih_l1": np.zeros((16, 4))}, lstm_like)
    with pytest.raises(UsageError, match=r"'bias_hh_l0' is missing, expected an array of shape \(16,\)"):
        from_pytorch({name: a for name, a in arrays.items() if name != "bias_hh_l0"}, lstm_like)
    with pytest.raises(UsageError, match="found 4 arrays, expected 3: kernel, recurrent_kernel and bias of 1 layers"):
        from_keras([*to_keras(lstm_params), np.zeros(2)], lstm_like)
    with pytest.raises(UsageError, match="cells: found 2, expected 1"):
        from_flax(to_flax(lstm_params) * 2, lstm_like)
    for kind, convert in (
        ("before", to_pytorch),
        ("before", to_flax),
        ("projection", to_keras),
        ("projection", to_flax),
    ):
        with pytest.raises(UsageError, match=r"layer_0_forward: found .*(reset before|projection)"):
            convert(params_of(kind, 1, False)[0])
    with pytest.raises(UsageError, match=r"unknown \['initial_c', 'initial_h'\]"):
        to_pytorch(params_of("learned", 1, False)[0])
    with pytest.raises(UsageError, match="params: unknown name 'dense'"):
        to_keras({"dense": {"kernel": jnp.zeros((2, 2))}})


def test_files_that_are_none(tmp_path):
    params, like = params_of("lstm", 1, False)
    with pytest.raises(UsageError, match=r"suffix '.pkl', expected .npz or .safetensors"):
        save_weights(tmp_path / "weights.pkl", params)
    with pytest.raises(DataError, match="no such file"):
        load_weights(tmp_path / "weights.npz", like)
    words = {"npz": "is not a sound .npz file", "safetensors": "cannot be read as .safetensors"}
    for suffix, told in words.items():
        path = tmp_path / f"weights.{suffix}"
        save_weights(path, params)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(DataError, match=told):
            load_weights(path, like)
    np.savez(tmp_path / "objects.npz", gate_order=np.array("i,f,g,o"), a=np.array([object()]))
    with pytest.raises(DataError, match="array 'a' is an object array"):
        load_weights(tmp_path / "objects.npz", like)
    save_weights(tmp_path / "small.npz", params_of("lstm", 1, False)[0])
    with pytest.raises(UsageError, match=r"missing weights \['layer_1_forward/bias'"):
        load_weights(tmp_path / "small.npz", params_of("lstm", 2, False)[1])


@pytest.mark.parametrize("order", [np.array(["i"]), np.array(3), np.frombuffer(b"\xff" * 4, "<U1")[0:1].reshape(())])
def test_a_gate_order_that_is_no_text_is_refused(order, tmp_path):
    params, like = params_of("lstm", 1, False)
    save_weights(tmp_path / "weights.npz", params)
    with np.load(tmp_path / "weights.npz") as arrays:
        np.savez(tmp_path / "weights.npz", **(dict(arrays) | {"gate_order": order}))
    with pytest.raises(DataError, match=r"'gate_order' is .* expected a text such as i,f,g,o"):
        load_weights(tmp_path / "weights.npz", like)
