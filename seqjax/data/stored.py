"""Fields too large for memory: rows on disk, read when a batch asks for them."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class StoredRows:
    """Rows of `array`, anything on disk that is indexed by row numbers, in the order `rows`, as `dtype`.

    `field[rows]` reads these rows as a NumPy array; `field.part(rows)` reads nothing.
    """

    array: Any
    rows: np.ndarray
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.array.shape[1:]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.asarray(self.array[self.rows[rows]]).astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, read into memory: for splits that are small, and for what cannot do with less."""
        return np.asarray(self[:], dtype)

    def part(self, rows: np.ndarray | slice) -> "StoredRows":
        return StoredRows(self.array, self.rows[rows], self.dtype)


@dataclass(frozen=True)
class RecordField:
    """One feature of a TFDS data source, indexed by row numbers: every record is one row."""

    source: Any
    name: str
    shape: tuple[int, ...]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        records = self.source.__getitems__([int(row) for row in rows])
        return np.stack([np.asarray(record[self.name]).reshape(self.shape[1:]) for record in records])
