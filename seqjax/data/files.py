"""A user's own data in one file: `.npz`, `.npy`, `.csv` or `.txt`.

.npz: `x` [N D] or [N T D] and, where there are labels, `label` or `y` [N]; or splits of its own: `x_train`, `x_test`
    and perhaps `x_validation`, with `label_train` or `y_train` and so on.
.npy: `x` alone.
.csv: one example a line, numbers between commas, none missing; the first line may hold names, and a column named
    `label` is the label: whole numbers, or names of classes, which are numbered from 0 in their sorted order.
.txt: text in UTF-8, as `seqjax.data.text` says.

Values stay as they are, as float32. The exception is uint8, which everywhere in the project means intensities: it stays
uint8, and batches hold it divided by 255.
"""

import csv
import hashlib
import math
from array import array
from collections.abc import Callable, Sequence
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
    named_classes: bool = True,
) -> Dataset:
    """The data set in `path`, named by the file's stem; its SHA-256 is that of the file.

    Without splits of its own the rows are put into a pinned order: 70 % train, 15 % validation (or `validation_size`
    rows), 15 % test. A text is split in its own order: 90 % train, 5 % validation, 5 % test. A `.npy` of at least
    `mapped_from` bytes stays on disk. Raises DataError for anything in the file that is not as above.

    parted: how the file's checked fields become splits, called as `split_dataset` is.
    named_classes: whether labels of a `.csv` may be text.
    """
    suffix = path.suffix.lower()
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file.")
        if not path.is_file():  # a pipe or a terminal would be waited for
            raise DataError(f"{path} is {'a directory' if path.is_dir() else 'not a regular file'}; expected a file.")
        if suffix not in SUFFIXES:
            known = f"{', '.join(SUFFIXES)}, or .ts for series"  # which `seqjax.data.load` has read elsewhere
            raise DataError(f"{path}: files of kind '{suffix}' are not read; expected one of {known}.")
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
                parts = {"all": _csv_fields(path, named_classes=named_classes)}
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


def _csv_fields(path: Path, *, named_classes: bool) -> dict[str, np.ndarray]:
    names: list[str] | None = None
    values = array("d")  # eight bytes a cell, where a list of floats takes thirty-two
    labels = array("q")  # places in `classes`
    classes: dict[str, int] = {}  # what stands in the label column, in the order in which each comes first
    first_lines = array("q")  # where that is
    label_column = None
    width = num_rows = 0
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
                        label_column = _label_column(names, path)
                        continue
                if len(cells) != width:
                    raise DataError(f"{path}, line {lines.line_num}: {len(cells)} cells; expected {width} as before.")
                numbers = cells
                if label_column is not None:
                    numbers = cells[:label_column] + cells[label_column + 1 :]
                    name = cells[label_column].strip()
                    labels.append(place := classes.setdefault(name, len(classes)))
                    if place == len(first_lines):
                        first_lines.append(lines.line_num)
                        if _is_missing(name) or not (named_classes or _is_number(name)):
                            raise _refused_cell(path, lines.line_num, label_column, names, name)
                try:
                    row = array("d", map(float, numbers))
                except ValueError:
                    row = None
                if row is None or any(map(math.isnan, row)):
                    own = (column for column in range(width) if column != label_column)
                    column = next(i for i in own if _is_missing(cells[i]) or not _is_number(cells[i]))
                    raise _refused_cell(path, lines.line_num, column, names, cells[column])
                values.extend(row)
                num_rows += 1
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a text file of numbers between commas ({error}).") from None
    if not num_rows:
        raise DataError(f"{path} has no rows of numbers.")
    if label_column is None:
        return {"x": np.frombuffer(values, np.float64).reshape(num_rows, width)}
    x = np.asarray(values, np.float64).reshape(num_rows, width - 1)
    return {"x": x, "label": _numbered(classes, first_lines, path)[np.frombuffer(labels, np.int64)]}


def _label_column(names: list[str], path: Path) -> int | None:
    found = [column for column, name in enumerate(names) if name.lower() == "label"]
    if len(found) > 1:
        raise DataError(f"{path} has {len(found)} columns named 'label'; expected one at most.")
    return found[0] if found else None


def _numbered(classes: dict[str, int], first_lines: Sequence[int], path: Path) -> np.ndarray:
    """The label of each class: the number that it is, or the place of its name among all names in their order."""
    texts = [name for name in classes if not _is_number(name)]
    if not texts:
        return np.asarray([float(name) for name in classes])
    if len(texts) < len(classes):
        # one slip in a column of numbers must not number all of them anew
        line = first_lines[classes[texts[0]]]
        raise DataError(
            f"{path}, line {line}, column 'label': found {texts[0][:40]!r}, and numbers in other lines.\n"
            "Give numbers alone, or names of classes alone."
        )
    numbers = {name: float(number) for number, name in enumerate(sorted(texts))}
    return np.asarray([numbers[name] for name in classes])


def _refused_cell(path: Path, line: int, column: int, names: list[str] | None, cell: str) -> DataError:
    title = f" ({names[column][:40]!r})" if names else ""
    where = f"{path}, line {line}, column {column + 1}{title}"
    if _is_missing(cell):
        return DataError(
            f"{where}: found {cell[:40]!r}, a missing value, which a .csv cannot have. Fill it, or leave out its line."
        )
    return DataError(f"{where}: expected a number, found {cell[:40]!r}. Cells are separated by commas.")


def _is_missing(cell: str) -> bool:
    return not cell.strip() or (_is_number(cell) and math.isnan(float(cell)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
