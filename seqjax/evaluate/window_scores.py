"""From errors of sliding windows, one from each step on, to a score of each step of the series.

On the host in float64; what is traced keeps its dtype, and may be of a symbolic number of windows.
"""

import jax
import numpy as np
from jax import Array
from jaxtyping import Float


def mean_over_windows(errors: Float[np.ndarray | Array, "N W"]) -> Float[np.ndarray | Array, "T"]:
    """The mean error of each step over all windows that hold it; T = N + W - 1."""
    xp, width = errors.__array_namespace__(), errors.shape[1]

    def summed(values: Float[np.ndarray | Array, "N W"]) -> Float[np.ndarray | Array, "T"]:
        return sum(xp.pad(values[:, place], (place, width - 1 - place)) for place in range(width))

    if not isinstance(errors, jax.core.Tracer):
        errors = errors.astype(np.float64)
    return summed(errors) / summed(xp.ones_like(errors))


def last_of_windows(errors: Float[np.ndarray | Array, "N W"]) -> Float[np.ndarray | Array, "T"]:
    """The error of each step in the window that ends there, which knows most of what was before; of the first W steps
    that in the first window."""
    found = errors.__array_namespace__().concatenate([errors[0], errors[1:, -1]])
    return found if isinstance(errors, jax.core.Tracer) else found.astype(np.float64)
