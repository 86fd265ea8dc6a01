"""A table row of samples beside real data, on features that both were given. On the host."""

import numpy as np
from jaxtyping import Shaped

from seqjax.evaluate.feature_distances import frechet_distance, kernel_distance, sliced_wasserstein_distance
from seqjax.evaluate.manifolds import density_coverage, precision_recall
from seqjax.types import Key

PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5


def measures(
    row: str,
    generated: Shaped[np.ndarray, "N D"],
    real: Shaped[np.ndarray, "M D"],
    key: Key,
    *,
    precision_neighbours: int = PRECISION_NEIGHBOURS,
    density_neighbours: int = DENSITY_NEIGHBOURS,
) -> dict[str, float]:
    """Frechet, kernel and sliced Wasserstein distance, precision, recall, density and coverage of generated rows.

    All depend on the numbers of rows: give every row of a table as many, and the same real ones; `halves` of
    `feature_distances` gives real rows to generate beside, and others for a floor. `key` draws the directions of the
    sliced distance. Raises DataError as the functions do.
    """
    precise = precision_recall(generated, real, k=precision_neighbours)
    dense = density_coverage(generated, real, k=density_neighbours)
    return {
        f"{row}/frechet_distance": frechet_distance(generated, real),
        f"{row}/kernel_distance": kernel_distance(generated, real),
        f"{row}/sliced_wasserstein": sliced_wasserstein_distance(generated, real, key),
        f"{row}/precision": precise.precision,
        f"{row}/recall": precise.recall,
        f"{row}/density": dense.density,
        f"{row}/coverage": dense.coverage,
    }
