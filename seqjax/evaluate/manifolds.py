"""Is what is generated real, and is all that is real generated: by balls around rows of features. On the host.

A set's manifold is the union of the balls around its rows that reach to the k-th nearest other row of the set.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from seqjax.errors import require
from seqjax.evaluate.neighbours import checked_pair, squared_distances, squared_radii

NAMES = ("generated features", "real features")


class PrecisionRecall(NamedTuple):
    """precision: share of generated rows within the real manifold; recall: share of real rows within the generated."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """density: mean number of real balls that a generated row lies in, over k; coverage: share of real balls with one.

    For two samples of one distribution density is 1 on average; coverage of N by N rows falls short of 1 by
    (N - 1) ... (N - k) / ((2N - 1) ... (2N - k)), about 2^-k.
    """

    density: float
    coverage: float


def precision_recall(
    generated: Shaped[np.ndarray, "N D"], real: Shaped[np.ndarray, "M D"], *, k: int = 3, chunk: int = 500
) -> PrecisionRecall:
    """Improved precision and recall. Both depend on the numbers of rows: compare sets of one size.

    Raises DataError for values that are not finite, and for sets of k rows or fewer.
    Source: Kynkaanniemi et al., "Improved precision and recall metric for assessing generative models" (2019), eq. 1-2.
    """
    require(k >= 1, "k", k, "at least 1 neighbour")
    generated, real = checked_pair(generated, real, NAMES, at_least=k + 1)
    return PrecisionRecall(_share_within(generated, real, k, chunk), _share_within(real, generated, k, chunk))


def density_coverage(
    generated: Shaped[np.ndarray, "N D"], real: Shaped[np.ndarray, "M D"], *, k: int = 5, chunk: int = 500
) -> DensityCoverage:
    """Density and coverage, which one real outlier with a large ball inflates less than it does precision.

    A row on the surface of a ball is outside, one at its centre always inside. Raises DataError for values that are not
    finite, for k real rows or fewer, and without generated rows.
    Source: Naeem et al., "Reliable fidelity and diversity metrics for generative models" (2020), eq. 3 and 4.
    """
    require(k >= 1, "k", k, "at least 1 neighbour")
    generated, real = checked_pair(generated, real, NAMES)
    checked_pair(real, real, (NAMES[1],) * 2, at_least=k + 1)
    radii = squared_radii(real, k=k, chunk=chunk)
    held, covered = 0, np.zeros(len(real), bool)
    for _, squared in squared_distances(generated, real, chunk=chunk):
        inside = (squared < radii) | (squared == 0)
        held += int(inside.sum())
        covered |= inside.any(axis=0)
    return DensityCoverage(held / (k * len(generated)), float(covered.mean()))


def _share_within(points: np.ndarray, centres: np.ndarray, k: int, chunk: int) -> float:
    radii = squared_radii(centres, k=k, chunk=chunk)
    within = sum(
        int((squared <= radii).any(axis=1).sum()) for _, squared in squared_distances(points, centres, chunk=chunk)
    )
    return within / len(points)
