"""Figures of series that were told again from their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from seqjax import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CHANNELS = 4


def told_series(
    truth: Shaped[np.ndarray, "K T D"], lengths: Int[np.ndarray, "K"], told: dict[str, Shaped[np.ndarray, "K T D"]]
) -> Figure:
    """One column a series, one line a channel: the true series in black, and what each method tells of it.

    A method's steps that are NaN are left out, as are those past a series' length.
    """
    count, _, num_channels = truth.shape
    shown = min(num_channels, MOST_CHANNELS)
    figure, axes = plots.subplots((2.6 * count + 1.2, 1.5 * shown + 0.3), shown, count, sharex="col", sharey="row")
    for (channel, number), axis in np.ndenumerate(axes):
        steps = slice(0, int(lengths[number]))
        axis.plot(truth[number, steps, channel], color="black", linewidth=0.8, label="truth")
        for name, values in told.items():
            axis.plot(values[number, steps, channel], linewidth=1.2, label=name)
        if number == 0:
            axis.set_ylabel(f"channel {channel + 1}")
    for axis in axes[-1]:
        axis.set_xlabel("step")
    axes[0][-1].legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def latent_map(
    codes: dict[str, Float[np.ndarray, "N Z"]], labels: Int[np.ndarray, "N"] | None, *, rows: int = 3000
) -> Figure:
    """The codes of each method in two dimensions, side by side, coloured by class where there are any."""
    some = np.random.RandomState(0).permutation(len(next(iter(codes.values()))))[:rows]
    maps = {
        name if values.shape[1] == 2 else f"{name}, first two components": plots.first_two_components(values)[some]
        for name, values in codes.items()
    }
    return plots.code_map(maps, None if labels is None else labels[some])
