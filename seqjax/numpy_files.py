"""NumPy's `.npy` and `.npz` files: no pickle is opened, and no memory given to what a file does not hold."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from seqjax.errors import DataError

LARGEST_RATIO = 100  # of an array to what it is compressed to, from `SMALL_BYTES` on: a few bytes can claim to be all
SMALL_BYTES = 2**28


def read_npy(path: Path, *, mapped_from: int | None = None) -> np.ndarray:
    """The array of a `.npy` file; from `mapped_from` bytes on it stays on disk.

    Raises DataError for what is damaged, or an array of objects; OSError where the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if mapped_from is None or size < mapped_from:
            return _array(file, size, str(path))
        _raise_unless_plausible(file, size, str(path))
    return np.load(path, mmap_mode="r", allow_pickle=False)


def npz_names(path: Path) -> list[str]:
    """The names of the arrays in a `.npz` file, sorted. Raises as `read_npz`."""
    with _opened(path) as archive:
        return sorted(_members(archive))


def read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """These arrays of a `.npz` file, by name.

    Raises DataError for what is damaged, arrays of objects, and an array above 256 MiB that is compressed to less than
    a hundredth of its size; OSError where the file cannot be read.
    """
    with _opened(path) as archive:
        members = _members(archive)
        return {name: _member_array(archive, members[name], path) for name in names}


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a sound .npz file ({error}). Write it with numpy.savez.") from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}


def _member_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    where = f"{path}: array {member.filename.removesuffix('.npy')!r}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{where} is compressed as NumPy does not. Write it with numpy.savez_compressed.")
    if member.file_size > max(SMALL_BYTES, LARGEST_RATIO * member.compress_size):
        raise DataError(
            f"{where} is {member.compress_size} bytes that unpack to {member.file_size}, expected at most"
            f" {LARGEST_RATIO} times as many. Write it with numpy.savez, which does not compress."
        )
    with archive.open(member) as file:
        return _array(file, member.file_size, where)


def _array(file: BufferedIOBase, size: int, where: str) -> np.ndarray:
    _raise_unless_plausible(file, size, where)
    file.seek(0)
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{where} is damaged ({error}).") from None


def _raise_unless_plausible(file: BufferedIOBase, size: int, where: str) -> None:
    """Reads the header alone, so that neither a pickle is opened nor memory given to what the file cannot hold."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError, RecursionError, MemoryError):
        raise DataError(f"{where} is not in NumPy's .npy format. Write it with numpy.save or numpy.savez.") from None
    if dtype.hasobject:
        raise DataError(f"{where} is an object array; expected numbers. Save it again as one array of float32.")
    if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise DataError(
            f"{where} is damaged: its header says {list(shape)} of {dtype}, which are not the {size - file.tell()}"
            " bytes that follow. Write it again."
        )
