"""The VAE of sequences: loops over steps and SciPy's densities, padding, causality, terms, dropout, free running."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax
from scipy.stats import bernoulli, norm

from seqjax.errors import UsageError
from seqjax.models import sequence_latents
from seqjax.models.sequence import cell_function
from seqjax.models.sequence_vae import Decoder, SequenceVAE, StepLikelihood, shifted, with_readout_bias

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(3)
B, T, D, Z = 3, 5, 4, 2
LENGTHS = jnp.asarray([5, 2, 1])
INDEX = jnp.asarray([7, 2, 90])
SAMPLES = jnp.arange(2)
VALID = np.arange(T)[None, :] < np.asarray(LENGTHS)[:, None]
CELLS = {"bernoulli": "gru", "categorical": "lstm", "gaussian": "rnn"}
LAYERS = {"bernoulli": 1, "categorical": 1, "gaussian": 2}
KINDS = tuple(CELLS)
DRAWN = jax.random.split(jax.random.key(4))
XS = {
    "bernoulli": (jax.random.uniform(DRAWN[0], (B, T, D)) < 0.5).astype(jnp.float32),
    # each symbol is seen, and so has a weight that moves
    "categorical": jnp.asarray(np.add.outer(np.arange(B), np.arange(T)) % D),
    "gaussian": jax.random.normal(DRAWN[1], (B, T, D)),
}


@functools.cache
def made(kind, **options):
    """A model, and weights and biases all different from what they start as."""
    model = SequenceVAE(cell_function(CELLS[kind]), StepLikelihood(kind, D), 6, 5, Z, LAYERS[kind], **options)
    params = jax.jit(model.init)(KEY, XS[kind], LENGTHS, jnp.zeros((B, 1, Z)))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    moved = [p + 0.3 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return model, jax.tree.unflatten(structure, moved)


@functools.cache
def sampler(kind):
    return jax.jit(functools.partial(sequence_latents.posterior_draws, made(kind)[0]))


def draws_of(kind, params=None, x=None, lengths=LENGTHS, index=INDEX, samples=SAMPLES):
    batch = {"x": XS[kind] if x is None else x, "length": lengths, "index": index}
    return sampler(kind)(made(kind)[1] if params is None else params, batch, KEY, samples)


def log_density(kind, outputs, x):
    """log p of one step, by SciPy."""
    outputs, x = np.asarray(outputs, np.float64), np.asarray(x)
    match kind:
        case "bernoulli":
            return bernoulli.logpmf(x, expit(outputs)).sum()
        case "categorical":
            return log_softmax(outputs)[x]
    floor = np.log(0.01)
    return norm.logpdf(x, outputs[:D], np.exp(floor + np.logaddexp(0, outputs[D:] - floor))).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_each_draw_costs_what_a_loop_over_the_true_steps_and_scipy_say(kind):
    model, params = made(kind)
    draws, x = draws_of(kind), XS[kind]
    (z,), (posterior,) = draws.latents, draws.posteriors
    begin, advance = (jax.jit(functools.partial(model.apply, method=name)) for name in ("begin", "advance"))
    seen = model.steps.seen(x)
    for k in range(len(SAMPLES)):
        carry, outputs = begin(params, z[:, k])
        total = np.zeros(B)
        for t in range(T):
            total += [log_density(kind, outputs[b], x[b, t]) if VALID[b, t] else 0.0 for b in range(B)]
            carry, outputs = advance(params, carry, seen[:, t], z[:, k])
        np.testing.assert_allclose(draws.log_likelihood[:, k], total, rtol=1e-5, atol=1e-5)
    mean, stddev = np.asarray(posterior.mean, np.float64), np.exp(np.asarray(posterior.log_stddev, np.float64))
    np.testing.assert_allclose(draws.log_posterior, norm.logpdf(z, mean, stddev).sum(-1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(draws.log_prior, norm.logpdf(z).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(draws.kl[0], 0.5 * (mean**2 + stddev**2 - 1 - 2 * np.log(stddev)), rtol=1e-4, atol=1e-5)
    # what it is drawn from is read off the valid steps, in both directions
    turned = draws_of(kind, x=x[:, ::-1]).posteriors[0].mean
    assert np.abs(np.asarray(turned)[0, 0] - mean[0, 0]).max() > 1e-3


def spoilt(kind, value):
    """The sequences with that value in all of the padding."""
    valid = VALID if kind == "categorical" else VALID[..., None]
    return jnp.where(valid, XS[kind], value)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_neither_values_nor_gradients(kind):
    model, params = made(kind, dropout=0.3, input_dropout=0.2, frame_dropout=0.4)

    def loss(params, x):
        draws = sequence_latents.posterior_draws(
            model, params, {"x": x, "length": LENGTHS, "index": INDEX}, KEY, SAMPLES, dropout_key=KEY
        )
        return draws.log_weights.mean() - draws.kl_of_units.sum(), draws

    # symbols are whole numbers: no gradient goes to them
    gradient = jax.jit(jax.grad(loss, argnums=0 if kind == "categorical" else (0, 1), has_aux=True))
    expected = gradient(params, XS[kind])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    for value in (-(10**6), 10**6) if kind == "categorical" else (1e6, np.nan):
        jax.tree.map(np.testing.assert_array_equal, gradient(params, spoilt(kind, value)), expected)
    if kind != "categorical":
        np.testing.assert_array_equal(np.asarray(expected[0][1])[~VALID], 0)
        assert np.abs(expected[0][1]).max(axis=2)[VALID].min() > 0
    longer = jnp.pad(XS[kind], [(0, 0), (0, 3)] + [(0, 0)] * (XS[kind].ndim - 2), constant_values=1)
    for a, b in zip(jax.tree.leaves(draws_of(kind, x=longer)), jax.tree.leaves(draws_of(kind)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_no_gradient_from_the_future_given_the_latents():
    model, params = made("gaussian")
    z, full = jnp.ones((B, Z)), jnp.full(B, T)

    def said(x):
        return model.apply(params, x, z, full, method="outputs")[0].sum(axis=-1)

    slopes = np.abs(np.asarray(jax.jit(jax.jacrev(said))(XS["gaussian"]))[:, 0]).max(axis=-1)  # [T T]
    np.testing.assert_array_equal(slopes[np.triu_indices(T)], 0)
    assert slopes[np.tril_indices(T, -1)].min() > 0


def test_each_term_moves_the_weights_it_claims_and_no_others():
    params = made("categorical")[1]

    def gradient(term):
        return jax.grad(lambda p: term(draws_of("categorical", p)))(params)["params"]

    kl, reconstruction = jax.jit(
        lambda: (gradient(lambda draws: draws.kl_of_units.sum()), gradient(lambda draws: draws.log_likelihood.sum()))
    )()
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(kl["encoder"]))
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), kl["decoder"])
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(reconstruction))
    # the latents are read at each step, beside the symbols
    kernel = reconstruction["decoder"]["model"]["recurrence"]["layer_0_forward"]["input_kernel"]
    assert kernel.shape[0] == D + Z
    assert np.abs(kernel).max(axis=1).min() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_values_do_not_depend_on_order_or_the_number_of_draws(kind):
    together, order = draws_of(kind), np.asarray([2, 0, 1])
    turned = draws_of(kind, x=XS[kind][order], lengths=LENGTHS[order], index=INDEX[order])
    fewer = draws_of(kind, samples=SAMPLES[1:2])
    for whole, other, few in zip(*map(jax.tree.leaves, (together, turned, fewer)), strict=True):
        np.testing.assert_allclose(other, whole[order], rtol=1e-5, atol=1e-5)
        own = whole[:, 1:2] if whole.shape[1] == len(SAMPLES) else whole
        np.testing.assert_allclose(few, own, rtol=1e-5, atol=1e-5)


def test_whole_frames_are_blanked_example_by_example_and_in_training_alone():
    decoder = Decoder(cell_function("gru"), 6, 3, frame_dropout=0.5)
    before = jax.random.normal(KEY, (B, 40, D))
    params = jax.jit(decoder.init)(KEY, before)

    @jax.jit
    def said(before, index=INDEX, key=KEY):
        def cost(before):
            outputs = decoder.apply(params, before, key=key, index=index)[1]
            return jnp.square(outputs).sum(), outputs

        return jax.grad(cost, has_aux=True)(before)

    slopes, outputs = said(before)
    slopes = np.asarray(slopes)
    read = np.abs(slopes) > 0
    np.testing.assert_array_equal(read.all(axis=2), read.any(axis=2))
    assert 0.35 < read[:, :, 0].mean() < 0.65
    assert not np.array_equal(read[0], read[1])
    order = np.asarray([2, 0, 1])
    np.testing.assert_allclose(said(before[order], INDEX[order])[1], outputs[order], rtol=1e-5, atol=1e-6)
    assert (np.abs(said(before, None, None)[0]) > 0).all()

    blind, params = made("bernoulli", frame_dropout=1.0)
    z = jnp.ones((B, Z))
    outputs = [
        blind.apply(params, x, z, jnp.full(B, T), key=KEY, index=INDEX, method="outputs")
        for x in (XS["bernoulli"], 1 - XS["bernoulli"])
    ]
    np.testing.assert_array_equal(*outputs)
    assert np.abs(np.diff(outputs[0], axis=1)).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_running_freely_reads_what_it_has_drawn_itself(kind):
    model, params = made(kind)
    z = jax.random.normal(KEY, (B, Z))

    @jax.jit
    def read_anew(x, t, temperature):
        """The whole sequence so far, read as in training, and one more step of it."""
        outputs = model.apply(params, x, z, jnp.full(B, 4), method="outputs")[:, t]
        return x.at[:, t].set(model.steps.drawn(outputs, jax.random.fold_in(KEY, t), jnp.arange(B), temperature))

    for temperature in (0.0, 1.0):
        found = sequence_latents.generated(model, params, z, KEY, length=4, temperature=temperature)
        x = jnp.zeros((B, 4, *found.shape[2:]), found.dtype)
        for t in range(4):
            x = read_anew(x, t, temperature)
        np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(x, np.float64), rtol=1e-4, atol=1e-4)
        other = sequence_latents.generated(model, params, z, jax.random.key(9), length=4, temperature=temperature)
        assert np.array_equal(found, other) == (temperature == 0)
    assert found.dtype == {"bernoulli": bool, "categorical": np.int32, "gaussian": np.float32}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_drawn_with_the_probabilities_that_the_readout_says(kind):
    steps = StepLikelihood(kind, 3)
    outputs = jnp.asarray([-1.0, 0.5, 2.0, 0.3, -0.4, -8.0][: steps.output_size])
    many = jnp.broadcast_to(outputs, (20_000, steps.output_size))
    drawn = np.asarray(steps.drawn(many, KEY, jnp.arange(len(many)), 1.0))
    likely = np.asarray(steps.drawn(many[:1], KEY, jnp.arange(1), 0.0))[0]
    match kind:
        case "bernoulli":
            np.testing.assert_allclose(drawn.mean(axis=0), expit(outputs), atol=0.012)
            np.testing.assert_array_equal(likely, [False, True, True])
        case "categorical":
            shares = np.bincount(drawn, minlength=3) / len(drawn)
            np.testing.assert_allclose(shares, np.exp(log_softmax(outputs)), atol=0.012)
            assert likely == 2
        case "gaussian":
            # the last scale is at its floor
            np.testing.assert_allclose(drawn.mean(axis=0), outputs[:3], atol=0.04)
            np.testing.assert_allclose(drawn.std(axis=0), [np.exp(0.3), np.exp(-0.4), 0.01], rtol=0.04)
            np.testing.assert_array_equal(likely, outputs[:3])


def test_reconstructions_and_interpolations_are_drawn_given_the_codes():
    model, params = made("categorical")
    functions, x = sequence_latents.functions(model), XS["categorical"]
    codes = functions["encode"](params, x, LENGTHS)
    np.testing.assert_allclose(codes, draws_of("categorical").posteriors[0].mean[:, 0], rtol=1e-5, atol=1e-6)
    expected = functions["generate"](params, codes, KEY, length=T)
    np.testing.assert_array_equal(functions["reconstruct"](params, x, LENGTHS, KEY), expected)
    line = functions["interpolate"](params, x[:2], LENGTHS[:2], 3, KEY)
    middle = codes[:2].mean(axis=0)
    same = jnp.zeros(3, jnp.int32)
    along = jnp.stack([codes[0], middle, codes[1]])
    np.testing.assert_array_equal(line, functions["generate"](params, along, KEY, length=T, index=same))
    # the same code gives the same sequence, whatever its place, when the noise is the same
    again = functions["generate"](params, jnp.stack([middle] * 3), KEY, length=T, index=same)
    np.testing.assert_array_equal(again, jnp.stack([again[0]] * 3))
    assert functions["sample"](params, KEY, 3, T).shape == (3, T)


def test_without_latents_it_is_a_plain_model_that_starts_at_the_given_rates():
    decoder = Decoder(cell_function("gru"), 6, D)
    before = shifted(XS["bernoulli"])
    np.testing.assert_array_equal(before[:, 0], 0)
    np.testing.assert_array_equal(before[:, 1:], XS["bernoulli"][:, :-1])
    params = jax.jit(decoder.init)(KEY, before)
    bias = jnp.asarray([-3.0, -1.0, 0.0, 2.0])
    biased = with_readout_bias(params, bias, path=("params",))
    outputs, shifted_outputs = (decoder.apply(p, before)[1] for p in (params, biased))
    np.testing.assert_allclose(shifted_outputs, outputs + bias[None, None], rtol=1e-5, atol=1e-6)
    assert set(params["params"]) == {"model"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent_size": 0}, "latent_size=0"),
        ({"frame_dropout": 1.5}, "frame_dropout=1.5"),
        ({"dropout": 1.0}, "dropout=1"),
    ],
)
def test_models_that_cannot_be_are_told(options, words):
    sizes = {"hidden_size": 2, "encoder_size": 2, "latent_size": 2} | options
    with pytest.raises(UsageError, match=words):
        SequenceVAE(cell_function("gru"), StepLikelihood("gaussian", 1), **sizes)
