"""How well clusters agree with classes, hold together, and share the rows. On the host, in float64."""

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from seqjax.errors import DataError
from seqjax.evaluate.neighbours import checked_rows

MOST_COMPARED = 5000  # rows whose distances to each other the silhouette takes
COLLAPSED_SHARE = 0.9  # of the rows in one cluster


def matched_classes(clusters: Int[np.ndarray, "N"], labels: Int[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
    """The class of each row's cluster, where each class is that of one cluster at most and most rows get their own.

    -1 for rows of no cluster, and of clusters that are left over. The best of all such matchings (Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment

    numbers, places = np.unique(clusters, return_inverse=True)
    classes, classes_of = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(numbers), len(classes)), np.int64)
    np.add.at(counts, (places, classes_of), 1)
    counts[numbers == -1] = 0
    of_number = np.full(len(numbers), -1)
    own, theirs = linear_sum_assignment(counts, maximize=True)
    of_number[own] = classes[theirs]
    of_number[numbers == -1] = -1
    return of_number[places]


def accuracy(clusters: Int[np.ndarray, "N"], labels: Int[np.ndarray, "N"]) -> float:
    """Share of rows whose class is the one that their cluster is matched with (Yang et al. 2010)."""
    return float((matched_classes(clusters, labels) == labels).mean())


def clustering_scores(clusters: Int[np.ndarray, "N"], labels: Int[np.ndarray, "M"]) -> dict[str, float]:
    """`accuracy`, `nmi` (by the arithmetic mean of both entropies) and `ari` of clusters against classes.

    Rows of no cluster, -1, count as one cluster for `nmi` and `ari`, and as wrong for `accuracy`. One cluster for one
    class has an `nmi` and an `ari` of 1. Raises DataError where there are not as many clusters as labels, or none.

    Examples:
        >>> import numpy as np
        >>> from seqjax import clustering_scores
        >>> clustering_scores(np.asarray([2, 2, 0, 0]), np.asarray([0, 0, 1, 1]))  # the same, by other names
        {'accuracy': 1.0, 'nmi': 1.0, 'ari': 1.0}
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if len(clusters) != len(labels) or not len(labels):
        raise DataError(f"labels: found {len(labels)} for {len(clusters)} rows, expected one for each, and some.")
    return {
        "accuracy": accuracy(clusters, labels),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }


def silhouette(rows: Shaped[np.ndarray, "N D"], clusters: Int[np.ndarray, "N"]) -> float:
    """How much nearer rows lie to their own cluster than to the next, from -1 to 1 (Rousseeuw 1987); needs no labels.

    Of `MOST_COMPARED` rows in a pinned order. 0 where fewer than two clusters are left, or one for every row.

    Examples:
        >>> import numpy as np
        >>> from seqjax import silhouette
        >>> round(silhouette(np.asarray([[0.0], [1.0], [10.0], [11.0]]), np.asarray([0, 0, 1, 1])), 4)
        0.8997
    """
    from sklearn.metrics import silhouette_score

    rows = checked_rows(rows, "rows")
    some = np.random.RandomState(0).permutation(len(rows))[:MOST_COMPARED]
    if not 2 <= len(np.unique(clusters[some])) < len(some):
        return 0.0
    return float(silhouette_score(rows[some], clusters[some]))


def largest_share(clusters: Int[np.ndarray, "N"]) -> float:
    """Share of the rows in the largest cluster."""
    return float(np.unique(clusters, return_counts=True)[1].max() / len(clusters))


def collapsed(metrics: dict[str, dict[str, Any]], row: str, *, num_clusters: int) -> bool:
    """Whether in any seed a row has fewer clusters than were asked for, or one that holds nearly all.

    metrics: summarised over seeds; `row/clusters_used` and `row/largest_share` as `cluster_sizes` gives them.
    """
    used, largest = (metrics[f"{row}/{measure}"]["per_seed"] for measure in ("clusters_used", "largest_share"))
    return min(used) < num_clusters or max(largest) > COLLAPSED_SHARE


def cluster_sizes(clusters: Int[np.ndarray, "N"]) -> dict[str, float]:
    """`clusters_used`, the number of clusters that hold a row, and `largest_share`."""
    used = np.unique(clusters[clusters >= 0])
    return {"clusters_used": float(len(used)), "largest_share": largest_share(clusters)}
