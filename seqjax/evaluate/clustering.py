"""Clusters of rows, found by scikit-learn. On the host, in float64.

k-means and the mixture start from a seed and keep the best of several starts: another seed can give other clusters, so
a table over training seeds has the spread of both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from seqjax.errors import DataError, require
from seqjax.evaluate.neighbours import checked_pair, checked_rows, nearest

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

NUM_STARTS = 20


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
    """The most probable component of `fitted_mixture` for each row. Raises DataError as `k_means`."""
    fitted = fitted_mixture(rows, num_clusters, seed=seed, num_starts=num_starts)
    return Clustering(fitted.means_, lambda rows: fitted.predict(checked_rows(rows, "rows")))


def fitted_mixture(
    rows: Shaped[np.ndarray, "N D"], num_clusters: int, *, seed: int = 0, num_starts: int = 5
) -> GaussianMixture:
    """A mixture of Gaussians with a diagonal covariance each, by expectation and maximisation from k-means.

    Of `num_starts` starts the likeliest is kept: `weights_ [K]`, `means_ [K D]` and the variances `covariances_ [K D]`,
    which have a millionth of the rows' mean variance added, so that equal rows are no degenerate component.
    Raises DataError as `k_means`.
    """
    from sklearn.mixture import GaussianMixture

    rows = _enough(rows, num_clusters)
    with _quiet():
        floor = 1e-6 * float(rows.var(axis=0).mean()) or 1e-12
        return GaussianMixture(
            num_clusters, covariance_type="diag", n_init=num_starts, random_state=seed, reg_covar=floor
        ).fit(rows)


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
