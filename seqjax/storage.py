"""Files that are either whole or absent, hashes of files, and a lock on a directory."""

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqjax.errors import UsageError

LOCK = ".seqjax-lock"
LARGEST_JSON = 2**24  # bytes, more than any file of this project has; one that is not ours must not fill the memory
LARGEST_LINES = 2**30  # bytes of a file of JSON lines
LONGEST_INTEGER = 300  # digits: with more a whole number is none of floating point


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes to a temporary file beside `path`, syncs it to the disk and renames it: a reader never sees a part."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes renames inside the directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parsed_json(text: str | bytes, **hooks: Callable[[Any], Any]) -> Any:
    """Raises ValueError for what is no JSON, is too large or nested too deep to be read, or has too large a number.

    hooks: as `json.loads` takes them.
    """
    if len(text) > LARGEST_JSON:
        raise ValueError(f"is larger than {LARGEST_JSON} bytes")
    try:
        return json.loads(text, parse_int=_integer, **hooks)
    except RecursionError:
        raise ValueError("is nested too deep") from None


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError(f"has a number of {len(digits)} digits")
    return int(digits)


def read_json(path: Path, **hooks: Callable[[Any], Any]) -> Any:
    """Raises OSError where the file cannot be read, and ValueError as `parsed_json` does."""
    with path.open("rb") as file:
        return parsed_json(file.read(LARGEST_JSON + 1), **hooks)


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file of JSON lines; a last one without its end, which a crash cut short, is left out.

    Raises OSError where the file cannot be read, and ValueError for what is no file (a pipe, a device) or too large.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is no file")
        if os.fstat(file.fileno()).st_size > LARGEST_LINES:
            raise ValueError(f"is larger than {LARGEST_LINES} bytes")
        whole, _, _ = file.read(LARGEST_LINES).rpartition(b"\n")
    return whole.splitlines()


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory for this process; the kernel frees it when the process ends, however it ends.

    Raises UsageError when another process holds it.
    """
    with (directory / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{directory}: another process is running in this directory.\n"
                "Wait for it, or choose another directory with --run-dir."
            ) from None
        yield
