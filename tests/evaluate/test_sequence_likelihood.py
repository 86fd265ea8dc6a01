"""Costs of sequences by hand and by brute force; the importance-weighted bound against an integral over the latent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from seqjax.data.sequences import Sequences
from seqjax.evaluate import sequence_likelihood as measured
from seqjax.evaluate.likelihood import half_width as mean_half_width
from seqjax.evaluate.likelihood import importance_log_likelihood
from seqjax.models.sequence import cell_function
from seqjax.models.sequence_latents import posterior_draws
from seqjax.models.sequence_vae import SequenceVAE, StepLikelihood
from seqjax.types import Split

RNG = np.random.default_rng(5)
KEY = jax.random.key(1)
N, T, D = 30, 6, 3


def test_costs_a_step_by_hand():
    nats, lengths = np.asarray([2.0, 4.0, 12.0]), np.asarray([1, 2, 3])
    assert measured.nats_a_step(nats, lengths) == pytest.approx(3.0)
    # residuals -1, -2, 3 of the ratio 3; a mean of two steps a sequence
    assert measured.half_width(nats, lengths) == pytest.approx(1.96 * np.sqrt(7.0 / 3) / 2)
    assert measured.half_width(nats[:1], lengths[:1]) == 0
    # sequences of one length: the interval of the mean
    assert measured.half_width(nats, np.full(3, 4)) == pytest.approx(mean_half_width(nats / 4))


def split_of(x):
    return Split({"x": x, "length": np.asarray([T, 2], np.int32)})


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "gaussian"])
def test_the_marginal_takes_every_value_on_its_own_and_no_padding(kind):
    draw = {
        "bernoulli": lambda: RNG.uniform(size=(2, T, D)) < 0.3,
        "categorical": lambda: RNG.integers(0, D, size=(2, T)).astype(np.int32),
        "gaussian": lambda: RNG.normal(size=(2, T, D)).astype(np.float32),
    }[kind]
    train, test = draw(), draw()
    test[1, 2:] = 1  # padding
    fitted = [*train[0], *train[1, :2]]
    found = Sequences(None, kind, D)
    costs = measured.marginal_nats(found, split_of(train), split_of(test))
    expected = []
    for row in ([*test[0]], [*test[1, :2]]):
        total = 0.0
        for step in row:
            match kind:
                case "bernoulli":
                    rates = (np.sum(fitted, axis=0) + 1) / (len(fitted) + 2)
                    total -= np.log(np.where(step, rates, 1 - rates)).sum()
                case "categorical":
                    total -= np.log((fitted.count(step) + 1) / (len(fitted) + D))
                case "gaussian":
                    total -= norm.logpdf(step, np.mean(fitted, axis=0), np.std(fitted, axis=0)).sum()
        expected.append(total)
    np.testing.assert_allclose(costs, expected, rtol=1e-5)


def test_the_bound_rises_with_the_draws_from_the_elbo_to_an_integral_over_the_latent():
    model = SequenceVAE(cell_function("gru"), StepLikelihood("bernoulli", D), 5, 4, 1)
    x = RNG.uniform(size=(N, T, D)) < 0.4
    lengths = RNG.integers(1, T + 1, size=N).astype(np.int32)
    params = jax.jit(model.init)(KEY, jnp.asarray(x), jnp.asarray(lengths), jnp.zeros((N, 1, 1)))
    # a decoder for which the latent matters
    leaves, structure = jax.tree.flatten(params["params"]["decoder"])
    keys = jax.random.split(KEY, len(leaves))
    moved = [p + 0.8 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    # and an encoder that stays near the prior, from which few draws are far from the posterior
    near = jax.tree.map(lambda p: 0.3 * p, params["params"]["encoder"])
    params = {"params": {"encoder": near, "decoder": jax.tree.unflatten(structure, moved)}}
    split = Split({"x": x, "length": lengths})

    grid, width = np.linspace(-7, 7, 141), 0.1
    seen = jnp.asarray(x), jnp.asarray(lengths)
    q = model.apply(params, *seen, method="encode")
    epsilon = (jnp.asarray(grid, jnp.float32)[None] - q.mean) / jnp.exp(q.log_stddev)
    given = np.asarray(jax.jit(model.apply)(params, *seen, epsilon[:, :, None]).log_likelihood, np.float64)
    evidence = logsumexp(given + norm.logpdf(grid)[None], axis=1) + np.log(width)
    mean, log_stddev = (np.asarray(a, np.float64) for a in q)
    kl = 0.5 * (mean**2 + np.exp(2 * log_stddev) - 1 - 2 * log_stddev)[:, 0]
    elbo = width * (norm.pdf(grid[None], mean, np.exp(log_stddev)) * given).sum(axis=1) - kl

    sampler = functools.partial(posterior_draws, model)
    bounds = [importance_log_likelihood(sampler, params, split, KEY, num_samples=k).mean() for k in (3, 30, 1000)]
    assert elbo.mean() + 0.02 < bounds[0]
    assert bounds[0] + 0.01 < bounds[1] < bounds[2] + 0.003
    assert bounds[2] == pytest.approx(evidence.mean(), abs=0.01)

    found = measured.sequence_measures("row", sampler, params, split, KEY, num_samples=1000)
    assert found["row/nats_a_step"] == pytest.approx(-evidence.sum() / lengths.sum(), abs=0.01)
    # the mean over ten draws of each sequence
    assert found["row/negative_elbo"] == pytest.approx(-elbo.sum() / lengths.sum(), abs=0.05)
    assert found["row/negative_elbo"] > found["row/nats_a_step"]
    assert found["row/rate"] == pytest.approx(kl.sum() / lengths.sum(), rel=1e-4)
    assert found["row/kl"] == pytest.approx(kl.mean(), rel=1e-4)
    assert found["row/distortion"] + found["row/rate"] == pytest.approx(found["row/negative_elbo"])
