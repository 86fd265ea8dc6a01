"""Forecasts beside a model: scikit-learn's ridge, processes whose best forecast is known, errors by hand."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from seqjax.evaluate import forecasting
from seqjax.evaluate.forecasting import PENALTIES, autoregressions, baselines, errors_by_step, regression, seasonal


def random_walk(num_steps, num_channels=1, seed=0):
    return np.random.default_rng(seed).normal(size=(num_steps, num_channels)).cumsum(axis=0)


def test_last_value_and_season_by_hand():
    windows = np.arange(12.0).reshape(2, 6, 1)
    np.testing.assert_array_equal(forecasting.last_value(3)(windows)[..., 0], [[5, 5, 5], [11, 11, 11]])
    np.testing.assert_array_equal(seasonal(4, 6)(windows)[0, :, 0], [2, 3, 4, 5, 2, 3])
    np.testing.assert_array_equal(seasonal(1, 3)(windows), forecasting.last_value(3)(windows))


@pytest.mark.parametrize("across", [True, False])
def test_autoregression_is_scikit_learns_ridge(across, monkeypatch):
    monkeypatch.setattr(forecasting, "BLOCK", 7)  # sums over blocks of windows are those over all
    series, lags, horizon = random_walk(60, 3) + 5, 2, 2
    sums = regression(series, lags=4, horizon=horizon)
    found = autoregressions(sums, lags=lags, across=across)
    every = np.lib.stride_tricks.sliding_window_view(series, 4 + horizon, axis=0).transpose(0, 2, 1)
    past, last, future = every[:, 2:4], every[:, 3:4], every[:, 4:]
    assert set(found) == set(PENALTIES)
    for penalty in (1e-4, 1.0):
        predicted = found[penalty](every[:, :4])
        for group in [[0, 1, 2]] if across else [[0], [1], [2]]:
            # the last value, and what the one before it differs from it by
            rows = np.concatenate([last[:, 0, group], (past[:, 0] - past[:, 1])[:, group]], axis=1)
            changes = (future - last)[..., group].reshape(len(rows), -1)
            ridge = Ridge(alpha=penalty * len(rows), solver="svd").fit(rows, changes)
            expected = last[..., group] + ridge.predict(rows).reshape(len(rows), horizon, len(group))
            np.testing.assert_allclose(predicted[..., group], expected, rtol=1e-7, atol=1e-9)


def test_many_small_weights_make_a_walk_with_drift():
    series = random_walk(500, 2) + 0.5 * np.arange(500)[:, None]
    scale = series.std()
    forecast = autoregressions(regression(series / scale, lags=3, horizon=2), lags=3, across=True)[100.0]
    drift = (series[-1] - series[0]) / 499
    changes = scale * (forecast(series[None, -3:] / scale) - series[None, -1:] / scale)
    np.testing.assert_allclose(changes[0], [drift, 2 * drift], rtol=0.05)


def test_nothing_beats_the_last_value_of_a_walk_whose_error_grows_with_the_step():
    # the increments have variance 1: k steps ahead the best forecast errs by k
    train, validation, test = random_walk(4000), random_walk(1000, seed=1), random_walk(40_000, seed=2)
    found = baselines(train, validation, context=8, horizon=4, periods=range(1, 9))
    assert found.chosen["seasonal"] == 1
    best, _ = errors_by_step(found.forecasts["last_value"], test, context=8, horizon=4)
    np.testing.assert_allclose(best, [1, 2, 3, 4], rtol=0.05)
    for row in ("seasonal", "ar", "var"):
        squared, _ = errors_by_step(found.forecasts[row], test, context=8, horizon=4)
        assert (squared >= best).all(), row
        # where the walk was in training, what was fitted comes near
        squared, _ = errors_by_step(found.forecasts[row], train, context=8, horizon=4)
        np.testing.assert_allclose(squared, [1, 2, 3, 4], rtol=0.05, err_msg=row)


def test_autoregression_reaches_the_noise_of_a_linear_process_and_finds_its_channel():
    """x_t = 0.9 x_{t-1} + e, y_t = x_{t-1} + e: y follows from the other channel alone."""
    random = np.random.default_rng(3)
    errors = random.normal(size=(30_000, 2))
    series = np.zeros_like(errors)
    for t in range(1, len(series)):
        series[t] = [0.9 * series[t - 1, 0], series[t - 1, 0]] + errors[t]
    train, validation, test = series[:10_000], series[10_000:12_000], series[12_000:]
    found = baselines(train, validation, context=4, horizon=1, periods=(1, 2, 3))
    costs = {row: errors_by_step(f, test, context=4, horizon=1)[0][0] for row, f in found.forecasts.items()}
    assert costs["var"] == pytest.approx(1, rel=0.03)
    assert costs["ar"] > 1.3
    assert costs["ar"] < costs["last_value"]


def test_a_season_is_found_on_validation():
    series = np.tile(np.random.default_rng(0).normal(size=(7, 2)), (60, 1))
    found = baselines(series[:280], series[280:350], context=20, horizon=10, periods=range(1, 21))
    assert found.chosen["seasonal"] == 7
    squared, absolute = errors_by_step(found.forecasts["seasonal"], series[350:], context=20, horizon=10)
    np.testing.assert_array_equal([squared, absolute], np.zeros((2, 10)))


def test_features_are_bounded(monkeypatch):
    monkeypatch.setattr(forecasting, "MOST_FEATURES", 7)
    series = random_walk(100, 3)
    lags, _ = baselines(series, series, context=16, horizon=1, periods=(1,)).chosen["var"]
    assert lags <= 2


def test_the_floor_is_what_the_noise_costs(monkeypatch):
    monkeypatch.setattr(forecasting, "BLOCK", 4)
    clean = np.zeros((9, 2), np.float32)
    series = clean + np.asarray([1, -3], np.float32)[None]
    squared, absolute = forecasting.floor_by_step(clean, series, context=2, horizon=3)
    np.testing.assert_allclose(squared, [5, 5, 5])
    np.testing.assert_allclose(absolute, [2, 2, 2])
    rising = np.arange(9.0)[:, None]
    squared, _ = forecasting.floor_by_step(0 * rising, rising, context=2, horizon=3)
    np.testing.assert_allclose(squared, [np.square(np.arange(2, 7) + k).mean() for k in range(3)])
