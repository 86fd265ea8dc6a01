"""Distances between two sets of rows, as distributions; 0 for equal ones. On the host, in float64.

On features of the project's own network (see `feature_network`), never of Inception: the Frechet distance of such
features is no FID, and is not comparable with one.
"""

import jax
import numpy as np
from jaxtyping import Float, Shaped

from seqjax.errors import require
from seqjax.evaluate.neighbours import checked_pair, checked_rows
from seqjax.types import Key

NAMES = ("generated features", "real features")


def frechet_distance(generated: Shaped[np.ndarray, "N D"], real: Shaped[np.ndarray, "M D"]) -> float:
    """|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) of the means and covariances: squared, in units of features.

    With S = R^T R, R from a QR decomposition of the centred rows, the trace is the least |R_1 - Q R_2|^2 over rotations
    Q, of which the singular vectors of R_1 R_2^T give the best. No covariance is squared or has its root taken, and the
    sum cannot fall below 0, however singular they are. Biased upwards by about 1 / N: compare at one number of rows.

    Raises DataError for values that are not finite and for fewer than two rows.
    Source: Dowson & Landau, "The Frechet distance between multivariate normal distributions" (1982).
    """
    generated, real = checked_pair(generated, real, NAMES, at_least=2)
    size = min(max(len(generated), len(real)), generated.shape[1])
    roots = []
    for rows in (generated, real):
        root = np.linalg.qr((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1), mode="r")
        roots.append(np.pad(root, ((0, size - len(root)), (0, 0))))
    left, _, right = np.linalg.svd(roots[0] @ roots[1].T)
    shift = np.square(generated.mean(axis=0) - real.mean(axis=0)).sum()
    return float(shift + np.square(roots[0] - left @ right @ roots[1]).sum())


def kernel_distance(
    generated: Shaped[np.ndarray, "N D"], real: Shaped[np.ndarray, "M D"], *, degree: int = 3, chunk: int = 1000
) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x . y / D + 1)^degree; may fall below 0 by chance.

    Raises DataError for values that are not finite and for fewer than two rows.
    Source: Binkowski, Sutherland, Arbel & Gretton, "Demystifying MMD GANs" (2018), section 4.
    """
    require(degree >= 1, "degree", degree, "at least 1")
    require(chunk >= 1, "chunk", chunk, "at least 1 row")
    generated, real = checked_pair(generated, real, NAMES, at_least=2)

    def total(one: np.ndarray, other: np.ndarray) -> float:
        blocks = (one[start : start + chunk] @ other.T for start in range(0, len(one), chunk))
        return sum(float(((block / one.shape[1] + 1) ** degree).sum()) for block in blocks)

    def mean_of_pairs(rows: np.ndarray) -> float:
        """Over pairs of different rows."""
        itself = ((np.square(rows).sum(axis=1) / rows.shape[1] + 1) ** degree).sum()
        return (total(rows, rows) - itself) / (len(rows) * (len(rows) - 1))

    between = total(generated, real) / (len(generated) * len(real))
    return float(mean_of_pairs(generated) + mean_of_pairs(real) - 2 * between)


def sliced_wasserstein_distance(
    generated: Shaped[np.ndarray, "N D"], real: Shaped[np.ndarray, "M D"], key: Key, *, projections: int = 128
) -> float:
    """Root mean square, over random directions, of the 2-Wasserstein distance between the sets' shadows there.

    In units of features. Exact along each direction for any two numbers of rows. Raises DataError for values that are
    not finite.
    Source: Bonneel, Rabin, Peyre & Pfister, "Sliced and Radon Wasserstein barycenters of measures" (2015).
    """
    require(projections >= 1, "projections", projections, "at least 1 direction")
    generated, real = checked_pair(generated, real, NAMES)
    directions = np.asarray(jax.random.normal(key, (generated.shape[1], projections)), np.float64)
    directions /= np.linalg.norm(directions, axis=0)
    # the quantile functions are steps at i / N and j / M: in units of 1 / (N M) all are whole numbers
    n, m = len(generated), len(real)
    steps = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))
    weights, begins = np.diff(steps) / (n * m), steps[:-1]
    squared = 0.0
    for direction in directions.T:
        one, other = np.sort(generated @ direction), np.sort(real @ direction)
        squared += float(weights @ np.square(one[begins // m] - other[begins // n]))
    return float(np.sqrt(squared / projections))


def halves(rows: Shaped[np.ndarray, "N D"], key: Key) -> tuple[Float[np.ndarray, "n D"], Float[np.ndarray, "n D"]]:
    """Two halves of the rows, drawn without replacement; an odd row is left out. For a real-against-real floor:

        reference, rest = halves(real, key)
        floor = frechet_distance(rest, reference)
        found = frechet_distance(generated[: len(reference)], reference)

    A distance between samples is above 0 for equal distributions and depends on their sizes; so is a share within a
    manifold below 1. Measured against one half, with as many rows, generated and real ones suffer alike.
    Raises DataError for values that are not finite and for fewer than two rows.
    """
    rows = checked_rows(rows, "real features", at_least=2)
    order = np.asarray(jax.random.permutation(key, len(rows)))
    half = len(rows) // 2
    return rows[order[:half]], rows[order[half : 2 * half]]
