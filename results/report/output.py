"""Where a report is written: over an older one, but over nothing else."""

from pathlib import Path

from results.report.page import MADE_BY
from seqjax.errors import UsageError
from seqjax.storage import beginning, write_atomically

HEAD = 500  # bytes, among which a report says what it is


def check_output(path: Path) -> None:
    """Raises UsageError where a report cannot be written, or another file would be lost; before there is one."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--output {path}: no such folder {path.parent}, expected one that exists.\nMake it first.")
    if path.exists() and not _is_report(path):
        raise UsageError(
            f"--output {path}: exists and is no report, expected a new file or a report to replace.\n"
            "Name another file, or remove this one."
        )


def _is_report(path: Path) -> bool:
    try:
        return MADE_BY.encode() in beginning(path, HEAD)
    except OSError:
        return False


def write_report(path: Path, content: str) -> str:
    """What it did: `wrote` or `replaced`."""
    did = "replaced" if path.exists() else "wrote"
    write_atomically(path, content)
    return did
