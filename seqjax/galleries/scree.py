"""How much of the variance each principal component has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from seqjax import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scree(shares: Float[np.ndarray, "K"], *, kept: int, marks: Sequence[float] = (0.9, 0.99)) -> Figure:
    """Each component's share of the variance, and the sum of it and those before; the first `kept` stand out.

    marks: of the sum, each with the number of components that reach it.
    """
    numbers, sums = np.arange(1, len(shares) + 1), np.cumsum(shares)
    figure, ((left, right),) = plots.subplots((7.6, 3.0), 1, 2)
    left.bar(numbers, shares, color=np.where(numbers <= kept, "C0", "0.7"))
    left.set(xlabel="component", ylabel="share of the variance")
    right.plot(numbers, sums, "o-", markersize=3)
    right.axvline(kept, color="C0", linestyle=":", label=f"{kept} components: {sums[min(kept, len(sums)) - 1]:.1%}")
    for mark in marks:
        enough = np.flatnonzero(sums >= mark)
        if len(enough):
            needed = numbers[enough[0]]
            right.plot([0, needed], [mark, mark], color="0.5", linewidth=0.8, label=f"{needed} for {mark:.0%}")
    right.set(xlabel="components", ylabel="cumulative share", xlim=(0, None), ylim=(0, 1.02))
    right.legend(frameon=False)
    return figure
