"""Cell arrays of numbers in MATLAB's level 5 `.mat` files; nothing else that such files hold is read.

A file is a header and then elements, each with its kind and its number of bytes; a matrix is an element of elements.
SciPy reads these files too, but gives memory to what they claim, and unpacks without end.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NoReturn

import numpy as np

from seqjax.errors import DataError

HEADER_BYTES = 128
LITTLE_ENDIAN_LEVEL_5 = b"\0\1IM"
SHAPE, FLAGS, MATRIX, COMPRESSED = 5, 6, 14, 15  # kinds of elements
CELLS = 1  # the class of a matrix of matrices
NUMBER_CLASSES = range(6, 16)
NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
MOST_AXES = 8
MOST_CELLS = 2**16  # of one array
MOST_BYTES = 2**27  # of all elements, four times what the largest file of the project unpacks to


def read_cells(content: bytes, names: Sequence[str], where: str) -> list[list[np.ndarray]]:
    """For each of these cell arrays the matrices in it, in MATLAB's order; `where` names the file in errors.

    Raises DataError for what is damaged, for cells of anything but real numbers, where an array is missing, and for
    more than 65,536 cells or 128 MiB unpacked.
    """
    try:
        cells = dict(_cells(content, names))
    except (ValueError, zlib.error) as error:
        raise DataError(f"{where} is no sound .mat file of cells of numbers ({error}). Fetch it again.") from None
    for name in names:
        if name not in cells:
            raise DataError(f"{where} holds {', '.join(cells) or 'nothing'}; expected {', '.join(names)}.")
    return [cells[name] for name in names]


def _cells(content: bytes, names: Sequence[str]) -> Iterator[tuple[str, list[np.ndarray]]]:
    if content[HEADER_BYTES - 4 : HEADER_BYTES] != LITTLE_ENDIAN_LEVEL_5:
        raise ValueError("not of level 5, little-endian")
    for matrix in _matrices(memoryview(content)[HEADER_BYTES:]):
        kind, shape, name, inner = _opened(matrix)
        if name not in names:
            continue
        if kind != CELLS:
            raise ValueError(f"{name} is no cell array")
        arrays = [_numbers(data) if kind == MATRIX else _raise_for(kind) for kind, data in islice(inner, MOST_CELLS)]
        if len(arrays) != math.prod(shape):
            raise ValueError(f"{name} holds {len(arrays)} matrices, not {math.prod(shape)}, or more than {MOST_CELLS}")
        yield name, arrays


def _matrices(content: memoryview) -> Iterator[memoryview]:
    """Those of a file, unpacked where they are compressed."""
    left = MOST_BYTES
    for kind, data in _elements(content):
        unpacked = zlib.decompressobj().decompress(data, left + 1) if kind == COMPRESSED else b""
        left -= len(unpacked)
        if left < 0:
            raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
        for inner_kind, inner in _elements(memoryview(unpacked)) if kind == COMPRESSED else [(kind, data)]:
            yield inner if inner_kind == MATRIX else _raise_for(inner_kind)


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The kind of each element and what it holds."""
    place = 0
    while place < len(content):
        if place + 8 > len(content):
            raise ValueError(f"{len(content) - place} bytes where an element should be")
        kind, size = struct.unpack_from("<II", content, place)
        start = place + 8
        place = start + size + (0 if kind == COMPRESSED else -size % 8)
        if kind >> 16:  # a small one: the number of its bytes is in these four, and they in the next four
            kind, size, start, place = kind & 0xFFFF, kind >> 16, start - 4, start
        if start + size > min(place, len(content)):
            raise ValueError(f"an element claims {size} bytes, of which {len(content) - start} are there")
        yield kind, content[start : start + size]


def _opened(matrix: memoryview) -> tuple[int, tuple[int, ...], str, Iterator[tuple[int, memoryview]]]:
    """Its class, its shape, its name, and the elements after these three."""
    inner = _elements(matrix)
    (flags_kind, flags), (shape_kind, shape), (_, name) = (next(inner, (0, memoryview(b""))) for _ in range(3))
    if (flags_kind, len(flags)) != (FLAGS, 8) or shape_kind != SHAPE:
        raise ValueError("a matrix begins without its class and its shape")
    lengths = np.frombuffer(shape[: 4 * MOST_AXES + 4], "<i4").tolist()
    if not 2 <= len(lengths) <= MOST_AXES or min(lengths) < 0:
        raise ValueError(f"a matrix has the shape {lengths}")
    return flags[0], tuple(lengths), bytes(name).decode("ascii"), inner


def _numbers(matrix: memoryview) -> np.ndarray:
    kind, shape, _, inner = _opened(matrix)
    (stored, data), *others = *islice(inner, 2), (0, b"")
    if kind not in NUMBER_CLASSES or stored not in NUMBERS or len(others) != 1:
        raise ValueError("a cell is no matrix of real numbers")
    values = np.frombuffer(data, NUMBERS[stored])
    if len(values) != math.prod(shape):
        raise ValueError(f"a matrix holds {len(values)} numbers, not {math.prod(shape)}")
    return values.reshape(shape, order="F")


def _raise_for(kind: int) -> NoReturn:
    raise ValueError(f"an element of kind {kind} where a matrix should be")
