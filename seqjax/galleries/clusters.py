"""Figures made of clusters: where the codes lie, which classes the clusters hold, and what their rows look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from seqjax import plots
from seqjax.evaluate.cluster_scores import matched_classes
from seqjax.evaluate.embedding_tasks import labels_of
from seqjax.evaluate.reconstruction import values_of
from seqjax.galleries.latent_images import mosaic
from seqjax.types import Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP_ROWS = 3000  # of a map, where more would only cover each other
MOST_SHOWN = 20  # clusters

Stages = dict[str, tuple[Float[np.ndarray, "N Z"], Int[np.ndarray, "N"]]]


def cluster_figures(stages: Stages, split: Split) -> dict[str, Figure]:
    """Maps of all stages, and of the last one its confusion with the classes, if there are any, and its means.

    stages: by name the codes and the clusters of the rows of `split`, the last stage last.
    """
    labels = labels_of(split)
    *_, (_, clusters) = stages.values()
    figures = {"embedding_map": embedding_map(stages, labels), "cluster_means": cluster_means(clusters, split)}
    if labels is not None:
        figures["cluster_confusion"] = plots.confusion(counts(clusters, labels), said="cluster, by matched class")
    return figures


def embedding_map(stages: Stages, labels: Int[np.ndarray, "N"] | None) -> Figure:
    """The codes of each stage, a column, in two dimensions: above by class, where there are any, below by cluster."""
    rows = ("class", "cluster")[labels is None :]
    figure, axes = plots.subplots((4.2 * len(stages), 3.6 * len(rows)), len(rows), len(stages))
    for (name, (codes, clusters)), column in zip(stages.items(), axes.T, strict=True):
        some = np.random.RandomState(0).permutation(len(codes))[:MAP_ROWS]
        points = plots.first_two_components(codes)[some]
        for row, axis in zip(rows, column, strict=True):
            values = (labels if row == "class" else clusters)[some]
            colours = plots.palette(values)
            for number, value in enumerate(np.unique(values)):
                own = points[values == value]
                colour = colours(number % colours.N)
                axis.scatter(*own.T, s=5, alpha=0.6, linewidths=0, color=colour, label=str(value), rasterized=True)
            axis.set_title(f"{name}, by {row}")
            if name == list(stages)[-1] and len(np.unique(values)) <= MOST_SHOWN:
                axis.legend(frameon=False, markerscale=2, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def counts(clusters: Int[np.ndarray, "N"], labels: Int[np.ndarray, "N"]) -> Int[np.ndarray, "C K"]:
    """Rows of each class in each cluster: first, in the order of the classes, those that are matched with one."""
    classes, classes_of = np.unique(labels, return_inverse=True)
    numbers, first, places = np.unique(clusters, return_index=True, return_inverse=True)
    matched = matched_classes(clusters, labels)[first]
    order = np.lexsort((numbers, matched, matched < 0))
    found = np.zeros((len(classes), len(numbers)), np.int64)
    np.add.at(found, (classes_of, np.argsort(order)[places]), 1)
    return found


def cluster_means(clusters: Int[np.ndarray, "N"], split: Split) -> Figure:
    """The mean of each cluster: of images an image, of rows a curve, of series their mean series, a line a channel."""
    x = np.asarray(split.fields["x"])
    numbers = np.unique(clusters)[:MOST_SHOWN]
    titles = [f"{number}: {np.sum(clusters == number)}" for number in numbers]
    if x.ndim == 2:
        values = values_of(split)
        means = np.stack([values[clusters == number].mean(axis=0) for number in numbers])
        return mosaic(means[None], columns=titles)
    valid = np.arange(x.shape[1])[None, :] < np.asarray(split.fields["length"])[:, None]
    seen = np.broadcast_to(valid[:, :, None], x.shape) & np.asarray(split.fields.get("mask", True))
    columns = min(4, len(numbers))
    figure, axes = plots.subplots(
        (2.4 * columns, 1.7 * -(-len(numbers) // columns)),
        -(-len(numbers) // columns),
        columns,
        sharex=True,
        sharey=True,
    )
    for number, title, axis in zip(numbers, titles, axes.flat, strict=False):
        own = clusters == number
        count = seen[own].sum(axis=0)
        mean = np.where(seen[own], x[own], 0).sum(axis=0) / np.maximum(count, 1)
        axis.plot(np.where(count > 0, mean, np.nan), linewidth=1)
        axis.set_title(title)
    for axis in list(axes.flat)[len(numbers) :]:
        axis.set_visible(False)
    return figure
