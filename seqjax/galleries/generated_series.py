"""Figures of generated series beside real ones. Matplotlib without a window; every function returns a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from seqjax import plots
from seqjax.evaluate.spectra import power_spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FEATURES = 6  # that have a panel of their own


def series_rows(rows: dict[str, Float[np.ndarray, "K T D"]]) -> Figure:
    """One row a method, one column an example, one line a feature, all on the axis of the last row's values."""
    count = max(map(len, rows.values()))
    last = list(rows.values())[-1]
    low, high = float(last.min()), float(last.max())
    margin = 0.08 * (high - low or 1.0)
    figure, axes = plots.subplots(
        (1.15 * count + 1.2, 1.0 * len(rows) + 0.2), len(rows), count, sharex=True, sharey=True
    )
    for (name, series), line in zip(rows.items(), axes, strict=True):
        for axis, one in zip(line, series, strict=False):
            axis.plot(one, linewidth=0.9)
        for axis in line:
            axis.set(xticks=[], yticks=[], ylim=(low - margin, high + margin))
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def spread_over_time(panels: dict[str, Float[np.ndarray, "N T D"]]) -> Figure:
    """For each feature, over the steps, the median of each method's series and the band that holds 90 % of them."""
    num_features = min(MOST_FEATURES, next(iter(panels.values())).shape[2])
    figure, axes = _panels(num_features)
    for feature, axis in enumerate(axes):
        for name, series in panels.items():
            low, middle, high = np.quantile(series[..., feature], [0.05, 0.5, 0.95], axis=0)
            (line,) = axis.plot(middle, label=name, linewidth=1.2)
            axis.fill_between(np.arange(len(low)), low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        axis.set(xlabel="step", title=f"feature {feature + 1}")
    axes[0].set_ylabel("median and 90 % of series")
    axes[-1].legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def spectra(panels: dict[str, Float[np.ndarray, "N T D"]]) -> Figure:
    """For each feature the mean power at each frequency, about the mean of the last method's values."""
    *_, last = panels.values()
    centre = last.mean(axis=(0, 1), dtype=np.float64)
    num_features = min(MOST_FEATURES, last.shape[2])
    figure, axes = _panels(num_features)
    powers = {name: power_spectrum(series, centre) for name, series in panels.items()}
    for feature, axis in enumerate(axes):
        for name, power in powers.items():
            values = power[:, feature]
            axis.plot(np.where(values > 0, values, np.nan), label=name, linewidth=1.2, marker=".", markersize=3)
        axis.set(xlabel="cycles in a series", yscale="log", title=f"feature {feature + 1}")
    axes[0].set_ylabel("mean power")
    axes[-1].legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def _panels(count: int) -> tuple[Figure, np.ndarray]:
    figure, axes = plots.subplots((2.3 * count + 1.6, 2.5), 1, count, sharey=True)
    return figure, axes[0]
