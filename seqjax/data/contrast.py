"""Contrast of single examples, such as images, brought to one level."""

import numpy as np
from jaxtyping import Float, Shaped

from seqjax.types import Split


def contrast_normalised(x: Shaped[np.ndarray, "N ..."]) -> Float[np.ndarray, "N ..."]:
    """Each example with mean 0 and mean absolute value 1 over all its values, in float32; 0 where it is constant.

    uint8 and intensities of the same image come out alike. Source: global contrast normalisation with the L1-norm, as
    of Ruff et al., "Deep one-class classification" (2018), section 4.2.
    """
    values = np.asarray(x, np.float64).reshape(len(x), -1)
    mean = values.mean(axis=1, keepdims=True)
    deviation = np.abs(values - mean).mean(axis=1, keepdims=True)
    # a constant example deviates by what its mean was rounded by
    varies = deviation > 1e-10 * np.abs(mean)
    found = np.where(varies, (values - mean) / np.where(varies, deviation, 1), 0)
    return found.reshape(x.shape).astype(np.float32)


def with_contrast_normalised(split: Split) -> Split:
    """The split with `contrast_normalised` of its `x`."""
    return Split(split.fields | {"x": contrast_normalised(np.asarray(split.fields["x"]))})


def stretched(values: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Each example's least value at 0 and its greatest at 1, to be looked at."""
    least, greatest = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return (values - least) / np.where(greatest > least, greatest - least, 1)
