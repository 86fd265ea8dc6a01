"""Forecasts that any model stands beside: the last value, the last season, linear autoregression; and their errors.

On the host, in float64. A forecast takes windows `[N C D]` of C steps to the next h steps `[N h D]`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Window = Float[np.ndarray, "N C D"]
Forecast = Callable[[Window], Float[np.ndarray, "N h D"]]

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
MOST_FEATURES = 2048  # of a regression: its normal equations are a matrix of so many rows and columns
BLOCK = 2048  # windows that are looked at together


def last_value(horizon: int) -> Forecast:
    """The last value, whatever the step: what is best for a random walk."""
    return lambda windows: np.repeat(windows[:, -1:], horizon, axis=1)


def seasonal(period: int, horizon: int) -> Forecast:
    """The value one period before the step, or as many periods as it takes to have been seen; `period` <= C."""
    ahead = np.arange(1, horizon + 1)
    back = -(-ahead // period) * period - ahead  # steps before the window's end, 0 for its last
    return lambda windows: windows[:, windows.shape[1] - 1 - back]


class Regression(NamedTuple):
    """Sums over windows from which autoregressions with up to `lags` lags follow: second moments, means, count.

    Features are the last value of each channel, then by how much each of the values before differs from it, so that
    small weights mean a random walk with drift; targets are the changes from the last value at each step ahead.
    """

    gram: np.ndarray
    cross: np.ndarray
    feature_mean: np.ndarray
    target_mean: np.ndarray
    lags: int
    horizon: int


def features(windows: Window, lags: int) -> Float[np.ndarray, "N F"]:
    """`[N lags * D]`, lag by lag and in each channel by channel."""
    last = windows[:, -1:]
    before = windows[:, windows.shape[1] - lags : -1][:, ::-1]
    return np.concatenate([last, before - last], axis=1).reshape(len(windows), -1)


def regression(series: Float[np.ndarray, "T D"], *, lags: int, horizon: int) -> Regression:
    """Of all windows of `lags + horizon` steps."""
    total, moments = 0, 0.0
    for window in blocks(series, lags + horizon):
        changes = (window[:, lags:] - window[:, lags - 1 : lags]).reshape(len(window), -1)
        rows = np.concatenate([features(window[:, :lags], lags), changes, np.ones((len(window), 1))], axis=1)
        moments = moments + rows.T @ rows
        total += len(window)
    count = lags * series.shape[1]
    means, moments = moments[-1, :-1] / total, moments[:-1, :-1] / total
    moments -= np.outer(means, means)
    return Regression(moments[:count, :count], moments[:count, count:], means[:count], means[count:], lags, horizon)


def autoregressions(sums: Regression, *, lags: int, across: bool) -> dict[float, Forecast]:
    """A forecast for each of `PENALTIES`, which weighs squared weights against the mean squared error (ridge).

    Directly for each step ahead. across: from the lags of all channels (vector autoregression) instead of each
    channel's own. The constant is not penalised.
    """
    num_channels = len(sums.feature_mean) // sums.lags
    count = lags * num_channels
    weights = {penalty: np.zeros((count, len(sums.target_mean))) for penalty in PENALTIES}
    for channel in [slice(None)] if across else range(num_channels):
        rows = np.arange(count).reshape(lags, num_channels)[:, channel].ravel()
        columns = np.arange(len(sums.target_mean)).reshape(sums.horizon, num_channels)[:, channel].ravel()
        scales, axes = np.linalg.eigh(sums.gram[np.ix_(rows, rows)])
        projected = axes.T @ sums.cross[np.ix_(rows, columns)]
        for penalty, all_weights in weights.items():
            all_weights[np.ix_(rows, columns)] = axes @ (projected / (np.maximum(scales, 0) + penalty)[:, None])

    def forecast(own: np.ndarray) -> Forecast:
        constant = sums.target_mean - sums.feature_mean[:count] @ own

        def predict(windows: Window) -> np.ndarray:
            changes = features(windows, lags) @ own + constant
            return windows[:, -1:] + changes.reshape(len(windows), sums.horizon, num_channels)

        return predict

    return {penalty: forecast(own) for penalty, own in weights.items()}


def errors_by_step(
    forecast: Forecast, series: Float[np.ndarray, "T D"], *, context: int, horizon: int
) -> tuple[Float[np.ndarray, "h"], Float[np.ndarray, "h"]]:
    """Mean squared and mean absolute error at each step ahead, over all windows and channels."""
    total, squared, absolute = 0, 0.0, 0.0
    for window in blocks(series, context + horizon):
        error = forecast(window[:, :context]) - window[:, context:]
        squared = squared + np.square(error).mean(axis=2).sum(axis=0)
        absolute = absolute + np.abs(error).mean(axis=2).sum(axis=0)
        total += len(window)
    return squared / total, absolute / total


def floor_by_step(
    clean: Float[np.ndarray, "T D"], series: Float[np.ndarray, "T D"], *, context: int, horizon: int
) -> tuple[Float[np.ndarray, "h"], Float[np.ndarray, "h"]]:
    """`errors_by_step` of one who knows what the series would be without its noise."""
    noise = series.astype(np.float64) - clean
    return errors_by_step(lambda windows: 0 * last_value(horizon)(windows), noise, context=context, horizon=horizon)


class Baselines(NamedTuple):
    """Forecasts by row of the table, and for those that were chosen on validation, what was chosen."""

    forecasts: dict[str, Forecast]
    chosen: dict[str, Any]


def baselines(
    train: Float[np.ndarray, "T D"],
    validation: Float[np.ndarray, "V D"],
    *,
    context: int,
    horizon: int,
    periods: Sequence[int],
) -> Baselines:
    """`last_value`, `seasonal`, `ar` (each channel alone) and `var` (all channels), fitted on the training series.

    Chosen by squared error on the validation series: the period among `periods`; lags, powers of two and `context` as
    far as there are at most `MOST_FEATURES` of them, and penalties.
    """
    most = max(1, min(context, MOST_FEATURES // train.shape[1]))
    lag_counts = sorted({*(2**k for k in range(most.bit_length())), most})
    sums = regression(train, lags=most, horizon=horizon)

    def cost(forecast: Forecast) -> float:
        return float(errors_by_step(forecast, validation, context=context, horizon=horizon)[0].mean())

    candidates = {"seasonal": {period: seasonal(period, horizon) for period in periods}}
    for row, across in (("ar", False), ("var", True)):
        candidates[row] = {
            (lags, penalty): forecast
            for lags in lag_counts
            for penalty, forecast in autoregressions(sums, lags=lags, across=across).items()
        }
    chosen = {row: min(options, key=lambda option: cost(options[option])) for row, options in candidates.items()}
    found = {row: candidates[row][option] for row, option in chosen.items()}
    return Baselines({"last_value": last_value(horizon)} | found, chosen)


def blocks(series: Float[np.ndarray, "T D"], width: int) -> Iterator[Window]:
    """All windows of `width` steps `[N width D]` in float64, `BLOCK` of them at a time."""
    every = np.lib.stride_tricks.sliding_window_view(series, width, axis=0)
    for start in range(0, len(every), BLOCK):
        yield np.moveaxis(every[start : start + BLOCK], 1, 2).astype(np.float64)
