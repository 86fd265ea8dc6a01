import functools

import jax
import jax.numpy as jnp
import linear_gaussian as known
import numpy as np
import pytest
from scipy.special import logsumexp

from seqjax.errors import UsageError
from seqjax.evaluate import likelihood
from seqjax.evaluate.likelihood import importance_log_likelihood
from seqjax.models.latent_space import posterior_draws
from seqjax.types import Split

KEY = jax.random.key(5)
X = known.sampled(7)
SPLIT = Split({"x": X})
SAMPLER = functools.partial(posterior_draws, known.ONE)
with jax.enable_x64(True):
    EXACT = jax.tree.map(jnp.asarray, known.one_layer())
    SHIFTED = jax.tree.map(jnp.asarray, known.shifted(known.one_layer(), np.asarray([0.6, -0.4])))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def numpy_log_weights(params, num_samples):
    """log p(x, z) - log q(z | x) of the same standard normal numbers, with every density written out in NumPy."""
    batch = {"x": jnp.asarray(X), "index": jnp.arange(len(X))}
    z = np.asarray(SAMPLER(params, batch, KEY, jnp.arange(num_samples)).latents[0])
    q = jax.tree.map(np.asarray, params["params"]["q_0"])
    mean, log_stddev = X @ q["mean"]["kernel"] + q["mean"]["bias"], q["log_stddev"]["bias"]
    constant = 0.5 * np.log(2 * np.pi)
    log_q = (-0.5 * np.square((z - mean[:, None]) / np.exp(log_stddev)) - log_stddev - constant).sum(axis=-1)
    log_prior = (-0.5 * np.square(z) - constant).sum(axis=-1)
    residual = (X[:, None] - z @ known.W.T - known.B) / known.STDDEV
    log_x = (-0.5 * np.square(residual) - np.log(known.STDDEV) - constant).sum(axis=-1)
    return log_x + log_prior - log_q


def numpy_estimate(params, num_samples):
    return logsumexp(numpy_log_weights(params, num_samples), axis=1) - np.log(num_samples)


def test_at_the_true_posterior_it_is_the_closed_form():
    found = importance_log_likelihood(SAMPLER, EXACT, SPLIT, KEY, num_samples=3)
    np.testing.assert_allclose(found, known.log_evidence(X), atol=1e-6)


def test_elsewhere_it_is_what_numpy_makes_of_the_same_draws_and_near_the_closed_form():
    found = importance_log_likelihood(SAMPLER, SHIFTED, SPLIT, KEY, num_samples=2050)
    np.testing.assert_allclose(found, numpy_estimate(SHIFTED, 2050), atol=1e-6)
    log_weights = numpy_log_weights(SHIFTED, 2050)
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    standard_error = weights.std(axis=1) / weights.mean(axis=1) / np.sqrt(2050)
    assert standard_error.max() < 0.1
    assert (np.abs(found - known.log_evidence(X)) < 4 * standard_error).all()
    assert found.mean() < known.log_evidence(X).mean() + 0.01


@pytest.mark.parametrize("num_samples", [1, 130, 200])
def test_chunks_of_examples_and_draws_do_not_matter(num_samples):
    expected = numpy_estimate(SHIFTED, num_samples)
    for draws_at_once in (1, 300, 10_000):
        found = importance_log_likelihood(
            SAMPLER, SHIFTED, SPLIT, KEY, num_samples=num_samples, draws_at_once=draws_at_once
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_part_of_the_split_in_its_own_order_has_its_own_values_when_the_rows_keep_their_numbers():
    order = np.asarray([4, 0, 6])
    sampler = lambda p, b, k, s: SAMPLER(p, b | {"index": b["row"]}, k, s)  # noqa: E731
    part = Split({"x": X[order], "row": order.astype(np.int32)})
    found = importance_log_likelihood(sampler, SHIFTED, part, KEY, num_samples=50)
    np.testing.assert_allclose(found, numpy_estimate(SHIFTED, 50)[order], atol=1e-6)


def test_the_second_seed_compiles_nothing():
    with jax.enable_x64(False):
        first, second = (jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), m) for m in (EXACT, SHIFTED))
        split = Split({"x": X.astype(np.float32)})
        importance_log_likelihood(SAMPLER, first, split, KEY, num_samples=130)
        with jax.no_tracing():
            importance_log_likelihood(SAMPLER, second, split, KEY, num_samples=130)


def test_weights_of_any_size_are_summed_without_overflow():
    far = Split({"x": X + 300.0})
    found = importance_log_likelihood(SAMPLER, EXACT, far, KEY, num_samples=3)
    np.testing.assert_allclose(found, known.log_evidence(X + 300.0), rtol=1e-6)
    assert (found < -1e4).all()


def test_measures_by_hand():
    found = likelihood.likelihood_measures("row", np.asarray([-1.0, -2.0, -6.0]), 3)
    assert found["row/nll"] == pytest.approx(3.0)
    assert found["row/nll_half_width"] == pytest.approx(1.96 * np.sqrt(7.0) / np.sqrt(3))
    assert found["row/bits_per_dim"] == pytest.approx(1 / np.log(2))
    assert likelihood.half_width(np.asarray([3.0])) == 0.0
    with pytest.raises(UsageError, match="importance_samples=0"):
        importance_log_likelihood(SAMPLER, SHIFTED, SPLIT, KEY, num_samples=0)
