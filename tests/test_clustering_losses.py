"""Deep embedded clustering by the paper's formulas in NumPy; its gradients by the paper's equations 4 and 5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.clustering_losses import assignment_divergence, log_soft_assignments, target_distribution
from seqjax.errors import UsageError

RNG = np.random.default_rng(0)
CODES, CENTROIDS = RNG.normal(size=(12, 3)), RNG.normal(size=(4, 3))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def soft(codes, centroids, degrees=1.0):
    squared = np.square(codes[:, None] - centroids[None]).sum(axis=2)
    kernel = (1 + squared / degrees) ** (-(degrees + 1) / 2)
    return kernel / kernel.sum(axis=1, keepdims=True)


def sharpened(q):
    weight = q**2 / q.sum(axis=0)
    return weight / weight.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("degrees", [1.0, 2.5])
def test_assignments_are_the_papers(degrees):
    found = jnp.exp(log_soft_assignments(jnp.asarray(CODES), jnp.asarray(CENTROIDS), degrees=degrees))
    np.testing.assert_allclose(found, soft(CODES, CENTROIDS, degrees), rtol=1e-12)


def test_assignments_by_hand():
    # squared distances 0 and 3: kernels 1 and 1/4
    q = jnp.exp(log_soft_assignments(jnp.zeros((1, 1)), jnp.asarray([[0.0], [np.sqrt(3)]])))
    np.testing.assert_allclose(q, [[0.8, 0.2]], rtol=1e-12)
    # sizes are q itself: p = q
    np.testing.assert_allclose(target_distribution(jnp.log(q)), [[0.8, 0.2]], rtol=1e-12)


def test_targets_are_the_papers_and_sharper():
    q = soft(CODES, CENTROIDS)
    p = np.asarray(target_distribution(jnp.log(q)))
    np.testing.assert_allclose(p, sharpened(q), rtol=1e-12)
    assert (p * np.log(p)).sum() > (q * np.log(q)).sum()


def test_targets_over_the_full_data_differ_from_those_of_batches():
    log_q = jnp.log(soft(CODES, CENTROIDS))
    whole = target_distribution(log_q)
    batches = jnp.concatenate([target_distribution(log_q[start : start + 3]) for start in range(0, 12, 3)])
    assert float(jnp.abs(whole - batches).max()) > 0.05


def test_divergence_is_the_papers_in_nats_and_zero_only_at_the_targets():
    q = soft(CODES, CENTROIDS)
    p = sharpened(q)
    found = assignment_divergence(jnp.log(q), jnp.asarray(p))
    np.testing.assert_allclose(found, (p * np.log(p / q)).sum(axis=1), rtol=1e-10)
    assert float(found.min()) > 0
    np.testing.assert_allclose(assignment_divergence(jnp.log(p), jnp.asarray(p)), 0, atol=1e-14)
    certain = assignment_divergence(jnp.log(jnp.asarray([[0.25, 0.75]])), jnp.asarray([[1.0, 0.0]]))
    np.testing.assert_allclose(certain, np.log(4), rtol=1e-12)


@pytest.mark.parametrize("degrees", [1.0, 2.5])
def test_gradients_are_equations_4_and_5(degrees):
    p = sharpened(soft(CODES, CENTROIDS, degrees))

    def loss(codes, centroids):
        return assignment_divergence(log_soft_assignments(codes, centroids, degrees=degrees), jnp.asarray(p)).sum()

    of_codes, of_centroids = jax.grad(loss, argnums=(0, 1))(jnp.asarray(CODES), jnp.asarray(CENTROIDS))
    difference = CODES[:, None] - CENTROIDS[None]
    inverse = 1 / (1 + np.square(difference).sum(axis=2) / degrees)
    pull = (degrees + 1) / degrees * (inverse * (p - soft(CODES, CENTROIDS, degrees)))[:, :, None] * difference
    np.testing.assert_allclose(of_codes, pull.sum(axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(of_centroids, -pull.sum(axis=0), rtol=1e-9, atol=1e-12)


def test_both_terms_of_idec_pull_at_the_weights_they_claim():
    """Guo et al. 2017, equation 5: reconstruction moves encoder and decoder, the divergence encoder and centroids."""
    x = jnp.asarray(CODES)
    params = {"encoder": jnp.eye(3)[:, :2], "decoder": jnp.eye(3)[:2] * 0.5, "centroids": jnp.asarray(CENTROIDS[:, :2])}
    targets = target_distribution(log_soft_assignments(x @ params["encoder"], params["centroids"]))

    def divergence(params):
        return assignment_divergence(log_soft_assignments(x @ params["encoder"], params["centroids"]), targets).sum()

    def reconstruction(params):
        return losses.squared_error(x @ params["encoder"] @ params["decoder"], x).sum()

    moved = {
        term.__name__: {name for name, grad in jax.grad(term)(params).items() if np.abs(grad).max() > 0}
        for term in (divergence, reconstruction)
    }
    assert moved == {"divergence": {"encoder", "centroids"}, "reconstruction": {"encoder", "decoder"}}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_and_coinciding_codes_stay_finite(dtype):
    codes = jnp.asarray([[0.0, 0.0], [1e12, 0.0], [1.0, 1.0]], dtype)
    centroids = jnp.asarray([[0.0, 0.0], [0.0, 0.0], [1e9, 0.0]], dtype)

    def loss(codes, centroids):
        log_q = log_soft_assignments(codes, centroids)
        return assignment_divergence(log_q, jax.lax.stop_gradient(target_distribution(log_q))).sum()

    value, grads = jax.value_and_grad(loss, argnums=(0, 1))(codes, centroids)
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads)
    np.testing.assert_allclose(jnp.exp(log_soft_assignments(codes, centroids)).sum(axis=1), 1, rtol=1e-6)


def test_one_cluster_holds_everything_and_costs_nothing():
    log_q = log_soft_assignments(jnp.asarray(CODES), jnp.asarray(CENTROIDS[:1]))
    np.testing.assert_array_equal(log_q, 0)
    np.testing.assert_array_equal(assignment_divergence(log_q, target_distribution(log_q)), 0)


def test_values_belong_to_their_examples():
    q, p = soft(CODES, CENTROIDS), sharpened(soft(CODES, CENTROIDS))
    whole = assignment_divergence(jnp.log(q), jnp.asarray(p))
    np.testing.assert_array_equal(whole[::-1], assignment_divergence(jnp.log(q[::-1]), jnp.asarray(p[::-1])))


def test_impossible_degrees_are_refused():
    with pytest.raises(UsageError, match=r"degrees=0\.0: expected a number above 0"):
        log_soft_assignments(jnp.asarray(CODES), jnp.asarray(CENTROIDS), degrees=0.0)
