"""Windows of one long series as examples of their own, each feature from 0 to 1: what generators of series learn."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from seqjax.data.splits import split_dataset
from seqjax.errors import DataError, require
from seqjax.types import Dataset, Split


class Range(NamedTuple):
    """The least and the greatest value of each feature, `[D]` float64; the greatest is the least + 1 for a constant."""

    low: np.ndarray
    high: np.ndarray

    def scaled(self, x: Float[np.ndarray, "N T D"]) -> Float[np.ndarray, "N T D"]:
        """In these units: `low` is 0, `high` is 1. As float32."""
        return ((x - self.low) / (self.high - self.low)).astype(np.float32)


def window_examples(data: Dataset, width: int) -> tuple[Dataset, Range]:
    """Every window of `width` steps of the series whose three parts `data` holds (see `long_series`), `x [N width D]`.

    Scaled to the range of the training windows. They are parted in a random order, 70, 15 and 15 %, as is usual in
    tables of generated series: a held-out window shares all steps but one with its neighbours in the training split,
    so being near to training windows costs nothing in scores, and only what differs from all windows does.

    Raises DataError for fewer than ten windows.
    """
    require(width >= 1, "width", width, "at least 1 step")
    series = np.concatenate([split.fields["x"][0] for split in (data.train, data.validation, data.test)])
    count = len(series) - width + 1
    if count < 10:
        raise DataError(
            f"{data.name}: {len(series)} time steps make {max(0, count)} windows of {width}, expected at least 10.\n"
            "Take shorter windows, or give a longer series."
        )
    windows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(series, width, axis=0), 2, 1)
    parted = split_dataset(data.name, {"train": {"x": windows}}, sha256=data.sha256, validation_size=None)
    low, high = (np.asarray(extreme(parted.train.fields["x"], axis=(0, 1)), np.float64) for extreme in (np.min, np.max))
    scale = Range(low, np.where(high > low, high, low + 1))

    def scaled(split: Split) -> Split:
        return Split({"x": scale.scaled(split.fields["x"])})

    parts = {"train": scaled(parted.train), "validation": scaled(parted.validation), "test": scaled(parted.test)}
    return parted._replace(**parts), scale
