"""`models.RNN`: its weights, both directions under padding, carries, dropout, and the options of `flax.linen.RNN`."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from seqjax.errors import UsageError
from seqjax.interop.recurrent import from_flax
from seqjax.models import recurrent
from seqjax.models.recurrent import RNN
from seqjax.recurrent import elman, gru, layer_norm_lstm, lstm, unroll
from seqjax.types import Cell

KEY = jax.random.key(0)
XS = jax.random.normal(jax.random.key(1), (4, 6, 3))
LENGTHS = jnp.array([6, 0, 2, 5])


def made(model, xs=XS):
    return jax.jit(model.init)(KEY, xs)


def test_layers_and_directions_by_hand():
    """The stack written out with `unroll` on each example cut to its length."""
    model = RNN(lstm, 5, num_layers=2, bidirectional=True, return_carry=True)
    variables = made(model)
    carries, ys = jax.jit(lambda v, x, n: model.apply(v, x, seq_lengths=n))(variables, XS, LENGTHS)
    cell, params = lstm(5), variables["params"]
    assert ys.shape == (4, 6, 10)
    for b, length in ((0, 6), (1, 0), (3, 5)):
        xs = XS[b : b + 1, :length]
        for layer in range(2):
            ends, outputs = [], []
            for k, direction in enumerate(("forward", "backward")):
                weights = params[f"layer_{layer}_{direction}"]
                end, out = unroll(cell, weights, xs[:, ::-1] if k else xs)
                outputs.append(out[:, ::-1] if k else out)
                ends.append(end)
                np.testing.assert_allclose(carries[layer][k].c[b], end.c[0], atol=1e-6)
            xs = jnp.concatenate(outputs, -1)
        np.testing.assert_allclose(ys[b, :length], xs[0], atol=1e-6)
        assert np.all(np.asarray(ys[b, length:]) == 0)


@pytest.mark.parametrize("both", [False, True])
def test_many_layers_are_the_same_layers(both):
    """Five layers, of which four are a loop, against five models of one layer: values, carries, gradients."""
    model = RNN(lstm, 5, num_layers=5, bidirectional=both, return_carry=True)
    directions = ("forward", "backward") if both else ("forward",)
    params = made(model)["params"]
    begin, _ = jax.jit(model.apply)({"params": params}, jnp.sin(XS))

    def whole(params, begin, xs):
        carries, ys = model.apply({"params": params}, xs, initial_carry=begin, seq_lengths=LENGTHS)
        return jnp.sum(ys**2) + sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(carries)), (carries, ys)

    def by_layer(params, begin, xs):
        one, carries = RNN(lstm, 5, bidirectional=both, return_carry=True), []
        for n in range(5):
            own = {f"layer_0_{way}": params[f"layer_{n}_{way}"] for way in directions}
            ends, xs = one.apply({"params": own}, xs, initial_carry=begin[n : n + 1], seq_lengths=LENGTHS)
            carries += ends
        return jnp.sum(xs**2) + sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(carries)), (tuple(carries), xs)

    point = (params, begin, XS)
    found, expected = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))(*point) for f in (whole, by_layer)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), found, expected)


def test_a_loop_of_layers_drops_what_layers_apart_drop(monkeypatch):
    model, index = RNN(gru, 5, num_layers=5, dropout=0.5), jnp.arange(4)
    variables = made(model)
    looped = model.apply(variables, XS, key=KEY, index=index)
    monkeypatch.setattr(recurrent, "LOOPED", 99)
    np.testing.assert_allclose(looped, model.apply(variables, XS, key=KEY, index=index), atol=1e-6)


def test_programs_do_not_grow():
    """Neither with the steps of a sequence nor with the layers above the first."""

    def lines(num_layers, num_steps):
        model, xs = RNN(gru, 5, num_layers=num_layers, bidirectional=True), jnp.zeros((2, num_steps, 3))
        params = jax.eval_shape(model.init, KEY, xs)
        gradient = jax.jit(jax.grad(lambda params, xs: jnp.sum(model.apply(params, xs) ** 2)))
        program = gradient.lower(params, xs).as_text().splitlines()
        # without the arguments themselves, and what puts them beside each other and takes them apart
        plain = ("broadcast_in_dim", "concatenate", "slice", "reshape")
        return sum(not any(f"stablehlo.{name}" in line for name in plain) for line in program)

    assert lines(4, 7) == lines(4, 700) == lines(16, 7) == lines(16, 700)


def test_weights_are_the_cells_own():
    params = made(RNN(partial(lstm, forget_bias=2.5), 5, num_layers=2))["params"]
    assert set(params) == {"layer_0_forward", "layer_1_forward"}
    assert params["layer_1_forward"]["input_kernel"].shape == (5, 20)
    np.testing.assert_array_equal(params["layer_1_forward"]["bias"], np.repeat([0, 2.5, 0, 0], 5))
    kernels = [np.asarray(params[f"layer_{k}_forward"]["recurrent_kernel"]) for k in range(2)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1


@pytest.mark.parametrize(("make", "linen"), [(elman, nn.SimpleCell), (lstm, nn.OptimizedLSTMCell), (gru, nn.GRUCell)])
def test_options_are_those_of_flax(make, linen):
    """Same weights, same calls, values at valid steps, and gradients."""
    theirs, ours = nn.RNN(linen(5)), RNN(make, 5)
    variables = jax.jit(theirs.init)(KEY, XS)
    like = jax.eval_shape(ours.init, KEY, XS)["params"]
    bias = jax.tree.map(lambda a: a + 0.1, variables["params"]["cell"])
    variables, params = {"params": {"cell": bias}}, {"params": from_flax([bias], like)}
    valid = jnp.arange(6)[None] < LENGTHS[:, None]
    some = jnp.array([6, 1, 2, 5])
    for options, lengths in (
        ({}, None),
        ({}, some),
        ({"reverse": True}, some),
        ({"reverse": True, "keep_order": True}, some),
    ):
        call = {"return_carry": True, "seq_lengths": lengths} | options
        expected_carry, expected = jax.jit(partial(theirs.apply, **call))(variables, XS)
        carry, found = jax.jit(partial(ours.apply, **call))(params, XS)
        mask = jnp.ones((4, 6), bool) if lengths is None else jnp.arange(6)[None] < lengths[:, None]
        np.testing.assert_allclose(found * mask[..., None], expected * mask[..., None], atol=1e-6)
        # Flax's LSTM carries (c, h)
        leaves = jax.tree.leaves(carry)
        leaves = leaves[::-1] if len(leaves) == 2 else leaves
        for a, b in zip(leaves, jax.tree.leaves(expected_carry), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    found = ours.apply(params, XS.swapaxes(0, 1), time_major=True)
    np.testing.assert_allclose(found, theirs.apply(variables, XS).swapaxes(0, 1), atol=1e-6)
    total = lambda model: jax.jit(jax.grad(lambda v, x: jnp.sum(model.apply(v, x) ** 3 * valid[..., None]), (0, 1)))  # noqa: E731
    (d_theirs, d_their_xs), (d_ours, d_our_xs) = total(theirs)(variables, XS), total(ours)(params, XS)
    np.testing.assert_allclose(d_our_xs, d_their_xs, atol=1e-5)
    expected = from_flax([d_theirs["params"]["cell"]], like)
    for name, gradient in d_ours["params"]["layer_0_forward"].items():
        np.testing.assert_allclose(gradient, expected["layer_0_forward"][name], atol=2e-5)


def test_carry_passed_on_continues_all_layers():
    model = RNN(gru, 5, num_layers=2, return_carry=True)
    variables = made(model)
    whole, ys = model.apply(variables, XS)
    half, first = model.apply(variables, XS[:, :3])
    end, second = model.apply(variables, XS[:, 3:], initial_carry=half)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), ys, atol=1e-6)
    for a, b in zip(jax.tree.leaves(end), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("both", [False, True])
def test_padding_and_the_future(both):
    model = RNN(gru, 5, num_layers=2, bidirectional=both)
    variables = made(model)
    valid = (jnp.arange(6)[None] < LENGTHS[:, None])[..., None]
    run = jax.jit(jax.value_and_grad(lambda v, x: jnp.sum(jnp.sin(model.apply(v, x, seq_lengths=LENGTHS))), (0, 1)))
    clean, broken = (run(variables, jnp.where(valid, XS, fill)) for fill in (0.0, jnp.nan))
    for a, b in zip(jax.tree.leaves(broken), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(a, b)
    if not both:
        slope = jax.jit(jax.grad(lambda x: model.apply(variables, x)[:, 2].sum()))(XS)
        assert np.all(np.asarray(slope[:, 3:]) == 0)
        assert np.all(np.abs(np.asarray(slope[:, :3])).max(-1) > 0)


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_belongs_to_the_example(variational):
    # a layer that passes its input on shows the mask itself
    identity = partial(elman, activation=lambda a: a, input_init=lambda key, shape: jnp.eye(*shape))
    identity = partial(identity, recurrent_init=lambda key, shape: jnp.zeros(shape))
    model = RNN(identity, 64, num_layers=2, dropout=0.25, variational=variational)
    xs = jnp.ones((4, 6, 64))
    variables = made(model, xs)
    index = jnp.array([10, 11, 12, 13])
    run = jax.jit(lambda x, i: model.apply(variables, x, key=jax.random.key(3), index=i))
    masks = run(xs, index)
    np.testing.assert_allclose(np.unique(masks), [0, 4 / 3], rtol=1e-6)
    assert abs(float((masks == 0).mean()) - 0.25) < (0.08 if variational else 0.04)
    np.testing.assert_array_equal(run(xs[2:], index[2:]), masks[2:])  # half the batch, as on another device
    assert np.any(masks[0] != masks[1])
    assert np.all(masks[:, :1] == masks) == variational
    other = model.apply(variables, xs, key=jax.random.key(4), index=index)
    assert np.any(other != masks)
    major = model.apply(variables, xs.swapaxes(0, 1), key=jax.random.key(3), index=index, time_major=True)
    np.testing.assert_array_equal(major.swapaxes(0, 1), masks)
    np.testing.assert_array_equal(model.apply(variables, xs), 1)  # no key, nothing dropped


def test_layers_drop_apart_and_the_last_not_at_all():
    identity = partial(elman, activation=lambda a: a, input_init=lambda key, shape: jnp.eye(*shape))
    identity = partial(identity, recurrent_init=lambda key, shape: jnp.zeros(shape))
    xs, index = jnp.ones((2, 6, 64)), jnp.arange(2)
    for num_layers, share in ((1, 0), (3, 0.75)):
        model = RNN(identity, 64, num_layers=num_layers, dropout=0.5)
        ys = model.apply(made(model, xs), xs, key=KEY, index=index)
        assert abs(float((ys == 0).mean()) - share) < 0.06


def test_cells_without_a_rule_are_unrolled():
    model = RNN(layer_norm_lstm, 5, bidirectional=True)
    assert np.all(np.isfinite(np.asarray(model.apply(made(model), XS, seq_lengths=LENGTHS))))
    plain = RNN(gru, 5, residuals=None)
    variables = made(plain)
    jax.jvp(lambda x: plain.apply(variables, x), (XS,), (XS,))


def test_refusals(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = RNN(gru, 5, num_layers=2, bidirectional=True, dropout=0.5)
    variables = made(model)
    h = jnp.zeros((4, 5))
    with pytest.raises(
        UsageError, match=r"initial_carry: found 1 layers with \[2\] directions, expected .* 2 layers of 2"
    ):
        model.apply(variables, XS, initial_carry=[(h, h)])
    with pytest.raises(UsageError, match=r"carry: found float32\[4, 4\], expected float32\[4, 5\]"):
        model.apply(variables, XS, initial_carry=[(h, h[:, 1:]), (h, h)])
    with pytest.raises(UsageError, match="index: found None"):
        model.apply(variables, XS, key=KEY)
    with pytest.raises(UsageError, match=r"initial_carry: found 0 layers .* 2 layers of 2"):
        model.apply(variables, XS, initial_carry=0)
    with pytest.raises(UsageError, match="lengths: found a list"):
        model.apply(variables, XS, seq_lengths=[1, 2, 3, 4])
    for options, message in (({"num_layers": 0}, "num_layers=0"), ({"dropout": 1.0}, r"dropout=1\.0")):
        with pytest.raises(UsageError, match=message):
            RNN(gru, 5, **options).init(KEY, XS)
    with pytest.raises(UsageError, match="cell: found one with init=None"):
        RNN(lambda size: Cell(None, None, gru(size).step), 5).init(KEY, XS)
    with pytest.raises(UsageError, match="reverse: found True, expected False with bidirectional"):
        model.apply(variables, XS, reverse=True)
