"""Scores of series whose answer is known: the same, told apart at a glance, predictable, and not."""

import jax
import jaxtyping
import numpy as np
import pytest

from seqjax.errors import DataError, UsageError
from seqjax.evaluate.series_scores import discriminative_scores, measures, predictive_scores
from seqjax.evaluate.spectra import spectral_distances

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
# one size of each network for all tests: each compiles for seconds and runs for a tenth of one
QUICK = {"steps": 400, "repeats": 2}
STRONG = {"hidden_size": 32, "steps": 400, "repeats": 2}
PREDICT = {"steps": 3000, "repeats": 2}


def lagged(count):
    """[count 5 2] in [0, 1]: noise, and beside it the same noise one step later."""
    noise = RNG.uniform(size=(count, 6))
    return np.stack([noise[:, 1:], noise[:, :-1]], axis=2).astype(np.float32)


# fewer generated series than real ones: that all are real is right for 87 % of test rows, and no better than chance
TRAIN, TEST, FRESH = lagged(400), lagged(200), lagged(90)


def unlinked():
    """The second feature has nothing to do with the first; over pairs of series it averages to 1/2 exactly."""
    series = FRESH.copy()
    half = RNG.uniform(size=(45, 5))
    series[45:, :, 0] = series[:45, :, 0]
    series[..., 1] = np.concatenate([half, 1 - half])
    return series


def test_series_of_one_source_cannot_be_told_apart():
    scores = discriminative_scores(TRAIN, TEST, FRESH, KEY, **QUICK)
    assert scores.shape == (2,)
    # 30 of 90 generated rows are told: chance alone spreads the balanced accuracy by 0.05
    assert (scores >= 0).all()
    assert scores.max() < 0.15
    assert scores[0] != scores[1]
    np.testing.assert_array_equal(scores, discriminative_scores(TRAIN, TEST, FRESH, KEY, **QUICK))


def test_series_that_differ_are_told_apart():
    np.testing.assert_array_equal(discriminative_scores(TRAIN, TEST, FRESH - 2, KEY, **STRONG), 0.5)
    # each feature alone is distributed as it should be: only a network with a memory can see that they do not belong
    assert discriminative_scores(TRAIN, TEST, unlinked(), KEY, **STRONG).min() > 0.25


def test_predictive_score_is_that_of_what_the_generated_series_teach():
    assert predictive_scores(TEST, FRESH, KEY, **PREDICT).max() < 0.06
    # nothing to learn but the median
    found = predictive_scores(TEST, unlinked(), KEY, **PREDICT)
    np.testing.assert_allclose(found, np.abs(TEST[:, 1:, 1] - 0.5).mean(), rtol=0.1)
    # what generated series say is believed, whatever the real ones are
    wrong = FRESH.copy()
    wrong[..., 1] = 0.75
    found = predictive_scores(TEST, wrong, KEY, **PREDICT)
    np.testing.assert_allclose(found, np.abs(TEST[:, 1:, 1] - 0.75).mean(), rtol=0.02)


@pytest.mark.parametrize("length", [7, 8])
def test_spectral_distance_of_known_spectra(length):
    series = RNG.normal([0, 5, -5], size=(50, length, 3))
    centred = series - series.mean(axis=(0, 1))
    np.testing.assert_allclose(spectral_distances(series, series), 0, atol=1e-12)
    # half the power of every frequency is missing; all of it
    np.testing.assert_allclose(spectral_distances(series.mean(axis=(0, 1)) + centred * 0.5**0.5, series), 0.5)
    np.testing.assert_allclose(spectral_distances(0 * series + series.mean(axis=(0, 1)), series), 1)
    # phases do not matter, and neither does time's direction
    np.testing.assert_allclose(spectral_distances(np.roll(series, 3, axis=1)[:, ::-1], series), 0, atol=1e-12)
    # a shift by one mean square is as much power at frequency 0
    spread = np.sqrt(np.square(centred).mean(axis=(0, 1)))
    np.testing.assert_allclose(spectral_distances(centred + spread, centred), 1, rtol=1e-9)


def test_spectral_distance_sees_which_frequency_and_copes_with_constant_channels():
    t = np.arange(16)
    slow, fast = (np.stack([np.sin(2 * np.pi * k * t / 16), 0 * t + 0.1], axis=1)[None] for k in (1, 5))
    np.testing.assert_allclose(spectral_distances(fast, slow), [2, 0], atol=1e-12)
    np.testing.assert_allclose(spectral_distances(slow + 1, slow), [2, 1], atol=1e-12)  # the constant one: 1 squared


def test_a_table_row_and_its_floor():
    options = {"discriminative_steps": 400, "predictive_steps": 3000, "repeats": 2}
    floor = measures("real", TRAIN, TEST, FRESH, KEY, **options)
    still = measures("still", TRAIN, TEST, np.full_like(FRESH, 0.5), KEY, **options)
    assert set(floor) == {name.replace("still", "real") for name in still}
    for measure in ("discriminative_score_gru32", "predictive_score", "spectral_distance"):
        assert still[f"still/{measure}"] > 1.3 * floor[f"real/{measure}"], measure


def test_refusals(monkeypatch):
    broken = FRESH.copy()
    broken[7, 2, 1] = np.nan
    with pytest.raises(DataError, match=r"generated: found nan in series 7, step 2, feature 1 .* 0 more"):
        predictive_scores(TEST, broken, KEY)
    with pytest.raises(DataError, match="generated: found 1 series, expected at least 2"):
        discriminative_scores(TRAIN, TEST, FRESH[:1], KEY)
    with pytest.raises(DataError, match="at least two steps and two features"):
        predictive_scores(TEST[..., :1], FRESH[..., :1], KEY)
    with pytest.raises(DataError, match=r"last feature runs from .* to 2\.\d+, expected \[0, 1\]"):
        predictive_scores(3 * TEST, FRESH, KEY)
    with pytest.raises(UsageError, match="repeats=0"):
        discriminative_scores(TRAIN, TEST, FRESH, KEY, repeats=0)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(DataError, match=r"'generated': \[90, 4, 2\]"):
        spectral_distances(FRESH[:, :4], TEST)
