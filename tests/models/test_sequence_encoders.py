"""Encoders of sequences: NumPy and loops as the reference, padding and masks, order, terms, and a future told apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import UsageError
from seqjax.models import sequence_encoders
from seqjax.models.sequence import cell_function
from seqjax.models.sequence_autoencoder import SequenceAutoencoder, errors_from_codes, observed, told_from_codes
from seqjax.models.sequence_vae import SequenceVAE, StepLikelihood
from seqjax.models.vae import VAE

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(3)
B, T, D, Z = 3, 5, 2, 2
LENGTHS = jnp.asarray([5, 3, 1])
X = jax.random.normal(KEY, (B, T, D))
MASK = jnp.ones((B, T, D), bool).at[0, 1, 0].set(False).at[1, 0].set(False)
COUNTS = np.asarray(observed(X, LENGTHS, MASK))
GRU = cell_function("gru")
RECURRENT = functools.partial(sequence_encoders.recurrent_autoencoder, GRU, 4, Z)
ENCODERS = {
    "latent": RECURRENT(future_weight=0.5, horizon=2, pooling="mean"),
    "truth": sequence_encoders.recurrent_autoencoder(
        cell_function("lstm"), 4, Z, num_layers=2, order="reversed", reading="truth"
    ),
    "output": RECURRENT(bidirectional=False, order="reversed", reading="output", horizon=1),
    "mlp": sequence_encoders.mlp_autoencoder((5,), Z),
    "vae": sequence_encoders.vae((5,), Z),
    "sequence_vae": sequence_encoders.sequence_vae(GRU, 4, Z, frame_dropout=0.3),
    "next_step": sequence_encoders.next_step(GRU, 4, dropout=0.2),
}


def batch_of(x=X, order=None):
    batch = {"x": x, "length": LENGTHS, "mask": MASK, "index": jnp.asarray([7, 2, 90])}
    return batch if order is None else {name: field[order] for name, field in batch.items()}


def moved(params):
    """Weights and biases all different from what they start as."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    return jax.tree.unflatten(
        structure, [p + 0.3 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    )


@functools.cache
def made(name):
    """Weights, and a jitted function of a batch: gradients to weights and x, losses, terms, and what is told."""
    encoder = ENCODERS[name]

    def cost(params, x, batch):
        values, terms = encoder.loss(params, batch | {"x": x}, KEY)
        code = encoder.encode(params, batch | {"x": x})
        told = encoder.predict or encoder.reconstruct
        return values.sum() + code.sum(), (values, terms, code, told(params, batch | {"x": x}))

    gradient = jax.value_and_grad(cost, argnums=(0, 1), has_aux=True)
    params = moved(jax.jit(encoder.init)(KEY, batch_of()))
    return params, jax.jit(lambda params, batch: gradient(params, batch["x"], batch))


@pytest.mark.parametrize("name", ENCODERS)
def test_neither_padding_nor_missing_values_nor_order_matter(name):
    params, run = made(name)
    expected = run(params, batch_of())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    for value in (1e6, np.nan):
        spoilt = run(params, batch_of(jnp.where(COUNTS, X, value)))
        jax.tree.map(np.testing.assert_array_equal, spoilt, expected)
    (_, (values, terms, code, told)), (weights, x) = expected
    np.testing.assert_array_equal(np.asarray(x)[~COUNTS], 0)
    assert np.abs(np.asarray(x)[COUNTS]).min() > 0
    # a weight that no gradient reaches would never be learned
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(weights))
    np.testing.assert_array_equal(np.asarray(told)[np.arange(T)[None] >= np.asarray(LENGTHS)[:, None]], 0)
    order = np.asarray([2, 0, 1])
    (_, turned), _ = run(params, batch_of(order=order))
    for a, b in zip(jax.tree.leaves(turned), jax.tree.leaves((values, terms, code, told)), strict=True):
        np.testing.assert_allclose(a, np.asarray(b)[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["latent", "truth", "output", "sequence_vae", "next_step"])
def test_more_padding_changes_nothing(name):
    """Of what reads steps one after another, without dropout, whose masks have the shape of the batch."""
    without = {
        "sequence_vae": sequence_encoders.sequence_vae(GRU, 4, Z),
        "next_step": sequence_encoders.next_step(GRU, 4),
    }
    encoder = without.get(name, ENCODERS[name])
    params = moved(jax.jit(encoder.init)(KEY, batch_of()))
    filling = ((0, 0), (0, 4), (0, 0))
    longer = batch_of(jnp.pad(X, filling, constant_values=1e6)) | {"mask": jnp.pad(MASK, filling, constant_values=True)}
    run = jax.jit(lambda batch: (encoder.loss(params, batch, KEY), encoder.encode(params, batch)))
    for a, b in zip(jax.tree.leaves(run(longer)), jax.tree.leaves(run(batch_of())), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["output", "mlp", "next_step"])
def test_the_loss_is_the_squared_error_of_what_is_told_over_the_values_that_count(name):
    encoder = ENCODERS[name]
    if name == "output":
        encoder = RECURRENT(bidirectional=False, order="reversed", reading="output")
    elif name == "next_step":
        encoder = sequence_encoders.next_step(GRU, 4)
    params = moved(jax.jit(encoder.init)(KEY, batch_of()))
    values = jax.jit(encoder.loss)(params, batch_of(), KEY)[0]
    told = np.asarray(jax.jit(encoder.predict or encoder.reconstruct)(params, batch_of()), np.float64)
    x, counts = np.asarray(X, np.float64), COUNTS
    if name == "next_step":
        told, x, counts = told[:, :-1], x[:, 1:], counts[:, 1:]
    expected = [np.square(t - s)[c].sum() for t, s, c in zip(told, x, counts, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["vae", "sequence_vae"])
def test_the_likelihood_of_all_values_is_that_under_a_mask_and_under_its_complement(name):
    # by the model itself: the encoders put 0 in place of what is not observed, for a likelihood as for a posterior
    if name == "vae":
        model = VAE(D, ((5,),), (Z,), likelihood="gaussian")
        x, rest, mask = X[:, 0], (), MASK[:, 1]
    else:
        model = SequenceVAE(GRU, StepLikelihood("gaussian", D), 4, 4, Z)
        x, rest, mask = X, (LENGTHS,), MASK
    epsilon = jax.random.normal(KEY, (B, 1, Z))
    epsilon = (epsilon,) if name == "vae" else epsilon
    params = moved(jax.jit(model.init)(KEY, x, *rest, epsilon))
    run = jax.jit(lambda mask: model.apply(params, x, *rest, epsilon, mask=mask).log_likelihood)
    whole, some, others = run(jnp.ones_like(mask)), run(mask), run(~mask)
    np.testing.assert_allclose(some + others, whole, rtol=1e-5, atol=1e-5)
    assert np.abs(np.asarray(others)[~np.asarray(mask.all(axis=tuple(range(1, mask.ndim))))]).min() > 0


def autoencoder(**options):
    model = SequenceAutoencoder(GRU, D, 4, 3, Z, **options)
    return model, moved(jax.jit(model.init)(KEY, X, LENGTHS))


def test_free_running_reads_its_own_outputs_and_the_teacher_the_true_ones():
    told, params = autoencoder(reading="truth")
    code = jnp.ones((1, Z))
    full = jnp.asarray([T])
    free = told.apply(params, code, full, T, method="decode")
    # the fixed point of teacher forcing: fed what it says, it says the same
    model = SequenceAutoencoder(GRU, D, 4, 3, Z, reading="truth")
    forced = model.apply(params, code, full, free, method="_decoded")
    np.testing.assert_allclose(forced, free, rtol=1e-5, atol=1e-6)
    other = model.apply(params, code, full, free.at[:, 1].add(1.0), method="_decoded")
    np.testing.assert_allclose(other[:, :2], free[:, :2], rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(other - free)[:, 2:]).min() > 0


def test_reversed_tells_the_last_step_first_within_each_length():
    forward, params = autoencoder()
    backward = SequenceAutoencoder(GRU, D, 4, 3, Z, order="reversed")
    code = jax.random.normal(KEY, (B, Z))
    one, other = (np.asarray(m.apply(params, code, LENGTHS, T, method="decode")) for m in (forward, backward))
    for row, length in enumerate(np.asarray(LENGTHS)):
        np.testing.assert_allclose(other[row, :length], one[row, :length][::-1], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(other[row, length:], 0)


def test_the_future_is_the_last_steps_which_the_encoder_does_not_see():
    model, params = autoencoder(horizon=2)
    targets = model.apply(params, X, LENGTHS, None, method="targets")
    np.testing.assert_array_equal(targets.seen, [3, 1, 1])
    np.testing.assert_array_equal(targets.future[0], X[0, 3:])
    np.testing.assert_array_equal(targets.future[1], X[1, 1:3])
    # too short to have a future
    np.testing.assert_array_equal(targets.future_counts[2], False)
    changed = model.apply(params, X.at[0, 3:].add(1.0), LENGTHS)
    expected = model.apply(params, X, LENGTHS)
    np.testing.assert_array_equal(changed.code, expected.code)
    told = model.apply(params, expected.code, method="continue_from")
    np.testing.assert_allclose(told[:2], expected.future[:2], rtol=1e-5, atol=1e-6)


def test_what_is_told_from_codes_alone_reads_no_truth_but_by_the_code():
    model, params = autoencoder(reading="truth", horizon=2)
    told, errors = jax.jit(lambda b: (told_from_codes(model, params, b), errors_from_codes(model, params, b)))(
        batch_of()
    )
    x = np.where(COUNTS, X, 0)
    code = model.apply(params, X, LENGTHS, MASK, method="encode")
    np.testing.assert_allclose(told.code, code, rtol=1e-5, atol=1e-6)
    free = np.asarray(model.apply(params, code, LENGTHS, T, method="decode"), np.float64)
    np.testing.assert_allclose(told.reconstruction, free, rtol=1e-5, atol=1e-6)
    squares = np.where(COUNTS, np.square(free - x), 0).sum(axis=(1, 2))
    np.testing.assert_allclose(errors["reconstruction"], squares, rtol=1e-4)
    # the code of the first row's first three steps knows nothing of the last two, which it is to tell
    past = model.apply(params, X[:1, :3], jnp.asarray([3]), MASK[:1, :3], method="encode")
    future = model.apply(params, past, method="continue_from")
    np.testing.assert_allclose(told.future[:1], future, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(errors["future"][0], np.square(future[0] - x[0, 3:]).sum(), rtol=1e-4)
    # and of a sequence that is too short nothing is told, nor charged
    np.testing.assert_array_equal(told.future[2], 0)
    assert errors["future"][2] == 0


@pytest.mark.parametrize("options", [{"latent_size": 0}, {"num_layers": 0}, {"horizon": -1}])
def test_models_that_cannot_be_are_told(options):
    sizes = {"num_values": 1, "hidden_size": 2, "encoder_size": 2, "latent_size": 2} | options
    ((name, value),) = options.items()
    with pytest.raises(UsageError, match=f"{name}={value}"):
        SequenceAutoencoder(GRU, **sizes)


@pytest.mark.parametrize("last", [False, True])
def test_errors_are_of_the_values_that_count_and_were_told(last):
    said = jax.random.normal(jax.random.key(8), (B, T, D))
    fixed = sequence_encoders.SequenceEncoder(None, None, None, lambda *_: said, lambda *_: said)
    batch = batch_of(jnp.where(COUNTS, X, jnp.nan))
    told, number = sequence_encoders.told_errors(fixed, {}, batch)
    predicted, asked = sequence_encoders.predicted_errors(fixed, {}, batch, last=last)
    for n, length in enumerate(LENGTHS.tolist()):
        own = [(t, d) for t, d in np.ndindex(T, D) if COUNTS[n, t, d]]
        assert number[n] == len(own)
        np.testing.assert_allclose(told[n], sum((said[n, t, d] - X[n, t, d]) ** 2 for t, d in own), rtol=1e-5)
        later = [(t, d) for t, d in own if t > 0 and (t == length - 1 or not last)]
        assert asked[n] == len(later)
        expected = sum((said[n, t - 1, d] - X[n, t, d]) ** 2 for t, d in later)
        np.testing.assert_allclose(predicted[n], expected, rtol=1e-5)
