"""Exported functions against the library, whole and step by step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_examples import drawn, shaken

from seqjax.errors import UsageError
from seqjax.interop.export import exported, named_weights, streaming
from seqjax.models.autoencoder import Autoencoder
from seqjax.models.gan import Generator
from seqjax.models.recurrent import RNN
from seqjax.models.sequence import SequenceModel
from seqjax.models.vae import VAE
from seqjax.recurrent import elman, gru, layer_norm_lstm, lstm, unroll

ROWS, OTHER_ROWS, STEPS, OTHER_STEPS = 3, 5, 7, 4
SEQUENCE = "B, T, ..."


def autoencoder():
    model = Autoencoder((6, 5, 2), "elu")
    return model.apply, jax.jit(model.init)(jax.random.key(0), drawn(1, 6)), {"x": drawn(OTHER_ROWS, 6)}, {}


def next_step(cell=lstm, layers=2):
    model = SequenceModel(cell, 4, 5, layers)
    xs = drawn(OTHER_ROWS, STEPS, 3)
    return model.apply, jax.jit(model.init)(jax.random.key(0), xs), {"x": xs}, {"x": SEQUENCE}


def padded():
    apply, params, inputs, axes = next_step()
    lengths = jnp.asarray([4, 0, 1, 3, 2], jnp.int32)
    return lambda p, x, n: apply(p, x, lengths=n), params, inputs | {"lengths": lengths}, axes


def variational(method, *shape):
    model = VAE(6, ((5,), (4,)), (3, 2))
    epsilon = (jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 2)))
    params = jax.jit(model.init)(jax.random.key(0), drawn(1, 6), epsilon)
    return functools.partial(model.apply, method=method, layer=1), params, {"x": drawn(OTHER_ROWS, *shape)}, {}


def generator():
    model = Generator((5, 6), output="sigmoid", batch_norm=True)
    return model.apply, jax.jit(model.init)(jax.random.key(0), drawn(1, 3)), {"z": drawn(OTHER_ROWS, 3)}, {}


CASES = {
    "autoencoder": autoencoder,
    "lstm": next_step,
    "lstm with lengths": padded,
    "vae encodes": lambda: variational("encode", 6),
    "vae decodes": lambda: variational("decode", 2),
    "generator": generator,
}


@pytest.mark.parametrize("case", CASES)
def test_a_program_says_what_the_library_says(case):
    function, params, inputs, axes = CASES[case]()
    params = shaken(params)
    program = exported(function, params, inputs, axes)
    assert program.exported.platforms == ("cpu", "cuda", "tpu")
    again = jax.export.deserialize(program.exported.serialize())
    for rows, steps in ((ROWS, STEPS), (OTHER_ROWS, OTHER_STEPS)):
        given = {name: value[:rows, :steps] if axes.get(name) else value[:rows] for name, value in inputs.items()}
        said = again.call(named_weights(params), *given.values())
        expected = jax.jit(function)(params, *given.values())
        for found, wanted in zip(jax.tree.leaves(said), jax.tree.leaves(expected), strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
        assert np.std(jax.tree.leaves(said)[0]) > 0.01


@pytest.mark.parametrize("cell", [gru, functools.partial(lstm, learned_carry=True), layer_norm_lstm])
def test_steps_say_what_the_whole_sequence_says(cell):
    function, params, inputs, _ = next_step(cell)
    params, xs = shaken(params), inputs["x"]
    # compiled before with these very shapes: what was kept of it must not be what is exported
    function = jax.jit(function)
    function(params, xs[:, :1])
    start, step = streaming(function)
    carry = jax.eval_shape(start, params, xs[:, 0])
    weights = named_weights(params)
    started = exported(start, params, {"x": xs[:, 0]}).exported
    stepped = exported(step, params, {"carry": carry, "x": xs[:, 0]}).exported
    whole = function(params, xs)
    step_on = jax.jit(stepped.call)
    for rows in (ROWS, OTHER_ROWS):
        carry = started.call(weights, xs[:rows, 0])
        for t in range(STEPS):
            carry, y = step_on(weights, carry, xs[:rows, t])
            np.testing.assert_allclose(y, whole[:rows, t], rtol=0, atol=1e-6)


def test_eleven_layers_keep_their_order():
    model, xs = RNN(elman, 2, num_layers=11), drawn(2, 2, 2)
    params = shaken(model.init(jax.random.key(0), xs))
    start, step = streaming(model.apply)
    carry, _ = step(params, start(params, xs[:, 0]), xs[:, 0])
    _, y = step(params, jax.tree.map(jnp.asarray, carry), xs[:, 1])  # names sorted, as whatever JAX returns has them
    np.testing.assert_allclose(y, model.apply(params, xs)[:, 1], rtol=0, atol=1e-6)


def test_what_is_no_recurrence_forward_is_not_streamed():
    xs = drawn(2, 3, 4)
    both = RNN(lstm, 4, bidirectional=True)
    with pytest.raises(UsageError, match="runs backward"):
        streaming(both.apply).start(both.init(jax.random.key(0), xs), xs[:, 0])
    with pytest.raises(UsageError, match="found 0 recurrences"):
        streaming(lambda params, xs: xs).start({}, xs[:, 0])


def test_an_unrolled_step_of_ones_own_is_exported():
    def leaky_sum(params, carry, x):
        carry = params["kept"] * carry + x
        return carry, carry

    def sums(params, xs):
        return unroll(leaky_sum, params, xs, jnp.zeros_like(xs[:, 0]))[1]

    xs, params = drawn(OTHER_ROWS, STEPS, 2), {"kept": jnp.asarray(0.5)}
    program = exported(sums, params, {"x": xs}, {"x": SEQUENCE})
    np.testing.assert_allclose(program.exported.call(params, xs[:2, :4]), sums(params, xs[:2, :4]), rtol=0, atol=1e-6)


def test_what_cannot_be_traced_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"^cannot be exported for x float32\[B,T\]: [^\n]*$"):
        exported(lambda params, x: x @ params, jnp.ones((3, 2)), {"x": jnp.ones((2, 3))}, {"x": "B, T"})
    for untraced in (lambda params, x: jnp.asarray(np.asarray(x)), lambda params, x: x if x[0, 0] > 0 else -x):
        with pytest.raises(UsageError, match=r": it has steps that cannot be traced, in NumPy or plain Python$"):
            exported(untraced, jnp.ones(1), {"x": jnp.ones((2, 3))})
    with pytest.raises(UsageError, match="'a' twice"):
        named_weights({"a": jnp.ones(1), "params": {"a": jnp.ones(1)}})
    wrong = (
        ({"X": "B, T"}, r"found names \['x', 'X'\]"),
        *(({"x": axes}, "for float32") for axes in ("B", "B, T, D", "(B")),
    )
    for axes, why in wrong:
        with pytest.raises(UsageError, match=why):
            exported(lambda params, x: x, jnp.ones(1), {"x": jnp.ones((2, 3))}, axes)
