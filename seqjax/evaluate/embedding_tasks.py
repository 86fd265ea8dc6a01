"""What the rows of an encoder are good for: tasks `Embedded -> {measure: value}`, all measured on the test split.

What needs classes is left out where the data have no labels.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from seqjax.errors import require
from seqjax.evaluate.classification import logistic_regression
from seqjax.evaluate.cluster_scores import cluster_sizes, clustering_scores, silhouette
from seqjax.evaluate.clustering import dbscan, gaussian_mixture, k_means
from seqjax.evaluate.embeddings import Embedded, Task
from seqjax.evaluate.neighbours import nearest
from seqjax.evaluate.reconstruction import fitted_pca, values_of
from seqjax.types import Split

METHODS = {"k_means": k_means, "gaussian_mixture": gaussian_mixture}


def labels_of(split: Split) -> Int[np.ndarray, "N"] | None:
    """The classes of a split as int64, or None where it has none."""
    label = split.fields.get("label")
    return None if label is None else np.asarray(label, np.int64)


def clustering(num_clusters: int | None = None, *, method: str = "k_means", seed: int = 0, prefix: str = "") -> Task:
    """Clusters found among the test rows: `accuracy`, `nmi`, `ari`, without labels `silhouette` alone, and their sizes.

    method: `k_means`, `gaussian_mixture`, or `dbscan`, which finds the number of clusters itself.
    num_clusters: default as many as there are classes in all splits.
    prefix: of the measures' names, to tell several methods apart.
    """
    require(method in (*METHODS, "dbscan"), "method", method, f"one of {', '.join((*METHODS, 'dbscan'))}")

    def task(rows: Embedded) -> dict[str, float]:
        labels = labels_of(rows.data.test)
        if method == "dbscan":
            found = dbscan(rows.test)
        else:
            found = METHODS[method](rows.test, num_clusters or num_classes(rows), seed=seed)
        clusters = found.assign(rows.test)
        scores = {"silhouette": silhouette(rows.test, clusters)} | cluster_sizes(clusters)
        if labels is not None:
            scores = clustering_scores(clusters, labels) | scores
        return {f"{prefix}{measure}": value for measure, value in scores.items()}

    return task


def num_classes(rows: Embedded) -> int:
    """The number of different labels in all splits. Raises UsageError where there are no labels."""
    splits = (rows.data.train, rows.data.validation, rows.data.test)
    found = [label for label in map(labels_of, splits) if label is not None]
    require(bool(found), "num_clusters", None, "a number of clusters, since the data have no labels")
    return len(np.unique(np.concatenate(found)))


def linear_probe(*, prefix: str = "probe_") -> Task:
    """`accuracy` of logistic regression on standardised rows, its strength chosen on the validation split."""

    def task(rows: Embedded) -> dict[str, float]:
        label = [labels_of(split) for split in (rows.data.train, rows.data.validation, rows.data.test)]
        if any(one is None for one in label):
            return {}
        classes, train_label = np.unique(label[0], return_inverse=True)
        mean, stddev = rows.train.mean(axis=0), rows.train.std(axis=0)
        train, validation, test = ((x - mean) / np.where(stddev > 0, stddev, 1) for x in rows[:3])
        if len(classes) == 1:
            return {f"{prefix}accuracy": float((label[2] == classes[0]).mean())}
        known = np.isin(label[1], classes)
        chosen_on = (validation[known], np.searchsorted(classes, label[1][known]))
        said = logistic_regression((train, train_label), chosen_on, test)
        return {f"{prefix}accuracy": float((classes[said.argmax(axis=1)] == label[2]).mean())}

    return task


def nearest_neighbours(*, k: int = 1, prefix: str = "neighbour_") -> Task:
    """`accuracy` of the class that most of the `k` nearest training rows have, of equally many the nearest one's."""
    require(k >= 1, "k", k, "at least 1 neighbour")

    def task(rows: Embedded) -> dict[str, float]:
        train, test = labels_of(rows.data.train), labels_of(rows.data.test)
        if train is None or test is None:
            return {}
        votes = train[nearest(rows.test, rows.train, k=min(k, len(train))).rows]
        counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
        # the first of those with the most votes is the nearest
        said = np.take_along_axis(votes, counts.argmax(axis=1)[:, None], axis=1)[:, 0]
        return {f"{prefix}accuracy": float((said == test).mean())}

    return task


def one_class(*, prefix: str = "one_class_") -> Task:
    """`auroc` of the distance to the nearest training row of a class, for rows of other classes; mean over classes.

    Classes without a training row, and those that no test row, or every one, belongs to, are left out.
    """

    def task(rows: Embedded) -> dict[str, float]:
        from sklearn.metrics import roc_auc_score

        train, test = labels_of(rows.data.train), labels_of(rows.data.test)
        if train is None or test is None:
            return {}
        found = []
        for number in np.unique(train):
            other = test != number
            if 0 < other.sum() < len(other):
                distances = nearest(rows.test, rows.train[train == number]).distances[:, 0]
                found.append(roc_auc_score(other, distances))
        return {f"{prefix}auroc": float(np.mean(found))} if found else {}

    return task


def explained_variance(sizes: Sequence[int], *, prefix: str = "explained_") -> Task:
    """Share of the values' variance that is linear in the first `size` principal axes of the rows, for each size.

    `explained_5` and so on: 1 less the squared error of test values read out by least squares fitted on the training
    split, over that of the training mean. For principal components it is their explained variance.
    """
    require(min(sizes, default=0) >= 1, "sizes", sizes, "one or more of at least 1")

    def task(rows: Embedded) -> dict[str, float]:
        values, targets = values_of(rows.data.train), values_of(rows.data.test)
        pca = fitted_pca(rows.train, max(sizes))
        train, test = pca.transform(rows.train), pca.transform(rows.test)
        total = np.square(targets - values.mean(axis=0)).sum()
        # the axes are uncorrelated, so that each has a readout of its own, and one fit serves all sizes
        scale = np.square(train).sum(axis=0)
        readout = train.T @ (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1)[:, None]

        def explained(size: int) -> float:
            left = np.square(targets - values.mean(axis=0) - test[:, :size] @ readout[:size]).sum()
            return float(1 - left / total) if total > 0 else 1.0

        return {f"{prefix}{size}": explained(size) for size in sizes}

    return task
