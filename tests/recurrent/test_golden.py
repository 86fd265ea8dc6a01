"""Stacks against arrays that PyTorch and Keras computed (`make_golden.py`): outputs, last states, all gradients."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.interop.recurrent import from_keras, from_pytorch, to_keras, to_pytorch
from seqjax.models.recurrent import RNN
from seqjax.recurrent import LSTMCarry, elman, gru, lstm

HERE = Path(__file__).parent
MAKERS = {
    "elman_tanh": elman,
    "elman_relu": partial(elman, activation=jax.nn.relu),
    "lstm": lstm,
    "lstm_projection": partial(lstm, projection_size=3),
    "gru": gru,
    "gru_reset_before": partial(gru, reset_after=False),
}
DEPTHS = {"1": (1, False), "2_both": (2, True), "3": (3, False)}


def golden(file, case):
    with np.load(HERE / file, allow_pickle=False) as arrays:
        fields = {name.removeprefix(f"{case}/"): arrays[name] for name in arrays if name.startswith(f"{case}/")}
        return fields, arrays["lengths"]


def cut(flat, shapes):
    """The arrays of these shapes that lie behind one another in a flat one."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    assert ends[-1] == flat.size
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def assert_near(found, expected):
    """max |a - b| <= 1e-5 max |b|, in float32."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def model_of(kind, depth, residuals="full"):
    num_layers, both = DEPTHS[depth]
    model = RNN(MAKERS[kind], 5, num_layers=num_layers, bidirectional=both, residuals=residuals)
    return model, jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((3, 7, 4)))["params"]


def carries_of(states, num_layers, directions):
    """PyTorch's `[rows B H]` for each part of the state, as carries `[layer][direction]`."""
    rows = [
        LSTMCarry(*map(jnp.asarray, row)) if len(row) == 2 else jnp.asarray(row[0]) for row in zip(*states, strict=True)
    ]
    return tuple(tuple(rows[layer * directions : (layer + 1) * directions]) for layer in range(num_layers))


def states_of(carries):
    rows = [jax.tree.leaves(carry) for layer in carries for carry in layer]
    return [np.stack(part) for part in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("kind", "depth", "residuals"),
    [(kind, depth, "full") for kind in list(MAKERS)[:5] for depth in DEPTHS] + [("lstm", "2_both", None)],
)
def test_pytorch(kind, depth, residuals):
    fields, lengths = golden("golden_torch.npz", f"{kind}_{depth}")
    num_layers, both = DEPTHS[depth]
    directions = 2 if both else 1
    spec = {name: tuple(shape) for name, shape in json.loads(str(fields["spec"])).items()}
    state_dict = dict(zip(spec, cut(fields["weights"], spec.values()), strict=True))
    rows, batch = num_layers * directions, 3
    width = 3 if "projection" in kind else 5
    sizes = [(rows, batch, width)] + ([(rows, batch, 5)] if "lstm" in kind else [])
    first, on_last, last, d_first = (cut(fields[name], sizes) for name in ("first", "on_last", "last", "d_first"))
    model, like = model_of(kind, depth, residuals)

    def loss(params, x, carries):
        carries, y = model.apply(
            {"params": params}, x, initial_carry=carries, seq_lengths=jnp.asarray(lengths), return_carry=True
        )
        weighted = jax.tree.map(lambda a, w: jnp.sum(a * w), carries, carries_of(on_last, num_layers, directions))
        return jnp.sum(y * fields["on_y"]) + sum(jax.tree.leaves(weighted)), (carries, y)

    run = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    params = from_pytorch(state_dict, like)
    (d_params, d_x, d_carries), (carries, y) = run(
        params, jnp.asarray(fields["x"]), carries_of(first, num_layers, directions)
    )
    assert_near(y, fields["y"])
    assert_near(d_x, fields["d_x"])
    for found, expected in zip(states_of(carries) + states_of(d_carries), last + d_first, strict=True):
        assert_near(found, expected)
    d_weights = dict(zip(spec, cut(fields["d_weights"], spec.values()), strict=True))
    for name, found in to_pytorch(d_params).items():
        if name.startswith("bias_hh"):
            # a sum of two biases hands its gradient to both; the candidate's of a GRU is apart
            other = to_pytorch(d_params)[name.replace("hh", "ih")]
            found = np.concatenate([other[:10], found[10:]]) if kind == "gru" else other
        assert_near(found, d_weights[name])
    assert set(to_pytorch(d_params)) == set(spec)


@pytest.mark.parametrize("kind", ["elman_tanh", "lstm", "gru", "gru_reset_before"])
@pytest.mark.parametrize("depth", ["1", "2_both"])
def test_keras(kind, depth):
    fields, lengths = golden("golden_keras.npz", f"{kind}_{depth}")
    shapes = json.loads(str(fields["spec"]))
    model, like = model_of(kind, depth)
    params = from_keras(cut(fields["weights"], shapes), like)

    def loss(params, x):
        y = model.apply({"params": params}, x, seq_lengths=jnp.asarray(lengths))
        return jnp.sum(y * fields["on_y"]), y

    (d_params, d_x), y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, jnp.asarray(fields["x"]))
    assert_near(y, fields["y"])
    assert_near(d_x, fields["d_x"])
    for found, expected in zip(to_keras(d_params), cut(fields["d_weights"], shapes), strict=True):
        if kind == "gru" and found.ndim == 2 and found.shape[0] == 2:
            found[1, :10] = found[0, :10]  # a sum of two biases hands its gradient to both
        assert_near(found, expected)
