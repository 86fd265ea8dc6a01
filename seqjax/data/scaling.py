"""Channels brought to mean 0 and standard deviation 1, as the training split has them."""

from typing import NamedTuple

import numpy as np

from seqjax.types import Dataset, Split


class Scale(NamedTuple):
    """Mean and standard deviation of each channel, `[D]` float64; deviation 1 for a channel that is constant."""

    mean: np.ndarray
    stddev: np.ndarray


def channel_scale(split: Split) -> Scale:
    """Of `x [N T D]` over all steps that are within a series' `length` and observed (`mask`), where these are given.

    A channel that is never observed has mean 0.
    """
    x, seen = np.asarray(split.fields["x"], np.float64), observed(split)
    count = np.maximum(seen.sum(axis=(0, 1)), 1)
    mean = np.where(seen, x, 0).sum(axis=(0, 1)) / count
    stddev = np.sqrt(np.where(seen, np.square(x - mean), 0).sum(axis=(0, 1)) / count)
    # a constant channel deviates by what its mean was rounded by
    return Scale(mean, np.where(stddev > 1e-10 * np.abs(mean), stddev, 1.0))


def standardised(data: Dataset, fields: tuple[str, ...] = ("x",)) -> tuple[Dataset, Scale]:
    """The data with `(x - mean) / stddev` in place of x, the scale fitted on the training split, and that scale.

    Padding and missing values are 0 as before, which is the mean now. fields: those in the units of `x`.
    """
    scale = channel_scale(data.train)
    splits = {name: scaled(getattr(data, name), scale, fields) for name in ("train", "validation", "test")}
    return data._replace(**splits), scale


def scaled(split: Split, scale: Scale, fields: tuple[str, ...] = ("x",)) -> Split:
    """`split` with these fields in units of the scale, and 0 where nothing was observed."""
    seen = observed(split)
    values = {
        name: np.where(seen, (split.fields[name] - scale.mean) / scale.stddev, 0).astype(np.float32)
        for name in fields
        if name in split.fields
    }
    return Split(split.fields | values)


def observed(split: Split) -> np.ndarray:
    """The values `[N T D]` that are within the length and under the mask, so far as these are given."""
    x, mask, length = (split.fields.get(name) for name in ("x", "mask", "length"))
    seen = np.ones(x.shape, bool) if mask is None else np.asarray(mask)
    return seen if length is None else seen & (np.arange(x.shape[1])[None, :, None] < np.asarray(length)[:, None, None])
