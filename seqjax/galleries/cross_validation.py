"""The figure of a choice by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqjax import plots
from seqjax.evaluate.cross_validation import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGARITHMIC = 8  # how many times the least candidate the greatest is at least on such an axis


def error_curve(
    field: str,
    candidates: Sequence[int | float],
    found: Curve,
    test_errors: Sequence[float],
    baselines: Mapping[str, float] = {},
) -> Figure:
    """Errors over the folds with their standard errors, the limit within which the choice is made, what was chosen.

    Beside them the test errors of all candidates, and baselines as lines across.
    """
    figure, ((axis,),) = plots.subplots((6.0, 3.4))
    x, chosen = np.asarray(candidates, np.float64), found.chosen
    label = "folds, mean and standard error"
    axis.errorbar(x, found.mean, yerr=found.standard_error, fmt="o-", capsize=3, label=label)
    axis.plot(x, test_errors, "s--", color="0.5", markersize=3, linewidth=1, label="test")
    limit = found.mean[found.best] + found.standard_error[found.best]
    axis.axhline(limit, color="C0", linestyle=":", linewidth=1, label="best and one standard error")
    circle = {"markersize": 12, "fillstyle": "none", "color": "C3"}
    axis.plot(x[chosen], found.mean[chosen], "o", **circle, label=f"chosen: {candidates[chosen]:g}")
    for number, (name, error) in enumerate(baselines.items(), start=1):
        axis.axhline(error, color=f"C{number}", linewidth=1, alpha=0.7, label=name.replace("_", " "))
    if x.min() > 0 and x.max() >= LOGARITHMIC * x.min():
        axis.set_xscale("log")
    axis.set_xticks(x, [f"{value:g}" for value in candidates])
    axis.minorticks_off()
    axis.set(xlabel=field.replace("_", " "), ylabel="squared error a value", ylim=(0, None))
    axis.legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure
