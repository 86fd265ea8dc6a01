"""Locks that the kernel frees however their holder ends: of a run directory, and of a folder with many runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqjax.errors import UsageError
from seqjax.storage import LOCK, lock_taken

PATIENCE = 3.0


def is_locked(run_dir: Path) -> bool:
    """Whether a process runs in the directory.

    Asks for a shared lock and frees it at once, so that none of two that look is taken for a run by the other; a run
    that begins at that moment asks again.
    """
    try:
        # a pipe of this name would have this wait for someone to write
        file = os.open(run_dir / LOCK, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextmanager
def held(folder: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Holds the folder, and gives the descriptor that does. A program that inherits it holds the folder on.

    So whoever comes after a killed holder waits for what that one had begun; UsageError after `patience` seconds.
    """
    file = os.open(folder / ".launch-lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not lock_taken(file, patience):
            raise UsageError(
                f"{folder}: another launch, or what it has started, is at work in this folder.\n"
                "Wait for it to end, or stop it."
            )
        yield file
    finally:
        os.close(file)
