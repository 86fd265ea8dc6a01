"""The run directories below a folder: how far each is, and what is wrong with those that are none."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launch.locks import is_locked
from launch.table import show_table
from seqjax.errors import UsageError
from seqjax.experiment.rundir import read_description, read_metrics
from seqjax.receipt import interval_text
from seqjax.storage import LOCK, read_json

TRACES = ("config.json", "receipt.json", "metrics.jsonl", "checkpoints", LOCK)
LOGS = "logs"
# launch's own: what a job runs, and the code it runs with
JOB, CODE = "members.jsonl", "snapshots"


class Status(NamedTuple):
    """One line of `python -m launch status`. state: finished, running, stopped, broken or foreign."""

    path: Path
    experiment: str
    steps: str
    state: str
    newest: str
    changed: str


def statuses(folder: Path) -> list[Status]:
    """Every run directory below a folder. Raises UsageError when the folder cannot be listed."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder, expected one with run directories below.")
    return [status(path) for path in _candidates(folder)]


def _candidates(folder: Path) -> Iterator[Path]:
    """Directories with the traces of a run, and those that hold files but no run at any depth. Links are left out."""
    for path, folders, files in os.walk(folder):
        names = {*folders, *files}
        if names & set(TRACES):
            folders.clear()
            yield Path(path)
        elif files and not folders and Path(path) != folder and Path(path).name != LOGS and JOB not in files:
            yield Path(path)
        folders[:] = sorted(name for name in folders if name != CODE)


def status(path: Path) -> Status:
    """How far the run in a directory is. Whatever the directory holds, nothing is raised and nothing changed."""
    changed = _last_change(path)
    if not any((path / name).exists() for name in TRACES):
        return Status(path, "", "", "foreign", "no run of this project", changed)
    try:
        running = is_locked(path)
        if not (path / "config.json").exists() and running:
            return Status(path, "", "", "running", "starting", changed)
        description = read_description(path)
        total = description["config"].get("steps")
        if (path / "receipt.json").exists():
            receipt = read_json(path / "receipt.json")
            name, measure = next(iter(receipt["metrics"].items()))
            done = max(receipt["steps"])
            newest = f"{name} {interval_text(measure)}, {receipt['health']}"
            return Status(path, description["experiment"], _steps(done, total), "finished", newest, changed)
        rows = read_metrics(path)
        done = rows[-1]["step"] if rows else 0
        phase = f"phase {rows[-1]['phase']}: " if rows and rows[-1]["phase"] else ""
        state = "running" if running else "stopped"
        return Status(path, description["experiment"], phase + _steps(done, total), state, _validation(rows), changed)
    except UsageError as error:
        fault = str(error).split("\n")[0].removeprefix(f"{path}: ")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, IndexError) as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:100]
    return Status(path, "", "", "broken", fault, changed)


def _steps(done: int, total: Any) -> str:
    return f"{done}/{total}" if isinstance(total, int) else str(done)


def _validation(rows: list[dict[str, Any]]) -> str:
    """The newest validation value: its mean over the seeds that still train."""
    for row in reversed(rows):
        values = [value for value in row.get("validation", ()) if value is not None]
        if values:
            return f"validation {math.fsum(values) / len(values):.5g}"
    return ""


def _last_change(path: Path) -> str:
    times = [path.stat().st_mtime]
    for name in (*TRACES[:3], "checkpoints"):
        if (path / name).exists():
            times.append((path / name).stat().st_mtime)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(max(times)))


def show(found: Sequence[Status]) -> None:
    """A plain table, one line a directory."""
    show_table(Status._fields, found)
