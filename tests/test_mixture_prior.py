"""The mixture prior against SciPy's densities, the paper's equation term by term, and the divergence it bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats
from scipy.special import logsumexp

from seqjax.densities import kl_to_standard_normal
from seqjax.mixture_prior import MixturePrior

RNG = np.random.default_rng(0)
WEIGHTS = np.asarray([0.5, 0.2, 0.3])
MEANS, STDDEVS = RNG.normal(size=(3, 2)), np.exp(0.4 * RNG.normal(size=(3, 2)))
MEAN, LOG_STDDEV = RNG.normal(size=(7, 2)), 0.5 * RNG.normal(size=(7, 2))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def prior():
    # logits count up to a constant
    return MixturePrior(jnp.log(WEIGHTS) + 3, jnp.asarray(MEANS), jnp.log(STDDEVS))


def certainly(component, dtype=jnp.float64):
    """log q(c | x) of seven examples that belong to one component."""
    return jnp.log(jnp.zeros((7, 3), dtype).at[:, component].set(1))


def joint_by_scipy(z):
    return np.log(WEIGHTS) + stats.norm(MEANS, STDDEVS).logpdf(np.asarray(z)[..., None, :]).sum(axis=-1)


def test_joint_density_and_responsibilities_are_bayes_rule():
    z = RNG.normal(size=(5, 2))
    joint = joint_by_scipy(z)
    np.testing.assert_allclose(prior().log_joint(jnp.asarray(z)), joint, rtol=1e-12)
    shares = np.exp(joint) / np.exp(joint).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(prior().log_responsibilities(jnp.asarray(z))), shares, rtol=1e-12)


def test_divergence_is_the_papers_equation_12():
    """The three sums there after the likelihood, signs turned."""
    gamma = RNG.dirichlet(np.ones(3), size=7)
    variance, own = STDDEVS**2, np.exp(2 * LOG_STDDEV)
    inner = np.log(variance) + own[:, None] / variance + (MEAN[:, None] - MEANS) ** 2 / variance
    expected = (
        0.5 * (gamma * inner.sum(axis=2)).sum(axis=1)
        - (gamma * np.log(WEIGHTS / gamma)).sum(axis=1)
        - 0.5 * (1 + np.log(own)).sum(axis=1)
    )
    found = prior().kl(jnp.asarray(MEAN), jnp.asarray(LOG_STDDEV), jnp.log(gamma))
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_divergence_bounds_that_to_the_mixture_and_is_least_at_its_own_shares():
    """The divergence of q(z) to the mixture by quadrature; the least bound over q(c) in closed form."""
    mean, log_stddev = jnp.asarray(MEAN), jnp.asarray(LOG_STDDEV)
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = np.stack(np.meshgrid(points, points, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.outer(weights, weights).reshape(-1) / weights.sum() ** 2
    z = MEAN[:, None] + np.exp(LOG_STDDEV)[:, None] * grid
    log_q = stats.norm(MEAN[:, None], np.exp(LOG_STDDEV)[:, None]).logpdf(z).sum(axis=2)
    to_mixture = (mass * (log_q - logsumexp(joint_by_scipy(z), axis=2))).sum(axis=1)

    alone = np.stack([prior().kl(mean, log_stddev, certainly(c)) for c in range(3)], axis=1)
    best = jax.nn.log_softmax(-jnp.asarray(alone), axis=1)
    least = prior().kl(mean, log_stddev, best)
    np.testing.assert_allclose(least, -logsumexp(-alone, axis=1), rtol=1e-11)
    for shares in (prior().log_responsibilities(mean), jnp.full((7, 3), -np.log(3))):
        assert (prior().kl(mean, log_stddev, shares) > least).all()
    assert (np.asarray(least) > to_mixture).all()
    assert (to_mixture > 0).all()


def test_one_standard_component_is_the_standard_normal():
    one = MixturePrior(jnp.zeros(1), jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    mean, log_stddev = jnp.asarray(MEAN), jnp.asarray(LOG_STDDEV)
    expected = kl_to_standard_normal(mean, log_stddev)
    np.testing.assert_allclose(one.kl(mean, log_stddev, one.log_responsibilities(mean)), expected, rtol=1e-12)


def test_gradients_are_those_of_finite_differences():
    def bound(*leaves):
        prior, mean, log_stddev = jax.tree.map(jnp.asarray, leaves)
        return prior.kl(mean, log_stddev, prior.log_responsibilities(mean)).sum()

    check_grads(bound, (prior(), jnp.asarray(MEAN), jnp.asarray(LOG_STDDEV)), order=1, modes=["rev"], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_codes_and_certain_responsibilities_stay_finite(dtype):
    own = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), prior())
    far = jnp.asarray(np.full((7, 2), 1e6), dtype)

    def total(prior, z, log_responsibilities):
        return prior.kl(z, jnp.zeros_like(z), log_responsibilities).sum()

    for log_responsibilities in (own.log_responsibilities(far), certainly(1, dtype)):
        value, grads = jax.value_and_grad(total, argnums=(0, 1, 2))(own, far, log_responsibilities)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_latents_are_drawn_from_the_components_asked_for():
    components, epsilon = jnp.repeat(jnp.asarray([2, 0]), 4000), jnp.asarray(RNG.normal(size=(8000, 2)))
    z = np.asarray(prior().draw(components, epsilon)).reshape(2, 4000, 2)
    np.testing.assert_allclose(z.mean(axis=1), MEANS[[2, 0]], atol=0.1)
    np.testing.assert_allclose(z.std(axis=1), STDDEVS[[2, 0]], rtol=0.05)
