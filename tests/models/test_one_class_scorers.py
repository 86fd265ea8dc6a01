"""Scorers of one class: the equations of Deep SVDD, scores of each example alone, and starts that fit the data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import bounds
from seqjax.models import one_class
from seqjax.models.autoencoder import Autoencoder
from seqjax.models.latent_space import posterior_draws
from seqjax.models.vae import VAE

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
X = jax.random.uniform(jax.random.key(1), (6, 5))
BATCH = {"x": X, "index": jnp.arange(6)}
MEAN = X.mean(axis=0)
DECAY = 0.3


@functools.cache
def scorers():
    svdd = one_class.deep_svdd(5, (4,), 2, weight_decay=DECAY)
    vae = VAE(5, ((4,),), (2,))
    return {
        "autoencoder": one_class.autoencoder_scorer(Autoencoder((5, 4, 2), "elu")),
        "vae": one_class.vae_scorer(vae),
        "pretraining": svdd.pretraining,
        "one_class": svdd.one_class,
    }


@functools.cache
def started(name):
    scorer = scorers()[name]
    params = jax.jit(scorer.init)(KEY, MEAN)
    if name == "one_class":
        params |= {"centre": jnp.asarray([0.5, -0.25])}
    return params, jax.jit(scorer.score), jax.jit(scorer.loss)


@pytest.mark.parametrize("name", ["autoencoder", "vae", "pretraining", "one_class"])
def test_a_score_is_of_each_example_alone_and_greater_far_away(name):
    params, score, loss = started(name)
    own = score(params, BATCH, KEY)
    order = jnp.asarray([3, 0, 5, 1, 4, 2])
    turned = score(params, {"x": X[order], "index": order}, KEY)
    np.testing.assert_allclose(turned, own[order], rtol=1e-5)
    far = score(params, BATCH | {"x": X.at[0].mul(30)}, KEY)
    np.testing.assert_allclose(far[1:], own[1:], rtol=1e-5)
    if name != "vae":  # whose likelihood is of intensities from 0 to 1
        assert far[0] > 10 * own[0]
    values, terms = loss(params, BATCH, KEY)
    assert values.shape == (6,)
    assert all(term.shape == (6,) for term in terms.values())


def forward(weights, x):
    """By hand: no biases, leaky ReLU between the layers, none after the last."""
    for position, name in enumerate(sorted(weights)):
        if position:
            x = np.where(x > 0, x, 0.2 * x)
        x = x @ np.asarray(weights[name]["kernel"], np.float64)
    return x


def test_deep_svdd_is_the_equations():
    params, score, loss = started("one_class")
    weights = params["encoder"]["params"]
    assert all(set(layer) == {"kernel"} for layer in weights.values())
    distances = np.square(forward(weights, np.asarray(X, np.float64)) - np.asarray([0.5, -0.25])).sum(axis=1)
    np.testing.assert_allclose(score(params, BATCH, KEY), distances, rtol=1e-5)
    decay = DECAY / 2 * sum(np.square(layer["kernel"]).sum() for layer in weights.values())
    values, terms = loss(params, BATCH, KEY)
    np.testing.assert_allclose(values, distances + decay, rtol=1e-5)
    np.testing.assert_allclose(terms["distance"], distances, rtol=1e-5)


def test_the_centre_and_the_radius_stand_still():
    soft = one_class.deep_svdd(5, (4,), 2, weight_decay=DECAY, outliers=0.5).one_class
    params = started("one_class")[0] | {"squared_radius": jnp.float32(0.2)}
    value, grads = jax.jit(jax.value_and_grad(lambda p: soft.loss(p, BATCH, KEY)[0].sum()))(params)
    assert not np.any(grads["centre"])
    assert not np.any(grads["squared_radius"])
    assert all(np.any(grad) for grad in jax.tree.leaves(grads["encoder"]))
    distances = np.asarray(started("one_class")[1](params, BATCH, KEY))
    penalty = DECAY / 2 * sum(np.square(kernel).sum() for kernel in jax.tree.leaves(params["encoder"]))
    by_hand = (0.2 + np.maximum(distances - 0.2, 0) / 0.5 + penalty).sum()
    assert float(value) == pytest.approx(by_hand, rel=1e-5)


def test_centres_keep_away_from_zero_and_see_valid_rows_alone():
    outputs = jnp.asarray([[1.0, 0.02, -0.02, -2], [2, 0.04, -0.06, -4], [1e6, 1e6, 1e6, 1e6]])
    centre = one_class.centre_of(outputs, jnp.asarray([True, True, False]))
    np.testing.assert_allclose(centre, [1.5, 0.1, -0.1, -3])


def test_the_radius_minimises_the_soft_boundary():
    distances = jax.random.exponential(KEY, (101,))
    valid = jnp.arange(121) < 101
    padded = jnp.concatenate([distances, jnp.full(20, 1e6)])
    radius = one_class.squared_radius_of(padded, valid, outliers=0.2)
    assert float((distances > radius).mean()) == pytest.approx(0.2, abs=0.01)
    costs = [
        one_class.soft_boundary(distances, radius * scale, outliers=0.2).mean() for scale in (0.9, 0.97, 1, 1.03, 1.1)
    ]
    assert np.argmin(costs) == 2


def test_the_bound_is_the_mean_over_draws():
    params, score, _ = started("vae")
    draws = jax.jit(lambda p: posterior_draws(VAE(5, ((4,),), (2,)), p, BATCH, KEY, jnp.arange(one_class.DRAWS)))(
        params
    )
    expected = -bounds.evidence_lower_bound(draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1))
    np.testing.assert_allclose(score(params, BATCH, KEY), expected, rtol=1e-5)


def test_starts_say_the_mean_whatever_the_code():
    for name, likelihood in (("vae", "bernoulli"), ("gaussian", "gaussian")):
        model = VAE(5, ((4,),), (2,), likelihood=likelihood)
        start = jax.jit(one_class.vae_scorer(model).init)(KEY, MEAN) if name == "gaussian" else started(name)[0]
        bias = start["params"]["p_0"]["mean"]["bias"]
        np.testing.assert_allclose(jax.nn.sigmoid(bias) if likelihood == "bernoulli" else bias, MEAN, rtol=1e-5)
