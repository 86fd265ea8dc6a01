"""The means of the published mixtures, and samples with their moments."""

import functools

import jax
import numpy as np
import pytest

from seqjax.data.mixtures import grid_means, mixture_point, ring_means
from seqjax.data.synthetic import drawn
from seqjax.errors import UsageError


def test_the_ring_has_eight_different_means_on_the_unit_circle():
    means = ring_means()
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(means[[0, 2, 4, 6]], [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-6)
    neighbours = np.linalg.norm(means - np.roll(means, 1, axis=0), axis=1)
    np.testing.assert_allclose(neighbours, 2 * np.sin(np.pi / 8), rtol=1e-6)
    np.testing.assert_allclose(ring_means(4, radius=3.0)[1], [0, 3], atol=1e-6)


def test_the_grid_is_every_pair_of_five_numbers():
    expected = {(a, b) for a in (-4, -2, 0, 2, 4) for b in (-4, -2, 0, 2, 4)}
    assert {tuple(mean) for mean in grid_means().tolist()} == expected
    assert grid_means(2, spacing=1.0).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]


def test_samples_have_the_moments_of_the_mixture():
    means, count = grid_means(), 50_000
    fields = drawn(functools.partial(mixture_point, means=means, stddev=0.05), jax.random.key(1), count).fields
    shares = np.bincount(fields["label"], minlength=25) / count
    assert np.abs(shares - 0.04).max() < 4 * np.sqrt(0.04 / count)
    noise = fields["x"] - means[fields["label"]]
    np.testing.assert_allclose(noise.std(axis=0), 0.05, rtol=4 / np.sqrt(2 * count))
    assert np.abs(noise.mean(axis=0)).max() < 4 * 0.05 / np.sqrt(count)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / np.sqrt(count)


def test_refusals():
    with pytest.raises(UsageError, match="count=0"):
        ring_means(0)
    with pytest.raises(UsageError, match="side=0"):
        grid_means(0)
    with pytest.raises(UsageError, match="stddev=-1"):
        mixture_point(jax.random.key(0), means=ring_means(), stddev=-1.0)
