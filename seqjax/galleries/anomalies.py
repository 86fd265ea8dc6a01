"""Figures of scores: how they part anomalies from what is normal, which images they take for what, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from seqjax import plots
from seqjax.evaluate.anomaly import mean_roc_curve
from seqjax.evaluate.range_auc import stretches
from seqjax.galleries.latent_images import mosaic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES = 10
EXTREMES = 4  # images of a kind
BINS = 40
MOST_STEPS = 3000  # of a series that is shown


def roc_curves(scores: dict[str, Float[np.ndarray, "N C"]], anomalous: Bool[np.ndarray, "N C"]) -> Figure:
    """Each method's share of detections over that of false alarms, mean over columns; its area is the mean AUROC."""
    figure, ((axis,),) = plots.subplots((4.6, 4.0))
    for name, own in scores.items():
        shares, detections = mean_roc_curve(own, anomalous)
        area = np.trapezoid(detections, shares)
        axis.plot(shares, detections, label=f"{name.replace('_', ' ')}, {area:.3f}", linewidth=1.2)
    axis.set(xlabel="false alarms, share of normal", ylabel="detections, share of anomalies", aspect="equal")
    axis.legend(frameon=False, loc="lower right")
    return figure


def score_histograms(
    scores: Float[np.ndarray, "N C"],
    anomalous: Bool[np.ndarray, "N C"],
    limits: Float[np.ndarray, "C"],
    names: Sequence[str],
) -> Figure:
    """A panel for each column: the scores of normal examples and of anomalies, and the threshold between them."""
    shown = min(MOST_CLASSES, scores.shape[1])
    columns = min(5, shown)
    rows = -(-shown // columns)
    figure, axes = plots.subplots((2.5 * columns + 0.4, 1.9 * rows + 0.4), rows, columns)
    for column, axis in zip(range(shown), axes.flat, strict=False):
        own, truth = scores[:, column], anomalous[:, column]
        low, high = np.quantile(own, [0, 0.995])
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        for part, name in ((own[~truth], "normal"), (own[truth], "anomalous")):
            axis.hist(np.minimum(part, edges[-1]), edges, density=True, alpha=0.6, label=name)
        axis.axvline(limits[column], color="black", linewidth=1, linestyle="--", label="threshold")
        axis.set(title=names[column], yticks=[])
    for axis in figure.axes[shown:]:
        axis.set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def extremes(
    x: Float[np.ndarray, "N D"], scores: Float[np.ndarray, "N C"], label: Int[np.ndarray, "N"], classes: Sequence[int]
) -> Figure:
    """For each class its own most normal images, its own most anomalous ones, and the most normal of the others."""
    lines = []
    for column, number in enumerate(classes[:MOST_CLASSES]):
        order = np.argsort(scores[:, column], kind="stable")
        own, others = order[label[order] == number], order[label[order] != number]
        lines.append(np.concatenate([np.resize(part, EXTREMES) for part in (own, own[::-1], others)]))
    images = np.clip(x[np.stack(lines)], 0, 1) if plots.image_side(x.shape[1]) else x[np.stack(lines)]
    title = f"{EXTREMES} each: own class most normal, own class least normal, other classes most normal"
    return mosaic(images, rows=[str(number) for number in classes[:MOST_CLASSES]], title=title)


def scored_series(
    x: Float[np.ndarray, "T D"],
    scores: dict[str, Float[np.ndarray, "T"]],
    anomalous: Bool[np.ndarray, "T"],
    limits: dict[str, float],
) -> Figure:
    """The series above each method's scores on one axis of time, true anomalies shaded, thresholds dashed."""
    x, anomalous = x[:MOST_STEPS], anomalous[:MOST_STEPS]
    count = 1 + len(scores)
    figure, axes = plots.subplots((10.0, 1.4 * count + 0.4), count, 1, sharex=True)
    axes = axes[:, 0]
    axes[0].plot(x, linewidth=0.7)
    axes[0].set_ylabel("series")
    for (name, own), axis in zip(scores.items(), axes[1:], strict=True):
        axis.plot(own[:MOST_STEPS], linewidth=0.7, color="black")
        axis.axhline(limits[name], color="tab:blue", linewidth=0.8, linestyle="--")
        axis.set_ylabel(name.replace("_", " "))
        if own.min() > 0:
            axis.set_yscale("log")
    for axis in axes:
        for start, end in stretches(anomalous):
            axis.axvspan(start - 0.5, end - 0.5, color="tab:red", alpha=0.25, linewidth=0)
    axes[-1].set_xlabel("step of the test part")
    return figure
