import jax
import jax.numpy as jnp
import linear_gaussian as known
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from seqjax import bounds
from seqjax.errors import UsageError
from seqjax.models.vae import standard_noise

SHIFT = np.asarray([0.5, -0.3])


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def epsilon(num_examples, num_samples, model, seed=0):
    index = jnp.arange(num_examples, dtype=jnp.int32)
    return standard_noise(jax.random.key(seed), index, jnp.arange(num_samples, dtype=jnp.int32), model.latent_sizes)


def cubature(num_examples):
    """Draws whose mean integrates every quadratic function of z exactly: 2 Z points on the axes."""
    points = np.sqrt(known.Z) * np.concatenate([np.eye(known.Z), -np.eye(known.Z)])
    return (jnp.broadcast_to(jnp.asarray(points)[None], (num_examples, 2 * known.Z, known.Z)),)


def elbo(params, x):
    draws = known.ONE.apply(params, jnp.asarray(x), cubature(len(x)))
    return bounds.evidence_lower_bound(draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1))


def test_the_bound_is_the_log_evidence_at_the_true_posterior_and_below_it_by_the_kl_when_shifted():
    x = known.sampled(20)
    np.testing.assert_allclose(elbo(known.one_layer(), x), known.log_evidence(x), atol=1e-9)
    posterior = known.one_layer()["params"]["q_0"]["log_stddev"]["bias"]
    gap = 0.5 * np.square(SHIFT / np.exp(posterior)).sum()
    assert gap > 0.1
    shifted = elbo(known.shifted(known.one_layer(), SHIFT), x)
    np.testing.assert_allclose(known.log_evidence(x) - shifted, gap, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "params", "variance"),
    [
        (known.ONE, known.one_layer(), 1.0),
        (known.TWO, known.two_layers(), known.A**2 + known.S**2),
    ],
)
def test_every_weight_is_the_evidence_at_the_true_posterior(model, params, variance):
    x = known.sampled(6)
    draws = model.apply(params, jnp.asarray(x), epsilon(6, 3, model))
    evidence = known.log_evidence(x, variance)
    np.testing.assert_allclose(draws.log_weights, np.repeat(evidence[:, None], 3, axis=1), atol=1e-9)
    np.testing.assert_allclose(bounds.importance_weighted_bound(draws.log_weights), evidence, atol=1e-9)
    shifted = model.apply(known.shifted(params, SHIFT), jnp.asarray(x), epsilon(6, 3, model))
    assert (shifted.log_weights.mean(axis=1) < evidence).all()


def test_the_importance_weighted_bound_rises_with_the_number_of_draws_to_the_evidence():
    x = known.sampled(400)
    draws = known.ONE.apply(known.shifted(known.one_layer(), SHIFT), jnp.asarray(x), epsilon(400, 1000, known.ONE))
    means = [float(bounds.importance_weighted_bound(draws.log_weights[:, :k]).mean()) for k in (1, 5, 50, 1000)]
    evidence = known.log_evidence(x).mean()
    assert means == sorted(means)
    assert means[0] < evidence - 0.1
    assert means[1] - means[0] > 0.05
    assert means[3] == pytest.approx(evidence, abs=1e-2)


def test_the_importance_weighted_bound_and_its_gradient_by_hand():
    log_weights = np.random.default_rng(0).normal(size=(3, 4)) * 5
    expected = logsumexp(log_weights, axis=1) - np.log(4)
    value, gradient = jax.value_and_grad(lambda w: bounds.importance_weighted_bound(w).sum())(jnp.asarray(log_weights))
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(gradient, softmax(log_weights, axis=1), rtol=1e-12)
    for extreme in (1e4, -1e4):
        assert np.isfinite(bounds.importance_weighted_bound(jnp.full((1, 3), extreme)))


def encoder_gradients(params, x, noise, *, doubly, scale=1.0):
    """The gradient of each example's bound to the posterior's own biases, and to the decoder's bias."""
    model = known.ONE

    def bound(biases, x, e):
        mean, log_stddev, decoder = biases
        weights = params["params"]
        heads = {"mean": mean, "log_stddev": log_stddev}
        q = {name: weights["q_0"][name] | {"bias": bias} for name, bias in heads.items()}
        own = {"params": {"p_0": {"mean": weights["p_0"]["mean"] | {"bias": decoder}}, "q_0": q}}
        draws = model.apply(own, x[None], (e[None],))
        if doubly:
            latents, slack = bounds.doubly_reparameterised(draws.latents, jnp.zeros(draws.log_likelihood.shape))
            log_q = model.apply(jax.lax.stop_gradient(own), x[None], latents, method="log_posterior")
            log_weights = model.apply(own, x[None], latents, method="log_joint") - log_q + slack
        else:
            log_weights = draws.log_weights
        return scale * bounds.importance_weighted_bound(log_weights)[0]

    q, p = params["params"]["q_0"], params["params"]["p_0"]
    biases = tuple(map(jnp.asarray, (q["mean"]["bias"], q["log_stddev"]["bias"], p["mean"]["bias"])))
    gradient = jax.jit(jax.vmap(jax.grad(bound), in_axes=(None, 0, 0)))
    return [np.asarray(g) for g in gradient(biases, jnp.asarray(x), noise)]


def test_the_doubly_reparameterised_gradient_is_the_papers_sum_draw_by_draw():
    params, x = known.shifted(known.one_layer(), SHIFT), known.sampled(4)
    (noise,) = epsilon(4, 6, known.ONE)
    q = params["params"]["q_0"]
    mean, stddev = x @ q["mean"]["kernel"] + q["mean"]["bias"], np.exp(q["log_stddev"]["bias"])
    z = mean[:, None] + stddev * np.asarray(noise)
    slope_joint = -z + (x[:, None] - z @ known.W.T - known.B) @ known.W / known.STDDEV**2
    slope = slope_joint + (z - mean[:, None]) / stddev**2  # of log p(x, z) - log q(z | x) to z, q held still
    draws = known.ONE.apply(params, jnp.asarray(x), (noise,))
    shares = softmax(np.asarray(draws.log_weights), axis=1)
    expected_mean = (np.square(shares)[..., None] * slope).sum(axis=1)
    expected_log_stddev = (np.square(shares)[..., None] * slope * stddev * np.asarray(noise)).sum(axis=1)
    for scale in (1.0, 0.01):
        found = encoder_gradients(params, x, noise, doubly=True, scale=scale)
        np.testing.assert_allclose(found[0], scale * expected_mean, rtol=1e-9)
        np.testing.assert_allclose(found[1], scale * expected_log_stddev, rtol=1e-9)
    plain = encoder_gradients(params, x, noise, doubly=False)
    np.testing.assert_allclose(found[2], 0.01 * plain[2], rtol=1e-9)
    assert (found[0] != 0).all()


def test_both_gradients_have_the_same_expectation_and_the_doubly_reparameterised_less_variance():
    params = known.shifted(known.one_layer(), SHIFT)
    count, num_samples = 20_000, 20
    x = np.repeat(known.sampled(1), count, axis=0)
    (noise,) = epsilon(count, num_samples, known.ONE)
    double = encoder_gradients(params, x, noise, doubly=True)
    plain = encoder_gradients(params, x, noise, doubly=False)
    for d, p in zip(double[:2], plain[:2], strict=True):
        # the same draws, so that the noise of both estimates cancels in part
        difference = d - p
        standard_error = difference.std(axis=0) / np.sqrt(count)
        assert (np.abs(difference.mean(axis=0)) < 4 * standard_error).all()
        assert (standard_error < 0.03 * np.linalg.norm(p.mean(axis=0))).all()
        assert (d.var(axis=0) < 0.5 * p.var(axis=0)).all()


def test_no_gradient_comes_back_from_an_example_that_does_not_count():
    def total(latents):
        latents, slack = bounds.doubly_reparameterised(latents, jnp.zeros((2, 3)))
        return (jnp.asarray([1.0, 0.0]) * bounds.importance_weighted_bound(latents.sum(axis=2) + slack)).sum()

    gradient = jax.grad(total)(jnp.ones((2, 3, 2)))
    np.testing.assert_allclose(gradient[0], 1 / 9)
    np.testing.assert_array_equal(gradient[1], 0)


def test_free_bits_by_hand():
    kl = jnp.asarray([[0.1, 2.0], [0.5, 0.4]])
    np.testing.assert_allclose(bounds.free_bits(kl, nats=0.3), [2.3, 0.9])
    # the means are 0.3 and 1.2
    np.testing.assert_allclose(bounds.free_bits(kl, nats=0.4, over="batch"), [2.4, 0.8])
    np.testing.assert_allclose(bounds.free_bits(kl, nats=0.0), kl.sum(axis=1))
    for over, expected in (("example", [[0, 1], [1, 1]]), ("batch", [[0, 1], [0, 1]])):
        gradient = jax.grad(lambda k, over=over: bounds.free_bits(k, nats=0.4 - 1e-9, over=over).sum())(kl)
        np.testing.assert_array_equal(gradient, expected)
    with pytest.raises(UsageError, match="free_bits=-1"):
        bounds.free_bits(kl, nats=-1.0)


def test_free_bits_over_a_batch_that_devices_share_need_its_axis():
    kl = jax.random.uniform(jax.random.key(0), (8, 3), jnp.float32)
    shares = kl.reshape(8, 1, 3)
    together = bounds.free_bits(kl, nats=0.5, over="batch")
    shared = jax.pmap(lambda k: bounds.free_bits(k, nats=0.5, over="batch", axis_name="i"), "i")(shares)
    np.testing.assert_allclose(shared.reshape(-1), together, rtol=1e-6)
    apart = jax.pmap(lambda k: bounds.free_bits(k, nats=0.5), "i")(shares)
    np.testing.assert_allclose(apart.reshape(-1), bounds.free_bits(kl, nats=0.5), rtol=1e-6)


def test_beta_weighs_the_divergence():
    np.testing.assert_allclose(bounds.evidence_lower_bound(jnp.asarray([-3.0]), jnp.asarray([2.0]), beta=4.0), [-11.0])
