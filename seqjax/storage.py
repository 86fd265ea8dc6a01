"""Files that are either whole or absent, hashes of files, and a lock on a directory."""

import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from seqjax.errors import UsageError

LOCK = ".seqjax-lock"
LARGEST_JSON = 2**24  # bytes, more than any file of this project has; one that is not ours must not fill the memory
PATIENCE = 1.0  # seconds that a lock is asked for: who only looks whether it is held has it for a moment
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


def beginning(path: Path, size: int) -> bytes:
    """At most so many bytes of a file. Raises OSError as `lines` does."""
    with _opened(path) as file:
        return file.read(size)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, each with its end; the last may have none.

    Raises OSError for what is no regular file, and for a line that is longer than any of ours.
    """
    with _opened(path) as file:
        while line := file.readline(LARGEST_JSON + 1):
            if len(line) > LARGEST_JSON:
                raise OSError(errno.EFBIG, f"has a line of more than {LARGEST_JSON} bytes", str(path))
            yield line


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        yield file


def _without_waiting(name: str, flags: int) -> int:
    """For a pipe, whose other end nobody may ever open."""
    return os.open(name, flags | os.O_NONBLOCK)


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock_taken(descriptor: int, patience: float) -> bool:
    """Whether this process has the lock on an open file, for which it asks again and again for so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory for this process; the kernel frees it when the process ends, however it ends.

    Raises UsageError when another process holds it.
    """
    with (directory / LOCK).open("a") as file:
        if not lock_taken(file.fileno(), PATIENCE):
            raise UsageError(
                f"{directory}: another process is running in this directory.\n"
                "Wait for it, or choose another directory with --run-dir."
            )
        yield
