import functools

import jax
import jax.numpy as jnp
import linear_gaussian as known
import numpy as np
import pytest
from scipy.stats import norm

from seqjax.evaluate.posterior import active_units, latent_measures, mutual_information, posterior_health
from seqjax.models.latent_space import posterior_draws
from seqjax.types import Split

RNG = np.random.default_rng(2)


def test_active_units_are_those_whose_means_differ_between_examples():
    means = np.stack([np.full(50, 3.0), 0.09 * np.resize([1, -1], 50), 0.11 * np.resize([1, -1], 50)], axis=1)
    np.testing.assert_array_equal(active_units(means), [False, False, True])


def test_mutual_information_is_that_of_a_sum_over_all_pairs():
    means, log_stddevs, draws = RNG.normal(size=(30, 2)) * 2, RNG.normal(size=(30, 2)) * 0.3 - 1, None
    draws = means + np.exp(log_stddevs) * RNG.normal(size=(30, 2))
    density = norm.pdf(draws[:, None], means[None], np.exp(log_stddevs)[None]).prod(axis=2)
    expected = np.mean(np.log(np.diag(density)) - np.log(density.mean(axis=1)))
    assert mutual_information(means, log_stddevs, draws) == pytest.approx(expected, rel=1e-10)


def test_mutual_information_at_its_two_ends():
    apart = np.arange(1200.0)[:, None] * 100
    nothing = np.zeros((1200, 1))
    # more examples than fit into one block of rows
    assert mutual_information(apart, nothing, apart) == pytest.approx(np.log(1200))
    assert mutual_information(nothing, nothing, RNG.normal(size=(1200, 1))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("model", "params"), [(known.ONE, known.one_layer()), (known.TWO, known.two_layers())])
def test_measures_of_a_linear_model_at_its_true_posterior(model, params):
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    two = model is known.TWO
    x = known.sampled(3000)
    if two:
        x = (x - known.B) * 1.2 + known.B
    split = Split({"x": x.astype(np.float32)})
    sampler = functools.partial(posterior_draws, model)
    found = latent_measures("row", sampler, params, split, jax.random.key(0), num_samples=2)
    evidence = known.log_evidence(x, known.A**2 + known.S**2 if two else 1.0)
    assert found["row/nll"] == pytest.approx(-evidence.mean(), rel=1e-5)
    # the bound is exact, so what its two terms miss is the noise of ten draws alone
    assert found["row/elbo"] == pytest.approx(evidence.mean(), abs=0.03)
    bits = (found["row/rate_bits_per_dim"] + found["row/distortion_bits_per_dim"]) * known.D * np.log(2)
    assert bits == pytest.approx(-found["row/elbo"])
    assert found["row/kl"] == pytest.approx(found["row/rate_bits_per_dim"] * known.D * np.log(2))
    assert found["row/active_units"] == 2
    if two:
        assert found["row/active_units_1"] == 2
        assert "row/information" not in found
    else:
        # the data are drawn from the model: all of the divergence is information, 1/2 log(prior / posterior variance)
        exact = -float(np.sum(known.one_layer()["params"]["q_0"]["log_stddev"]["bias"]))
        assert found["row/information"] == pytest.approx(exact, abs=0.05)
        assert found["row/aggregate_kl"] == pytest.approx(0, abs=0.05)


def test_a_posterior_that_is_the_prior_is_found_collapsed():
    def metrics(active, kl):
        return {"row/active_units": {"per_seed": active}, "row/kl": {"per_seed": kl}}

    health = posterior_health("row")
    assert health(metrics([3.0, 5.0], [2.0, 3.0])) == "ok"
    assert health(metrics([3.0, 0.0], [2.0, 3.0])) == "collapsed"
    assert health(metrics([3.0, 1.0], [2.0, 0.05])) == "collapsed"
