"""Fields checked for what the project expects of them, and parted into training, validation and test split."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from seqjax.data.stored import StoredRows
from seqjax.errors import DataError, UsageError
from seqjax.types import Dataset, Split

HELD_OUT = 0.15  # of the rows, for validation and for test, where the data have no such split of their own
REAL_KINDS = "biuf"  # of dtypes; numpy's signed integers are more than these, spans of time among them

Fields = Mapping[str, Any]  # arrays, or anything on disk that has shape and dtype and is indexed by rows


def rows_of(fields: Fields, rows: np.ndarray | slice) -> dict[str, Any]:
    return {name: f.part(rows) if isinstance(f, StoredRows) else f[rows] for name, f in fields.items()}


def split_dataset(name: str, parts: Mapping[str, Fields], *, sha256: str, validation_size: int | None) -> Dataset:
    """A Dataset from the splits there are: `train`, and perhaps `validation` and `test`.

    A missing test split takes 15 % of the training rows, and then a missing validation split 15 % of all rows there
    were, or `validation_size` rows; both are drawn in a pinned order. Size 0 leaves the validation split empty. Raises
    DataError where too few rows are left, UsageError if the file has a validation split of another size.
    """
    train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
    num_rows = train["x"].shape[0]
    wanted = max(1, round(HELD_OUT * num_rows))
    if validation is not None and validation_size not in (None, validation["x"].shape[0]):
        raise UsageError(
            f"{name} has a validation split of {validation['x'].shape[0]} rows of its own; leave validation_size away"
        )
    # a legacy generator because it is frozen for good: the splits may never change
    order = np.random.RandomState(0).permutation(num_rows)
    num_test = 0 if test is not None else wanted
    num_validation = 0 if validation is not None else wanted if validation_size is None else validation_size
    num_train = num_rows - num_test - num_validation
    if num_validation < 0 or num_train < 1:
        rows = "1 row" if num_rows == 1 else f"{num_rows} rows"
        raise DataError(
            f"{name}: {rows} cannot be parted into training, {num_validation} validation and {num_test} test"
            " rows.\nMore rows are needed, or a smaller validation_size."
        )
    if test is None:
        test = rows_of(train, order[num_train + num_validation :])
    if validation is None:
        validation = rows_of(train, order[num_train : num_train + num_validation])
    if num_train < num_rows:
        train = rows_of(train, order[:num_train])
    return Dataset(name, Split(dict(train)), Split(dict(validation)), Split(dict(test)), sha256)


def tail_as_validation(name: str, train: Fields, test: Fields, *, sha256: str, validation_size: int) -> Dataset:
    """The published protocol: validation is the end of the official training set; 0 leaves it empty."""
    num_rows = train["x"].shape[0]
    if not 0 <= validation_size < num_rows:
        raise UsageError(f"{name}: validation size {validation_size} is not from 0 to {num_rows - 1}")
    cut = num_rows - validation_size
    return Dataset(
        name,
        Split(rows_of(train, slice(cut))),
        Split(rows_of(train, slice(cut, None))),
        Split(dict(test)),
        sha256,
    )


def checked_x(x: np.ndarray, where: str) -> np.ndarray | StoredRows:
    """`x` [N D] or [N T D] as uint8 (intensities) or finite float32. `where` names file and array in the DataError.

    A memory-mapped array is looked through once and stays on disk.
    """
    if x.dtype == object:
        raise DataError(f"{where} is an object array; expected numbers. Save it again as one array of float32.")
    if x.dtype.kind not in REAL_KINDS:
        raise DataError(f"{where} holds {x.dtype}; expected real numbers.")
    if x.ndim not in (2, 3):
        raise DataError(
            f"{where} has shape {list(x.shape)}; expected [N, D] (vectors) or [N, T, D] (sequences). Reshape it:"
            " a single feature is [N, 1], images are [N, height * width * channels]."
        )
    if 0 in x.shape:
        raise DataError(f"{where} has {'no rows' if x.shape[0] == 0 else 'no features'}: its shape is {list(x.shape)}.")
    if x.dtype != np.uint8:
        _raise_unless_finite(x, where)
    dtype = np.dtype(np.uint8 if x.dtype == np.uint8 else np.float32)
    if isinstance(x, np.memmap):
        return StoredRows(x, np.arange(len(x)), dtype)
    return x.astype(dtype, copy=False)


def _raise_unless_finite(x: np.ndarray, where: str) -> None:
    """Finite as float32, in blocks of rows that fit into memory."""
    block = max(1, 2**22 // (x[0].size or 1))
    for start in range(0, len(x), block):
        with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN, cast
            finite = np.isfinite(x[start : start + block].astype(np.float32, copy=False))
        if not finite.all():
            row, *rest = np.argwhere(~finite)[0]
            row += start
            place = f"row {row}, " + (f"time step {rest[0]}, " if len(rest) == 2 else "") + f"column {rest[-1]}"
            raise DataError(
                f"{where} has {x[(row, *rest)]} at {place} (counted from 0); expected finite float32 numbers."
                " Remove or fill such values."
            )


def checked_label(label: Any, num_rows: int, where: str) -> np.ndarray:
    """`label` [N] as int32. `where` names file and array in the DataError."""
    if label.shape != (num_rows,):
        raise DataError(f"{where} has shape {list(label.shape)}; expected [{num_rows}], one label for each row of x.")
    if label.dtype.kind not in REAL_KINDS:
        raise DataError(f"{where} holds {label.dtype}; expected whole numbers. Number the classes 0, 1, 2, ...")
    limits = np.iinfo(np.int32)
    with np.errstate(invalid="ignore"):
        whole = np.equal(np.mod(label, 1), 0) & (label >= limits.min) & (label <= limits.max)
    if not whole.all():
        row = int(np.argmin(whole))
        raise DataError(f"{where} has {label[row]} at row {row} (counted from 0); expected whole numbers of 32 bits.")
    return label.astype(np.int32)
