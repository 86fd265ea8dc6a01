import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from seqjax import losses

X = jnp.asarray([[0.0, 0.5, 1.0], [1.0, 0.0, 0.25]])
Y = jnp.asarray([[0.5, -1.0, 2.0], [3.0, -2.0, 0.0]])


def test_squared_error_by_hand():
    np.testing.assert_allclose(losses.squared_error(Y, X), [0.25 + 2.25 + 1.0, 4.0 + 4.0 + 0.0625])


def test_squared_error_sums_over_every_axis_but_the_first():
    images = jnp.arange(24.0).reshape(2, 3, 4)
    expected = [np.square(np.arange(12)).sum(), np.square(np.arange(12, 24)).sum()]
    np.testing.assert_allclose(losses.squared_error(images, jnp.zeros_like(images)), expected)


def test_squared_error_under_a_mask_ignores_the_rest_and_its_gradient():
    mask = jnp.asarray([[True, False, True], [False, True, True]])
    spoilt = jnp.where(mask, Y, jnp.nan)
    np.testing.assert_allclose(losses.squared_error(spoilt, X, mask=mask), [0.25 + 1.0, 4.0 + 0.0625])
    slopes = jax.grad(lambda y: losses.squared_error(y, X, mask=mask).sum())(spoilt)
    np.testing.assert_allclose(slopes, np.where(mask, 2 * (Y - X), 0))
    # over the leading axes
    np.testing.assert_allclose(losses.squared_error(Y, X, mask=jnp.asarray([True, False])), [3.5, 0.0])


def test_cross_entropy_equals_optax_and_its_gradient():
    np.testing.assert_allclose(
        losses.bernoulli_cross_entropy(Y, X), optax.sigmoid_binary_cross_entropy(Y, X).sum(axis=1), rtol=1e-6
    )
    ours = jax.grad(lambda y, x: losses.bernoulli_cross_entropy(y, x).sum(), argnums=(0, 1))(Y, X)
    theirs = jax.grad(lambda y, x: optax.sigmoid_binary_cross_entropy(y, x).sum(), argnums=(0, 1))(Y, X)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_cross_entropy_gradients_of_both_modes_and_orders_in_float64():
    with jax.enable_x64(True):
        logits, targets = (jnp.asarray(np.asarray(a, np.float64)) for a in (Y, X))
        check_grads(lambda y: losses.bernoulli_cross_entropy(jnp.asarray(y), targets), (logits,), order=2)


@pytest.mark.parametrize("logit", [0.0, 104.0, -104.0, 1e4, -1e4])
def test_cross_entropy_is_finite_with_exact_gradient_at_extreme_logits(logit):
    logits, targets = jnp.full((1, 2), logit), jnp.asarray([[0.0, 1.0]])
    value, grad = jax.value_and_grad(lambda z: losses.bernoulli_cross_entropy(z, targets).sum())(logits)
    assert value == pytest.approx(abs(logit) + (2 * np.log(2) if logit == 0 else 0), rel=1e-6)
    np.testing.assert_allclose(grad, jax.nn.sigmoid(logits) - targets, atol=1e-7)


def test_norms_by_hand_and_finite_gradient_at_zero():
    code = jnp.asarray([[3.0, -4.0], [0.0, 0.0]])
    np.testing.assert_allclose(losses.l1_norm(code), [7.0, 0.0])
    np.testing.assert_allclose(losses.l2_norm(code), [5.0, 0.0])
    np.testing.assert_allclose(jax.grad(lambda c: losses.l2_norm(c).sum())(code), [[0.6, -0.8], [0.0, 0.0]], atol=1e-7)


def test_contractive_penalty_of_a_sigmoid_layer_equals_the_papers_formula():
    # Rifai et al. 2011, equation 4: sum over units of (h (1 - h))^2 times the squared norm of the unit's weights
    weights = jax.random.normal(jax.random.key(0), (3, 4))
    h = jax.nn.sigmoid(X @ weights)
    expected = (np.square(h * (1 - h)) * np.square(weights).sum(axis=0)[None, :]).sum(axis=1)
    np.testing.assert_allclose(
        losses.contractive_penalty(lambda x: jax.nn.sigmoid(x @ weights), X), expected, rtol=1e-5
    )


def test_contractive_penalty_equals_the_full_jacobian_of_a_deep_encoder():
    keys = jax.random.split(jax.random.key(1), 2)
    first, second = jax.random.normal(keys[0], (3, 5)), jax.random.normal(keys[1], (5, 2))

    def encode(x):
        return jnp.tanh(x @ first) @ second

    jacobians = jax.vmap(jax.jacfwd(lambda row: encode(row[None])[0]))(X)
    np.testing.assert_allclose(losses.contractive_penalty(encode, X), np.square(jacobians).sum(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.squared_error, losses.bernoulli_cross_entropy])
def test_values_do_not_depend_on_batch_split_or_order(loss):
    together = loss(Y, X)
    np.testing.assert_array_equal(together[::-1], loss(Y[::-1], X[::-1]))
    np.testing.assert_array_equal(together, np.concatenate([loss(Y[:1], X[:1]), loss(Y[1:], X[1:])]))


def test_masked_values_of_bernoulli_cross_entropy_do_not_matter():
    logits, targets = jax.random.normal(jax.random.key(0), (2, 4, 3)), jnp.ones((2, 4, 3))
    mask = jnp.asarray([[True, True, False, False], [True, False, True, False]])

    def total(logits, targets):
        return losses.bernoulli_cross_entropy(logits, targets, mask=mask).sum()

    by_hand = (jnp.log1p(jnp.exp(-logits)).sum(axis=-1) * mask).sum(axis=1)
    np.testing.assert_allclose(losses.bernoulli_cross_entropy(logits, targets, mask=mask), by_hand, rtol=1e-6)
    for rubbish in (1e6, jnp.nan, jnp.inf):
        filled = jnp.where(mask[..., None], logits, rubbish), jnp.where(mask[..., None], targets, rubbish)
        assert total(*filled) == total(logits, targets)
        np.testing.assert_array_equal(jax.grad(total)(*filled), jax.grad(total)(logits, targets))
    assert np.abs(jax.grad(total)(logits, targets)[0, 0]).min() > 0


def test_categorical_cross_entropy_by_hand():
    logits = jnp.log(jnp.asarray([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], [[1.0, 1.0, 2.0], [3.0, 3.0, 3.0]]]))
    targets = jnp.asarray([[0, 2], [2, 1]])
    expected = [-np.log(0.5 * 0.8), -np.log(0.5 / 3)]
    np.testing.assert_allclose(losses.categorical_cross_entropy(logits, targets), expected, rtol=1e-6)
    np.testing.assert_allclose(losses.categorical_cross_entropy(logits[:, 0], targets[:, 0]), -np.log([0.5, 0.5]))


def test_categorical_cross_entropy_counts_what_is_masked_in_and_sees_nothing_else():
    logits = jax.random.normal(jax.random.key(0), (2, 3, 4))
    targets = jnp.asarray([[0, 1, 2], [3, 0, 1]])
    mask = jnp.asarray([[True, False, True], [False, True, True]])
    log_likely = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(targets)[..., None], -1)[..., 0]
    expected = -(log_likely * np.asarray(mask)).sum(axis=1)

    def total(logits, targets):
        return losses.categorical_cross_entropy(logits, targets, mask=mask)

    np.testing.assert_allclose(total(logits, targets), expected, rtol=1e-6)
    other = jnp.where(mask[..., None], logits, jnp.nan), jnp.where(mask, targets, 99)
    np.testing.assert_array_equal(total(*other), total(logits, targets))
    gradient = jax.grad(lambda *a: total(*a).sum())
    np.testing.assert_array_equal(gradient(*other), gradient(logits, targets))
    assert np.asarray(gradient(logits, targets) != 0).any(axis=-1).tolist() == mask.tolist()
