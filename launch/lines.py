"""What a sweep has written, read with a bound: by now anything may lie there under its names."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seqjax.storage import LARGEST_JSON


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
