"""Samplers of series have the moments they promise, and no others."""

import jax
import numpy as np

from seqjax.evaluate.series_samplers import gaussian_series, noise_about_mean
from seqjax.evaluate.spectra import power_spectrum, spectral_distances

RNG = np.random.default_rng(0)
# waves of random height and phase around a slope, beside their own past; the third feature stands still
PHASES = RNG.uniform(0, 6, size=(500, 1))
WAVES = RNG.exponential(size=(500, 1)) * np.sin(PHASES + np.arange(7)) + np.arange(7)
TRAIN = np.stack([WAVES[:, 1:], WAVES[:, :-1], np.full((500, 6), 3.0)], axis=2).astype(np.float32)


def test_the_gaussian_has_all_means_and_covariances():
    found = gaussian_series(TRAIN, 20_000, jax.random.key(0))
    assert (found.shape, found.dtype) == ((20_000, 6, 3), np.float32)
    rows, expected = (x.reshape(len(x), -1).astype(np.float64) for x in (found, TRAIN))
    np.testing.assert_allclose(rows.mean(axis=0), expected.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(np.cov(rows.T), np.cov(expected.T), atol=0.05)
    np.testing.assert_allclose(found[..., 2], 3, atol=1e-3)
    # what the second feature says is what the first said a step before, in every series
    np.testing.assert_allclose(found[:, 1:, 1], found[:, :-1, 0], atol=1e-3)
    assert spectral_distances(found, TRAIN)[:2].max() < 0.05


def test_noise_has_the_moments_of_each_value_alone():
    found = noise_about_mean(TRAIN, 20_000, jax.random.key(0))
    np.testing.assert_allclose(found.mean(axis=0), TRAIN.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(found.std(axis=0), TRAIN.std(axis=0), atol=0.05)
    across = np.corrcoef(found[..., :2].reshape(len(found), -1).T)
    np.testing.assert_allclose(across, np.eye(12), atol=0.05)
    assert not np.array_equal(found, noise_about_mean(TRAIN, 20_000, jax.random.key(1)))


def test_powers_sum_to_the_mean_square_and_sit_at_their_frequency():
    t = np.arange(8)
    wave = (2 * np.sin(2 * np.pi * 3 * t / 8))[None, :, None] + 5
    np.testing.assert_allclose(power_spectrum(wave, np.asarray([5.0]))[:, 0], [0, 0, 0, 2, 0], atol=1e-12)
    for length in (5, 6):
        series = RNG.normal(size=(20, length, 2))
        centre = np.asarray([0.3, -2.0])
        total = np.square(series - centre).mean(axis=(0, 1))
        np.testing.assert_allclose(power_spectrum(series, centre).sum(axis=0), total, rtol=1e-12)
