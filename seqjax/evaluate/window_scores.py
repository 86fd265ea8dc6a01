"""From errors of sliding windows, one from each step on, to a score of each step of the series. On the host."""

import numpy as np
from jaxtyping import Float


def mean_over_windows(errors: Float[np.ndarray, "N W"]) -> Float[np.ndarray, "T"]:
    """The mean error of each step over all windows that hold it; T = N + W - 1."""
    count, width = errors.shape
    total, held = np.zeros(count + width - 1), np.zeros(count + width - 1)
    for place in range(width):
        total[place : place + count] += errors[:, place]
        held[place : place + count] += 1
    return total / held


def last_of_windows(errors: Float[np.ndarray, "N W"]) -> Float[np.ndarray, "T"]:
    """The error of each step in the window that ends there, which knows most of what was before; of the first W steps
    that in the first window."""
    return np.concatenate([errors[0], errors[1:, -1]]).astype(np.float64)
