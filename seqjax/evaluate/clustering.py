"""Clusters of rows, found by scikit-learn, and how well they agree with classes. On the host, in float64.

k-means and the mixture start from a seed and keep the best of several starts: another seed can give other clusters, so
a table over training seeds has the spread of both.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from seqjax.errors import DataError, require
from seqjax.evaluate.neighbours import checked_pair, checked_rows, nearest

NUM_STARTS = 20
MOST_COMPARED = 5000  # rows whose distances to each other the silhouette takes
COLLAPSED_SHARE = 0.9  # of the rows in one cluster


class Clustering(NamedTuple):
    """centres [K D] of the clusters found, and `assign(rows [N D]) -> [N]`, the cluster of each; -1 belongs to none."""

    centres: Float[np.ndarray, "K D"]
    assign: Callable[[Shaped[np.ndarray, "N D"]], Int[np.ndarray, "N"]]


def k_means(
    rows: Shaped[np.ndarray, "N D"], num_clusters: int, *, seed: int = 0, num_starts: int = NUM_STARTS
) -> Clustering:
    """Lloyd's algorithm from `num_starts` starts of k-means++, of which the least sum of squares is kept.

    Runs in one thread: with several the sums, and so now and then a cluster, would differ from run to run.
    Raises DataError for fewer rows than clusters and values that are not finite.
    """
    from sklearn.cluster import KMeans

    rows = _enough(rows, num_clusters)
    with _quiet():
        fitted = KMeans(num_clusters, n_init=num_starts, random_state=seed).fit(rows)

    def assign(rows: np.ndarray) -> np.ndarray:
        with _quiet():
            return fitted.predict(checked_pair(rows, fitted.cluster_centers_, ("rows", "centres"))[0])

    return Clustering(fitted.cluster_centers_, assign)


def gaussian_mixture(
    rows: Shaped[np.ndarray, "N D"], num_clusters: int, *, seed: int = 0, num_starts: int = 5
) -> Clustering:
    """A mixture of Gaussians with a diagonal covariance each, by expectation and maximisation from k-means.

    Variances have a millionth of the rows' mean variance added, so that equal rows are no degenerate component.
    Raises DataError as `k_means`.
    """
    from sklearn.mixture import GaussianMixture

    rows = _enough(rows, num_clusters)
    with _quiet():
        floor = 1e-6 * float(rows.var(axis=0).mean()) or 1e-12
        fitted = GaussianMixture(
            num_clusters, covariance_type="diag", n_init=num_starts, random_state=seed, reg_covar=floor
        ).fit(rows)
    return Clustering(fitted.means_, lambda rows: fitted.predict(checked_rows(rows, "rows")))


def dbscan(rows: Shaped[np.ndarray, "N D"], *, radius: float | None = None, min_neighbours: int = 5) -> Clustering:
    """Connected regions of dense rows (Ester et al. 1996); the number of clusters comes out, and may be 0.

    radius: within which a dense row has `min_neighbours` rows, itself included. Default: at which nine rows in ten are
        dense.
    A row belongs to the cluster of the nearest dense row within the radius, if there is one.
    """
    from sklearn.cluster import DBSCAN

    require(min_neighbours >= 1, "min_neighbours", min_neighbours, "at least 1")
    require(radius is None or radius > 0, "radius", radius, "a positive number")
    rows = checked_rows(rows, "rows")
    if radius is None:
        nth = nearest(rows, rows, k=min(min_neighbours, len(rows))).distances[:, -1]
        radius = float(np.quantile(nth, 0.9)) or 1e-12
    fitted = DBSCAN(eps=radius, min_samples=min_neighbours).fit(rows)
    dense, numbers = rows[fitted.core_sample_indices_], fitted.labels_[fitted.core_sample_indices_]
    found = [rows[fitted.labels_ == number].mean(axis=0) for number in np.unique(numbers)]
    centres = np.stack(found) if found else np.zeros((0, rows.shape[1]))

    def assign(rows: np.ndarray) -> np.ndarray:
        rows = checked_rows(rows, "rows")
        if not len(dense):
            return np.full(len(rows), -1)
        near = nearest(rows, dense)
        # distances are rounded to float32
        return np.where(near.distances[:, 0] <= radius * (1 + 1e-6), numbers[near.rows[:, 0]], -1)

    return Clustering(centres, assign)


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


def _enough(rows: Shaped[np.ndarray, "..."], num_clusters: int) -> Float[np.ndarray, "N D"]:
    require(num_clusters >= 1, "num_clusters", num_clusters, "at least 1")
    rows = checked_rows(rows, "rows")
    if len(rows) < num_clusters:
        raise DataError(f"{len(rows)} rows are fewer than {num_clusters} clusters; expected at least as many.")
    return rows


@contextmanager
def _quiet() -> Iterator[None]:
    """One thread; no warning of clusters that coincide, which `cluster_sizes` tells."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
