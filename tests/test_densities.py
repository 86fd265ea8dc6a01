import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from seqjax import densities

RNG = np.random.default_rng(0)
X, MEAN, LOG_STDDEV, OTHER_MEAN, OTHER_LOG_STDDEV = (RNG.normal(size=(3, 4, 2)) for _ in range(5))


def in_float64(function, *arrays):
    with jax.enable_x64(True):
        return np.asarray(function(*map(jnp.asarray, arrays)))


def test_log_density_is_that_of_scipy():
    expected = norm.logpdf(X, MEAN, np.exp(LOG_STDDEV)).sum(axis=(1, 2))
    np.testing.assert_allclose(in_float64(densities.gaussian_log_density, X, MEAN, LOG_STDDEV), expected, rtol=1e-12)
    loss = in_float64(
        lambda m, x, s: densities.gaussian_negative_log_likelihood(m, x, log_stddev=s), MEAN, X, LOG_STDDEV
    )
    np.testing.assert_allclose(loss, -expected, rtol=1e-12)


def test_kl_is_the_mean_of_the_log_ratio_by_quadrature():
    # Gauss-Hermite with five nodes integrates the quadratic log-ratio exactly
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    z = MEAN[..., None] + np.exp(LOG_STDDEV)[..., None] * nodes
    ratio = norm.logpdf(z, MEAN[..., None], np.exp(LOG_STDDEV)[..., None]) - norm.logpdf(
        z, OTHER_MEAN[..., None], np.exp(OTHER_LOG_STDDEV)[..., None]
    )
    expected = (ratio @ weights / weights.sum()).sum(axis=(1, 2))
    found = in_float64(densities.gaussian_kl, MEAN, LOG_STDDEV, OTHER_MEAN, OTHER_LOG_STDDEV)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    standard = in_float64(densities.gaussian_kl, MEAN, LOG_STDDEV, np.zeros_like(MEAN), np.zeros_like(MEAN))
    np.testing.assert_allclose(in_float64(densities.kl_to_standard_normal, MEAN, LOG_STDDEV), standard, rtol=1e-12)


@pytest.mark.parametrize("log_stddev", [0.0, 1e-4, -1e-4, 0.02, -0.03, 0.5, -20.0, 20.0])
def test_kl_of_nearly_equal_and_of_far_scales_in_float32(log_stddev):
    found = float(densities.gaussian_kl_of_values(jnp.zeros(()), jnp.float32(log_stddev)))
    exact = 0.5 * (np.expm1(2 * np.longdouble(np.float32(log_stddev))) - 2 * np.longdouble(np.float32(log_stddev)))
    assert found == pytest.approx(float(exact), rel=2e-6, abs=0)
    gradient = jax.grad(lambda s: densities.gaussian_kl_of_values(jnp.zeros(()), s))(jnp.float32(log_stddev))
    assert float(gradient) == pytest.approx(float(np.expm1(2 * np.longdouble(log_stddev))), rel=1e-4, abs=0)


@pytest.mark.parametrize("rubbish", [1e6, np.nan, np.inf])
def test_masked_values_do_not_matter(rubbish):
    mask = jnp.asarray([[True, True, False, False], [True, False, True, False], [False, False, False, True]])
    arrays = [jnp.asarray(a, jnp.float32) for a in (X, MEAN, LOG_STDDEV, OTHER_MEAN, OTHER_LOG_STDDEV)]
    filled = [jnp.where(mask[..., None], a, rubbish) for a in arrays]
    functions = {
        "log_density": (lambda x, m, s, *_: densities.gaussian_log_density(x, m, s, mask=mask)),
        "kl": (lambda _, m, s, om, os: densities.gaussian_kl(m, s, om, os, mask=mask)),
        "standard": (lambda _, m, s, *__: densities.kl_to_standard_normal(m, s, mask=mask)),
    }
    for name, function in functions.items():
        value, gradient = jax.value_and_grad(lambda args, f=function: f(*args).sum())(arrays)
        value_filled, gradient_filled = jax.value_and_grad(lambda args, f=function: f(*args).sum())(filled)
        assert value == value_filled, name
        for a, b in zip(gradient, gradient_filled, strict=True):
            np.testing.assert_array_equal(a, b, name)
        assert np.isfinite(value)
    by_hand = (norm.logpdf(X, MEAN, np.exp(LOG_STDDEV)).sum(axis=2) * np.asarray(mask)).sum(axis=1)
    np.testing.assert_allclose(functions["log_density"](*arrays), by_hand, rtol=1e-5)


def test_a_floored_scale_stays_above_and_keeps_its_gradient():
    raw = jnp.asarray([-1e4, -10.0, -3.0, 0.0, 3.0])
    floored = densities.floored(raw, -5.0)
    assert float(floored.min()) == -5.0
    np.testing.assert_allclose(floored[3:], raw[3:], atol=1e-2)
    assert (jax.grad(lambda r: densities.floored(r, -5.0).sum())(raw)[1:] > 0).all()
    # a residual of 0 at the least scale that is named: no product of 0 and infinity
    assert np.isfinite(densities.gaussian_log_density(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.full((1, 1), -40.0)))


def test_values_do_not_depend_on_batch_split_or_order():
    arrays = [jnp.asarray(a, jnp.float32) for a in (X, MEAN, LOG_STDDEV)]
    together = densities.gaussian_log_density(*arrays)
    np.testing.assert_array_equal(together[::-1], densities.gaussian_log_density(*(a[::-1] for a in arrays)))
    apart = [densities.gaussian_log_density(*(a[i : i + 1] for a in arrays)) for i in range(3)]
    np.testing.assert_array_equal(together, np.concatenate(apart))
