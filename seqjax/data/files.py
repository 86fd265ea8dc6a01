"""A user's own data in one file: `.npz`, `.npy`, `.csv` or `.txt`.

.npz: `x` [N D] or [N T D] and, where there are labels, `label` or `y` [N]; or splits of its own: `x_train`, `x_test`
    and perhaps `x_validation`, with `label_train` or `y_train` and so on.
.npy: `x` alone.
.csv: one example a line, numbers between commas; the first line may hold names, and a column named `label`
    is the label.
.txt: text in UTF-8, as `seqjax.data.text` says.

Values stay as they are, as float32. The exception is uint8, which everywhere in the project means intensities: it stays
uint8, and batches hold it divided by 255.
"""

import csv
import hashlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.data.splits import checked_label, checked_x, split_dataset
from seqjax.data.text import text_file_dataset
from seqjax.errors import DataError
from seqjax.numpy_files import npz_names, read_npy, read_npz
from seqjax.types import Dataset

SUFFIXES = (".npz", ".npy", ".csv", ".txt")
SPLITS = ("train", "validation", "test")
MAPPED_FROM_BYTES = 2**31


def file_dataset(
    path: Path,
    *,
    validation_size: int | None = None,
    mapped_from: int = MAPPED_FROM_BYTES,
    parted: Callable[..., Dataset] = split_dataset,
) -> Dataset:
    """The data set in `path`, named by the file's stem; its SHA-256 is that of the file.

    Without splits of its own the rows are put into a pinned order: 70 % train, 15 % validation (or `validation_size`
    rows), 15 % test. A text is split in its own order: 90 % train, 5 % validation, 5 % test. A `.npy` of at least
    `mapped_from` bytes stays on disk. Raises DataError for anything in the file that is not as above.

    parted: how the file's checked fields become splits, called as `split_dataset` is.
    """
    suffix = path.suffix.lower()
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file.")
        if not path.is_file():  # a pipe or a terminal would be waited for
            raise DataError(f"{path} is {'a directory' if path.is_dir() else 'not a regular file'}; expected a file.")
        if suffix not in SUFFIXES:
            raise DataError(f"{path}: files of kind '{suffix}' are not read; expected one of {', '.join(SUFFIXES)}.")
        if suffix == ".txt":
            return text_file_dataset(path, validation_size=validation_size)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        match suffix:
            case ".npz":
                parts = _npz_parts(path)
            case ".npy":
                parts = {"all": {"x": read_npy(path, mapped_from=mapped_from)}}
            case ".csv":
                parts = {"all": _csv_fields(path)}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from None
    checked = {split: _checked_fields(fields, path, split) for split, fields in parts.items()}
    shapes = {split: fields["x"].shape[1:] for split, fields in checked.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: the splits' rows differ in shape: {shapes}; expected one shape.")
    checked = {"train" if split == "all" else split: fields for split, fields in checked.items()}
    return parted(path.stem, checked, sha256=sha256, validation_size=validation_size)


def _checked_fields(fields: dict[str, np.ndarray], path: Path, split: str) -> dict[str, Any]:
    ending = "" if split == "all" else f"_{split}"
    checked = {"x": checked_x(fields["x"], f"{path}: array 'x{ending}'")}
    for name in fields.keys() - {"x"}:
        checked["label"] = checked_label(fields[name], len(fields["x"]), f"{path}: array '{name}{ending}'")
    return checked


def _npz_parts(path: Path) -> dict[str, dict[str, np.ndarray]]:
    found = npz_names(path)
    own = [split for split in SPLITS if f"x_{split}" in found]
    if ("x" in found) == ("train" in own):
        raise DataError(
            f"{path} holds {', '.join(found) or 'no arrays'}; expected an array 'x' (and perhaps 'label'), or 'x_train'"
            " and 'x_test'."
        )
    parts = {}
    for split in ["all"] if "x" in found else own:
        ending = "" if split == "all" else f"_{split}"
        names = ["x", *[name for name in ("label", "y") if f"{name}{ending}" in found][:1]]
        arrays = read_npz(path, [f"{name}{ending}" for name in names])
        parts[split] = {name: arrays[f"{name}{ending}"] for name in names}
    return parts


def _csv_fields(path: Path) -> dict[str, np.ndarray]:
    names: list[str] | None = None
    values = array("d")  # eight bytes a cell, where a list of floats takes thirty-two
    width = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            for cells in lines:
                if not cells:
                    continue
                if not width:
                    width = len(cells)
                    if not any(_is_number(cell) for cell in cells):
                        names = [cell.strip() for cell in cells]
                        continue
                if len(cells) != width:
                    raise DataError(f"{path}, line {lines.line_num}: {len(cells)} cells; expected {width} as before.")
                try:
                    values.extend(map(float, cells))
                except ValueError:
                    column = next(i for i, cell in enumerate(cells) if not _is_number(cell))
                    title = f" ({names[column][:40]!r})" if names else ""
                    raise DataError(
                        f"{path}, line {lines.line_num}, column {column + 1}{title}: expected a number, found"
                        f" {cells[column][:40]!r}. Cells are separated by commas."
                    ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a text file of numbers between commas ({error}).") from None
    if not values:
        raise DataError(f"{path} has no rows of numbers.")
    table = np.frombuffer(values, np.float64).reshape(-1, width)
    labels = [column for column, name in enumerate(names or ()) if name.lower() == "label"]
    if len(labels) > 1:
        raise DataError(f"{path} has {len(labels)} columns named 'label'; expected one at most.")
    if not labels:
        return {"x": table}
    return {"x": np.delete(table, labels, axis=1), "label": table[:, labels[0]]}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
