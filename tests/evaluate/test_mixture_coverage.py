"""Coverage of mixtures against NumPy and known samplers: the true one, one that collapses, one that scatters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from seqjax.data.mixtures import GRID_STDDEV, RING_STDDEV, grid_means, mixture_point, ring_means
from seqjax.data.synthetic import drawn
from seqjax.errors import DataError, UsageError
from seqjax.evaluate.mixture_coverage import measures, mixture_coverage

MIXTURES = {"ring": (ring_means(), RING_STDDEV), "grid": (grid_means(), GRID_STDDEV)}


coverage_of = jax.jit(mixture_coverage, static_argnames="stddev")


@functools.cache
def true_samples(name):
    means, stddev = MIXTURES[name]
    return drawn(functools.partial(mixture_point, means=means, stddev=stddev), jax.random.key(0), 100_000).fields


def of(samples, means, stddev):
    return measures("s", coverage_of(jnp.asarray(samples), jnp.asarray(means), stddev=stddev))


@pytest.mark.parametrize("name", MIXTURES)
def test_the_true_sampler_scores_what_theory_says(name):
    means, stddev = MIXTURES[name]
    count = 100_000
    found = of(true_samples(name)["x"], means, stddev)
    expected = 1 - np.exp(-4.5)  # chi-square with 2 degrees of freedom below 9
    assert found["s/modes"] == len(means)
    four_sigma = 4 * np.sqrt(expected * (1 - expected) / count)
    assert found["s/high_quality_percent"] / 100 == pytest.approx(expected, abs=four_sigma)
    # twice the count times the divergence is chi-square with K - 1 degrees of freedom
    freedom = len(means) - 1
    statistic = 2 * count * expected * found["s/reverse_kl"]
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("name", MIXTURES)
def test_equal_counts_of_a_plain_loop(name):
    means, stddev = MIXTURES[name]
    samples = np.random.default_rng(0).normal(np.tile(means, (16, 1)), 2 * stddev).astype(np.float32)
    counts = np.zeros(len(means))
    for sample in samples.astype(np.float64):
        distances = np.linalg.norm(sample - means, axis=1)
        if distances.min() < 3 * stddev:
            counts[distances.argmin()] += 1
    coverage = coverage_of(jnp.asarray(samples), jnp.asarray(means), stddev=stddev)
    np.testing.assert_array_equal(coverage.counts, counts)
    uniform = np.full(len(means), 1 / len(means))
    assert 0.4 < coverage.high_quality < 0.8
    np.testing.assert_allclose(coverage.high_quality, counts.sum() / len(samples), rtol=1e-6)
    np.testing.assert_allclose(coverage.reverse_kl, entropy(counts / counts.sum(), uniform), atol=1e-5)


def test_planted_collapse_is_found():
    means, stddev = MIXTURES["ring"]
    fields = true_samples("ring")
    three = fields["x"][np.isin(fields["label"], [0, 3, 5])][:2500]
    found = of(three, means, stddev)
    assert found["s/modes"] == 3
    assert found["s/high_quality_percent"] > 98
    assert found["s/reverse_kl"] == pytest.approx(np.log(8 / 3), abs=0.01)


def test_one_sample_captures_a_mode_and_low_quality_counts_nowhere():
    means = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    near, far = 0.299, 0.301
    samples = jnp.asarray([[near, 0.0], [0.0, near], [0.0, -near], [1 - near, 0.0], [0.0, 1 + far]])
    coverage = mixture_coverage(samples, means, stddev=0.1)
    np.testing.assert_array_equal(coverage.counts, [3, 1, 0])
    assert coverage.modes == 2
    np.testing.assert_allclose(coverage.high_quality, 0.8)
    expected = np.log(3) + 0.75 * np.log(0.75) + 0.25 * np.log(0.25)
    np.testing.assert_allclose(coverage.reverse_kl, expected, rtol=1e-6)


def test_scattered_and_broken_samples_have_the_worst_value():
    means, stddev = MIXTURES["grid"]
    for samples in (np.full((10, 2), 99.0), np.full((10, 2), np.nan), np.full((10, 2), np.inf)):
        found = of(samples.astype(np.float32), means, stddev)
        assert (found["s/modes"], found["s/high_quality_percent"]) == (0, 0)
        assert found["s/reverse_kl"] == pytest.approx(np.log(25))


def test_values_do_not_depend_on_the_order():
    means, stddev = MIXTURES["ring"]
    samples = true_samples("ring")["x"][:2500]
    one, other = (coverage_of(jnp.asarray(s), jnp.asarray(means), stddev=stddev) for s in (samples, samples[::-1]))
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.reverse_kl, other.reverse_kl, rtol=1e-6)


def test_refusals():
    means = jnp.asarray(ring_means())
    with pytest.raises(DataError, match=r"samples \[0, 2\]"):
        mixture_coverage(jnp.zeros((0, 2)), means, stddev=0.1)
    with pytest.raises(UsageError, match="stddev=0"):
        mixture_coverage(jnp.zeros((3, 2)), means, stddev=0.0)
