"""Contrast of single examples, such as images, brought to one level."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

from seqjax.types import Split


def contrast_normalised(x: Shaped[np.ndarray | Array, "N ..."]) -> Float[np.ndarray | Array, "N ..."]:
    """Each example with mean 0 and mean absolute value 1 over all its values, in float32; 0 where it is constant.

    uint8 and intensities of the same image come out alike. Computed in float64, in float32 where traced. Source: global
    contrast normalisation with the L1-norm, as of Ruff et al., "Deep one-class classification" (2018), section 4.2.
    """
    xp, dtype, rounding = np, np.float64, 1e-10
    if isinstance(x, jax.core.Tracer):
        xp, dtype, rounding = jnp, np.float32, 1e-6
    values = xp.asarray(x, dtype).reshape(x.shape[0], math.prod(x.shape[1:]))
    mean = values.mean(axis=1, keepdims=True)
    deviation = xp.abs(values - mean).mean(axis=1, keepdims=True)
    # a constant example deviates by what its mean was rounded by
    varies = deviation > rounding * xp.abs(mean)
    found = xp.where(varies, (values - mean) / xp.where(varies, deviation, 1), 0)
    return found.reshape(x.shape).astype(np.float32)


def with_contrast_normalised(split: Split) -> Split:
    """The split with `contrast_normalised` of its `x`."""
    x = split.fields["x"]
    return Split(split.fields | {"x": contrast_normalised(x if isinstance(x, jax.core.Tracer) else np.asarray(x))})


def stretched(values: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Each example's least value at 0 and its greatest at 1, to be looked at."""
    least, greatest = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return (values - least) / np.where(greatest > least, greatest - least, 1)
