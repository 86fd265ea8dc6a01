"""A copy of the code in a folder named by its content: what was submitted is what runs, whatever is edited since."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seqjax.errors import UsageError

ROOT = Path(__file__).parent.parent
LARGEST = 50_000_000


class File(NamedTuple):
    """One file of the code. mode: 644, 755, or 777 for a link, whose content is its target."""

    path: str
    mode: int
    content: bytes


def code_files(root: Path) -> Iterator[File]:
    """What git tracks in a checkout or would offer to track, as it lies there now, sorted by path.

    Raises UsageError where there is no checkout, or a file is too large to be code.
    """
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.CalledProcessError):
        raise UsageError(f"{root}: git knows no checkout here, so which files are code is not known.") from None
    for name in sorted({os.fsdecode(part) for part in listed.split(b"\0") if part}):
        path = root / name
        if path.is_symlink():
            yield File(name, 0o777, os.fsencode(os.readlink(path)))
        elif path.is_file():
            if path.stat().st_size > LARGEST:
                raise UsageError(
                    f"{path}: larger than {LARGEST // 1_000_000} MB, so it is not taken for code.\n"
                    "Name it in .gitignore, or move it out of the checkout."
                )
            yield File(name, 0o755 if os.access(path, os.X_OK) else 0o644, path.read_bytes())


def digest(files: Iterator[File]) -> str:
    """A name for the content of files: 16 hexadecimal digits."""
    total = hashlib.sha256()
    for file in files:
        # a digest of fixed length for each part: no content can be taken for a name
        for part in (os.fsencode(file.path), b"%o" % file.mode, file.content):
            total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:16]


def snapshot(folder: Path, root: Path = ROOT) -> Path:
    """The folder below `folder` that holds the code as it is now; it is made unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=folder, prefix=".making-"))

    def copied() -> Iterator[File]:
        for file in code_files(root):
            target = making / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.mode == 0o777:
                target.symlink_to(os.fsdecode(file.content))
            else:
                target.write_bytes(file.content)
                target.chmod(file.mode)
            yield file

    try:
        # named by the bytes that were copied: a file edited meanwhile gives another name, never a wrong one
        whole = folder / digest(copied())
        if not whole.exists():
            making.chmod(0o755)
            try:
                making.rename(whole)
            except OSError:
                if not whole.exists():
                    raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return whole
