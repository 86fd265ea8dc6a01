"""The `.ts` text format of the UCR and UEA archives: a header of lines with `@`, then one series a line.

A data line holds the series' channels between colons, each with its values between commas, and last the series' class,
where `@classLabel` says that there are classes. `?` is a value that is missing.
"""

from array import array
from collections.abc import Iterator
from io import TextIOBase
from typing import NamedTuple

import numpy as np

from seqjax.errors import DataError

MAX_LINE = 2**24  # characters, four times the longest line of the archives: so much is in memory as text at most
MAX_CHANNELS = 2**16


class TsFile(NamedTuple):
    """series: float32 `[T D]` each, NaN where missing. labels: place in `classes` of each; both empty if unknown."""

    series: list[np.ndarray]
    labels: list[int]
    classes: tuple[str, ...]


def read_ts(file: TextIOBase, where: str) -> TsFile:
    """What a `.ts` file holds; `where` names it in errors.

    Raises DataError for anything that is not as above, and where the header says otherwise than the data: another
    number of channels, other lengths, other classes, values missing without `@missing true`. Time stamps and
    regression targets are not read.
    """
    lines = _lines(file, where)
    header = _header(lines, where)
    may_miss, equal_length = (_flag(header, name, where) for name in ("missing", "equallength"))
    num_channels = 1 if _flag(header, "univariate", where) else _num_channels(header, where)
    classes = _classes(header, where)
    series, labels, length = [], [], 0
    for number, line in lines:
        place = f"{where}, line {number}"
        if classes:
            line, _, label = line.rpartition(":")
            labels.append(_label(label.strip(), classes, place))
        channels = line.split(":", MAX_CHANNELS)
        num_channels = num_channels or min(len(channels), MAX_CHANNELS)
        if len(channels) != num_channels:
            raise DataError(f"{place}: {len(channels)} channels between colons; expected {num_channels}.")
        columns = [_numbers(channel, f"{place}, channel {i + 1}") for i, channel in enumerate(channels)]
        lengths = sorted({len(column) for column in columns})
        if len(lengths) > 1:
            raise DataError(f"{place}: channels of {lengths[0]} and of {lengths[-1]} values; expected one length.")
        length = length or lengths[0]
        if equal_length and lengths[0] != length:
            raise DataError(f"{place}: {lengths[0]} values; expected {length} as before, since @equalLength is true.")
        if not may_miss and any(np.isnan(column).any() for column in columns):
            raise DataError(f"{place}: a value is missing; expected none, or @missing true in the header.")
        series.append(np.stack(columns, axis=1))
    if not series:
        raise DataError(f"{where} has no series after @data.")
    return TsFile(series, labels, tuple(classes))


def _lines(file: TextIOBase, where: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without the empty ones and comments."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise DataError(f"{where}, line {number} has {MAX_LINE} characters or more; expected one series a line.")
        line = line.strip()
        if line and not line.startswith("#"):
            yield number, line


def _header(lines: Iterator[tuple[int, str]], where: str) -> dict[str, list[str]]:
    """The words after each `@name` before `@data`, by the name in lower case."""
    header: dict[str, list[str]] = {}
    for number, line in lines:
        if not line.startswith("@"):
            raise DataError(f"{where}, line {number}: {line[:40]!r} before @data; expected lines that begin with @.")
        name, *words = line[1:].lower().split() or [""]
        if name == "data":
            break
        header[name] = line.split()[1:] if name == "classlabel" else words
    else:
        raise DataError(f"{where} has no line @data; expected a .ts file: a header, then one series a line.")
    for name, what in (("timestamps", "time stamps"), ("targetlabel", "regression targets")):
        if _flag(header, name, where):
            raise DataError(f"{where} has {what} (@{name} true), which are not read; expected values and classes.")
    return header


def _flag(header: dict[str, list[str]], name: str, where: str) -> bool:
    word = (header.get(name) or ["false"])[0].lower()
    if word not in ("true", "false"):
        raise DataError(f"{where}: @{name} is {word[:40]!r}; expected true or false.")
    return word == "true"


def _num_channels(header: dict[str, list[str]], where: str) -> int:
    """As `@dimensions` says; 0 where it says nothing."""
    word = (header.get("dimensions") or header.get("dimension") or ["0"])[0]
    if not (word.isascii() and word.isdigit() and int(word[:9]) <= MAX_CHANNELS):
        raise DataError(f"{where}: @dimensions is {word[:40]!r}; expected a number of channels up to {MAX_CHANNELS}.")
    return int(word)


def _classes(header: dict[str, list[str]], where: str) -> dict[str, int]:
    """Numbers of the classes in their order; none where there are no classes."""
    if not _flag(header, "classlabel", where):
        return {}
    names = header["classlabel"][1:]
    if not names or len(set(names)) < len(names):
        raise DataError(f"{where}: @classLabel names {'a class twice' if names else 'no classes'}; expected each once.")
    return {name: number for number, name in enumerate(names)}


def _label(found: str, classes: dict[str, int], place: str) -> int:
    if found not in classes:
        known = ", ".join(list(classes)[:10]) + ", ..." * (len(classes) > 10)
        raise DataError(f"{place}: class {found[:40]!r} after the last colon; expected one of @classLabel: {known}.")
    return classes[found]


def _numbers(text: str, place: str) -> np.ndarray:
    """float32, NaN for `?`; cell by cell, without an array of strings that are all as wide as the widest."""
    cells = text.replace("?", "nan").split(",")
    try:
        values = np.frombuffer(array("f", map(float, cells)), np.float32)
    except ValueError:
        values = None
    if values is None or np.isinf(values).any():
        wrong = next(i for i, cell in enumerate(cells) if not _is_float32(cell))
        shown = text.split(",")[wrong].strip()[:40]
        raise DataError(f"{place}, value {wrong + 1}: found {shown!r}; expected a finite float32 number or ?.")
    return values


def _is_float32(cell: str) -> bool:
    try:
        return not np.isinf(array("f", [float(cell)])[0])
    except ValueError:
        return False
