import functools

import jax
import jax.numpy as jnp
import linear_gaussian as known
import numpy as np
import pytest
from scipy.stats import bernoulli, norm

from seqjax import bounds
from seqjax.errors import UsageError
from seqjax.models import latent_space
from seqjax.models.vae import VAE, initial, standard_noise

KEY = jax.random.key(1)
TWO = VAE(6, ((5,), (4, 4)), (3, 2))
INDEX = jnp.asarray([7, 2, 90, 4], jnp.int32)
SAMPLES = jnp.asarray([0, 1, 2], jnp.int32)
X = (jax.random.uniform(KEY, (4, 6)) < 0.5).astype(jnp.float32)
CONDITION = jax.nn.one_hot(jnp.asarray([0, 2, 2, 1]), 3)


@functools.cache
def params_of(model=TWO, num_conditions=0):
    """Weights and biases all different from what they start as."""
    params = initial(model, KEY, np.full(model.num_values, 0.5), num_conditions=num_conditions)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    moved = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


def draws_of(params, x=X, index=INDEX, samples=SAMPLES, model=TWO, condition=None):
    return latent_space.posterior_draws(model, params, {"x": x, "index": index}, KEY, samples, condition=condition)


def layer(weights, x, activation=np.tanh):
    for number in range(len(weights["below"])):
        hidden = weights["below"][f"hidden_{number}"]
        x = activation(x @ hidden["kernel"] + hidden["bias"])
    return [x @ weights[name]["kernel"] + weights[name]["bias"] for name in ("mean", "log_stddev") if name in weights]


def test_two_layers_under_a_bernoulli_likelihood_are_those_of_numpy_and_scipy():
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params_of())["params"]
    draws = draws_of(params_of())
    z_0, z_1 = (np.asarray(z, np.float64) for z in draws.latents)
    q_0, q_1 = layer(params["q_0"], np.asarray(X)[:, None]), layer(params["q_1"], z_0)
    p_1 = layer(params["p_1"], z_1)
    log_q = norm.logpdf(z_0, q_0[0], np.exp(q_0[1])).sum(-1) + norm.logpdf(z_1, q_1[0], np.exp(q_1[1])).sum(-1)
    log_p = norm.logpdf(z_0, p_1[0], np.exp(p_1[1])).sum(-1) + norm.logpdf(z_1).sum(-1)
    log_x = bernoulli.logpmf(np.asarray(X)[:, None], 1 / (1 + np.exp(-layer(params["p_0"], z_0)[0]))).sum(-1)
    np.testing.assert_allclose(draws.log_posterior, log_q, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(draws.log_prior, log_p, rtol=1e-4)
    np.testing.assert_allclose(draws.log_likelihood, log_x, rtol=1e-5)
    np.testing.assert_allclose(draws.log_weights, log_x + log_p - log_q, rtol=1e-4)
    # of the lower layer as drawn, of the upper in closed form
    lower = norm.logpdf(z_0, q_0[0], np.exp(q_0[1])) - norm.logpdf(z_0, p_1[0], np.exp(p_1[1]))
    upper = 0.5 * (q_1[0] ** 2 + np.exp(2 * q_1[1]) - 1 - 2 * q_1[1])
    np.testing.assert_allclose(draws.kl[0], lower, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(draws.kl[1], upper, rtol=1e-3, atol=1e-5)
    expected = np.concatenate([lower.mean(axis=1), upper.mean(axis=1)], axis=1)
    np.testing.assert_allclose(draws.kl_of_units, expected, rtol=1e-3, atol=1e-4)
    # the same of latents that are given
    log_joint = TWO.apply(params_of(), X, draws.latents, method="log_joint")
    np.testing.assert_allclose(log_joint, log_x + log_p, rtol=1e-5)
    given = TWO.apply(params_of(), X, draws.latents, method="log_posterior")
    np.testing.assert_allclose(given, log_q, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stddev", [0.3, "shared", "each"])
def test_a_gaussian_likelihood_is_that_of_scipy(stddev):
    model = VAE(6, ((5,),), (3,), likelihood="gaussian", stddev=stddev, min_stddev=0.01)
    params = params_of(model)
    draws = draws_of(params, model=model)
    weights = params["params"]["p_0"]
    heads = {name: part for name, part in weights.items() if stddev == "each" or name != "log_stddev"}
    outputs = layer(jax.tree.map(np.asarray, heads), np.asarray(draws.latents[0]))
    raw = outputs[1] if stddev == "each" else weights.get("log_stddev", 0.0)
    floor = np.log(0.01)
    scale = stddev if stddev == 0.3 else np.exp(floor + np.logaddexp(0, np.asarray(raw) - floor))
    expected = norm.logpdf(np.asarray(X)[:, None], outputs[0], scale).sum(-1)
    np.testing.assert_allclose(draws.log_likelihood, expected, rtol=1e-4, atol=1e-4)
    z = draws.latents[0]
    np.testing.assert_allclose(model.apply(params, z, method="decode"), outputs[0], rtol=1e-5)


@pytest.mark.parametrize("num_conditions", [0, 3])
def test_values_do_not_depend_on_batch_split_order_or_the_number_of_draws(num_conditions):
    params, condition = params_of(TWO, num_conditions), CONDITION if num_conditions else None
    together = draws_of(params, condition=condition)
    order = np.asarray([2, 0, 3, 1])
    turned = draws_of(params, X[order], INDEX[order], condition=None if condition is None else condition[order])
    alone = draws_of(params, X[2:3], INDEX[2:3], condition=None if condition is None else condition[2:3])
    fewer = draws_of(params, samples=SAMPLES[1:2], condition=condition)
    for whole, other, one, few in zip(*map(jax.tree.leaves, (together, turned, alone, fewer)), strict=True):
        np.testing.assert_allclose(other, whole[order], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one, whole[2:3], rtol=1e-5, atol=1e-5)
        own = whole[:, 1:2] if whole.shape[1] == 3 else whole
        np.testing.assert_allclose(few, own, rtol=1e-5, atol=1e-5)
    noise = standard_noise(KEY, INDEX, SAMPLES, (3, 2))
    turned_noise = standard_noise(KEY, INDEX[order], SAMPLES[::-1], (3, 2))
    for e, turned_e in zip(noise, turned_noise, strict=True):
        np.testing.assert_array_equal(turned_e, e[order][:, ::-1])
        assert len(np.unique(e)) == e.size


def norms(gradient):
    return {name: float(sum(jnp.abs(g).sum() for g in jax.tree.leaves(part))) for name, part in gradient.items()}


def test_every_term_moves_the_weights_it_claims_and_no_others():
    params = params_of(TWO, 3)
    terms = {
        "log_likelihood": lambda draws: draws.log_likelihood.sum(),
        "kl": lambda draws: draws.kl_of_units.sum(),
        "bound": lambda draws: bounds.importance_weighted_bound(draws.log_weights).sum(),
    }
    found = {}
    for name, term in terms.items():
        gradient = jax.grad(lambda p, term=term: term(draws_of(p, condition=CONDITION)))(params)["params"]
        found[name] = norms(gradient)
        if name == "bound":
            assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
    # what the data are made of by the layer above is a matter of the divergence alone, and the likelihood's of its own
    assert {part for part, norm in found["log_likelihood"].items() if norm > 0} == {"p_0", "q_0"}
    assert {part for part, norm in found["kl"].items() if norm > 0} == {"p_1", "q_0", "q_1"}


def test_the_condition_is_read_on_both_sides_and_each_value_has_weights_of_its_own():
    params = params_of(TWO, 3)
    without = draws_of(params, condition=jnp.zeros((4, 3)))
    for a, b in zip(jax.tree.leaves(draws_of(params, condition=CONDITION)), jax.tree.leaves(without), strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() > 1e-3
    z = jnp.ones((3, 3))
    drawn = TWO.apply(params, z, jnp.eye(3), method="decode")
    assert np.abs(np.diff(drawn, axis=0)).max(axis=1).min() > 1e-3
    # a value that no example has: its column is never moved, and nothing else is wrong
    gradient = jax.grad(lambda p: draws_of(p, condition=CONDITION.at[:, 1].set(0)).log_weights.sum())(params)
    columns = gradient["params"]["p_0"]["below"]["hidden_0"]["kernel"][-3:]
    np.testing.assert_array_equal(columns[1], 0)
    assert (np.abs(columns[jnp.asarray([0, 2])]).max(axis=1) > 0).all()


def test_it_starts_at_the_mean_of_the_data_whatever_the_latents_say():
    mean = np.asarray([0.0, 0.2, 0.5, 0.7, 1.0, 0.5])
    for likelihood, expected in (("bernoulli", np.clip(mean, 0.001, 0.999)), ("gaussian", mean)):
        model = VAE(6, ((5,),), (3,), likelihood=likelihood)
        params = initial(model, KEY, mean)
        weights = params["params"]["p_0"]["mean"]
        silent = params["params"] | {"p_0": params["params"]["p_0"] | {"mean": weights | {"kernel": jnp.zeros((5, 6))}}}
        drawn = model.apply({"params": silent}, 5 * jnp.ones((2, 3)), method="decode")
        np.testing.assert_allclose(drawn, np.stack([expected] * 2), rtol=1e-5)
        kernel = params["params"]["q_0"]["below"]["hidden_0"]["kernel"]
        assert np.abs(kernel).max() <= np.sqrt(6 / (6 + 5))
        assert np.abs(kernel).max() > 0.7 * np.sqrt(6 / (6 + 5))
        assert all(
            not np.any(q["bias"]) for q in jax.tree.leaves(params["params"]["q_0"], is_leaf=lambda d: "bias" in d)
        )


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_extreme_weights_constant_images_and_one_example_stay_finite(likelihood):
    model = VAE(6, ((5,),), (3,), likelihood=likelihood, stddev="each", min_stddev=0.01)
    params = initial(model, KEY, np.zeros(6))
    weights = params["params"]["p_0"]
    far = {"mean": weights["mean"] | {"bias": jnp.asarray([1e4, -1e4, 0, 0, 0, 0.0])}}
    if likelihood == "gaussian":
        far["log_stddev"] = weights["log_stddev"] | {"bias": jnp.full(6, -1e4)}
    extreme = {"params": params["params"] | {"p_0": weights | far}}
    for x in (jnp.zeros((1, 6)), jnp.ones((1, 6))):

        def loss(p, x=x):
            draws = draws_of(p, x, INDEX[:1], model=model)
            return draws.log_weights.mean() + draws.kl_of_units.sum()

        for own in (params, extreme):
            value, gradient = jax.value_and_grad(loss)(own)
            assert np.isfinite(value)
            assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_samples_have_the_moments_of_the_prior():
    model, params = known.TWO, jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), known.two_layers())
    means = np.asarray(latent_space.generated(model, params, KEY, 4000))
    covariance = (known.W * (known.A**2 + known.S**2)) @ known.W.T
    np.testing.assert_allclose(means.mean(axis=0), known.B, atol=0.15)
    np.testing.assert_allclose(np.cov(means.T), covariance, atol=0.35)
    np.testing.assert_allclose(latent_space.generated(model, params, KEY, 10), means[:10], rtol=1e-4, atol=1e-5)


def test_codes_reconstructions_interpolations_and_traversals_agree():
    params = params_of(TWO, 3)
    functions = latent_space.functions(TWO)
    code = functions["encode"](params, X, CONDITION)
    decoded = functions["decode"](params, code, CONDITION)
    np.testing.assert_allclose(functions["reconstruct"](params, X, CONDITION), decoded, rtol=1e-6)
    ends = X[:2], X[2:]
    conditions = CONDITION[:2], CONDITION[2:]
    line = functions["interpolate"](params, *ends, 3, conditions)
    for k, (x, c) in enumerate(zip(ends, conditions, strict=True)):
        top = TWO.apply(params, x, c, method="encode", layer=1)
        expected = TWO.apply(params, top, c, method="decode", layer=1)
        np.testing.assert_allclose(line[:, 2 * k], expected, rtol=1e-5)
    middle = [sum(TWO.apply(params, x, c, method="encode", layer=1) for x, c in zip(ends, conditions, strict=True)) / 2]
    expected = TWO.apply(params, middle[0], sum(conditions) / 2, method="decode", layer=1)
    np.testing.assert_allclose(line[:, 1], expected, rtol=1e-5)

    top = TWO.apply(params, X[:1], CONDITION[:1], method="encode", layer=1)
    moved = functions["traverse"](
        params, X[0], jnp.asarray([1, 0]), jnp.asarray([-3.0, float(top[0, 0])]), CONDITION[0]
    )
    assert moved.shape == (2, 2, 6)
    unmoved = TWO.apply(params, top, CONDITION[:1], method="decode", layer=1)
    np.testing.assert_allclose(moved[1, 1], unmoved[0], rtol=1e-5)
    turned = TWO.apply(params, top.at[0, 1].set(-3.0), CONDITION[:1], method="decode", layer=1)
    np.testing.assert_allclose(moved[0, 0], turned[0], rtol=1e-5)
    # intensities as an image of bytes
    image = (255 * X).astype(jnp.uint8).reshape(4, 2, 3)
    np.testing.assert_allclose(functions["encode"](params, image, CONDITION), code, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": ((5,), (4,))}, "hidden="),
        ({"hidden": ((0,),)}, "hidden="),
        ({"latent_sizes": (0,)}, "latent_sizes="),
        ({"latent_sizes": (), "hidden": ()}, "latent_sizes="),
        ({"stddev": 0.0, "likelihood": "gaussian"}, "stddev=0.0"),
        ({"min_stddev": 0.0}, "min_stddev=0.0"),
    ],
)
def test_models_that_cannot_be_are_told(options, words):
    with pytest.raises(UsageError, match=words):
        initial(VAE(**({"num_values": 6, "hidden": ((5,),), "latent_sizes": (3,)} | options)), KEY, np.zeros(6))
