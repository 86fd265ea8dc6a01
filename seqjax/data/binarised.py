"""Intensities as probabilities of binary values, drawn once for the splits that are measured (Salakhutdinov & Murray
2008)."""

import jax
import numpy as np

from seqjax import noise
from seqjax.data.batches import intensities
from seqjax.errors import DataError
from seqjax.types import Dataset, Split

ROWS = 4096  # drawn together
KEY = 0x0B1A  # of the one draw that all models, seeds and baselines share


def binarised(data: Dataset, *, train: bool = False) -> Dataset:
    """The data with `x` of validation and test drawn as 0 or 255 (uint8), each with its intensity as probability.

    The draw is pinned: whatever is trained on the data is measured on the same rows. The training split keeps its
    intensities, from which a fresh draw is made each time a row is shown, unless `train` asks for one draw of it too.
    Raises DataError for values outside [0, 1].
    """
    splits = data.train, data.validation, data.test
    for split in splits:
        _require_intensities(data.name, split.fields["x"])
    drawn = [_drawn(split, number) if number or train else split for number, split in enumerate(splits)]
    return data._replace(train=drawn[0], validation=drawn[1], test=drawn[2])


def _require_intensities(name: str, x: np.ndarray) -> None:
    if x.dtype != np.uint8 and x.size and not (x.min() >= 0 and x.max() <= 1):
        raise DataError(
            f"{name}: has values from {x.min():g} to {x.max():g}, which are no probabilities of binary values.\n"
            "Use a Gaussian likelihood, or scale the data to [0, 1]."
        )


def _drawn(split: Split, number: int) -> Split:
    key = jax.random.fold_in(jax.random.key(KEY), number)
    draw = jax.jit(lambda x, index: noise.bernoulli(intensities(x), key, index))
    x = np.asarray(split.fields["x"])
    rows = np.arange(len(x), dtype=np.int32)
    parts = [np.asarray(draw(x[i : i + ROWS], rows[i : i + ROWS])) for i in range(0, len(x), ROWS)]
    values = np.concatenate(parts) if parts else np.zeros(x.shape)
    return Split({**split.fields, "x": (255 * values).astype(np.uint8)})
