"""A run directory, read for a report. It may be anybody's: nothing outside it is opened, nothing is unbounded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqjax.errors import UsageError
from seqjax.experiment.rundir import read_description, read_metrics
from seqjax.receipt import read_receipt, summary
from seqjax.storage import LARGEST_JSON

FILES = ("config.json", "receipt.json", "metrics.jsonl")
LARGEST_METRICS = 4 * LARGEST_JSON  # bytes of metrics.jsonl: a line for each of 100,000 steps has less
MOST_METRICS = 400


class Run(NamedTuple):
    """label: the directory as it was named; description: its `config.json`; receipt: None for an unfinished run.

    metrics: of the receipt, each with its mean and interval; rows: of `metrics.jsonl`; note: what was not read.
    """

    label: str
    path: Path
    description: dict[str, Any]
    receipt: dict[str, Any] | None
    metrics: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    note: str = ""

    @property
    def health(self) -> str:
        return self.receipt["health"] if self.receipt else "unfinished"

    @property
    def seeds(self) -> range:
        plan = self.description["plan"]
        return range(plan["seed"], plan["seed"] + plan["seeds"])


def read_run(path: Path) -> Run:
    """Raises UsageError for what is no run directory, and for a file of it that is a link, damaged or no file."""
    for name in FILES:
        place = path / name
        if place.is_symlink() or (place.exists() and not place.is_file()):
            raise UsageError(
                f"{place}: is a link or no file, and what it leads to is not the run's own.\nPut the file in its place."
            )
    description = read_description(path)
    receipt = read_receipt(path / "receipt.json") if (path / "receipt.json").exists() else None
    metrics = summaries(path, receipt["metrics"]) if receipt else {}
    size = (path / "metrics.jsonl").stat().st_size if (path / "metrics.jsonl").exists() else 0
    if size > LARGEST_METRICS:
        note = f"No learning curves: metrics.jsonl has {size:,} bytes, expected at most {LARGEST_METRICS:,}."
        return Run(str(path), path, description, receipt, metrics, [], note)
    return Run(str(path), path, description, receipt, metrics, read_metrics(path))


def summaries(path: Path, metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and 95 % interval of each metric, computed from its seeds again: a report repeats no number on trust.

    Raises UsageError for a metric without values.
    """
    found = {}
    with np.errstate(all="ignore"):
        for name, measure in list(metrics.items())[:MOST_METRICS]:
            if not measure["per_seed"]:
                raise UsageError(
                    f"{path / 'receipt.json'}: metric {name[:100]} has no values, expected one for each seed.\n"
                    "Delete the file, and the same command evaluates the run again."
                )
            found[name] = summary([float(value) for value in measure["per_seed"]])
    return found


def read_runs(paths: Sequence[Path]) -> tuple[list[Run], dict[str, str]]:
    """The runs of the directories, each once and in the order that they were named; by label, why others are none.

    Raises UsageError for a name that leads to no directory: a slip of whoever typed it, and no damage.
    """
    runs, unreadable = [], {}
    for path in dict.fromkeys(paths):
        if not path.is_dir():
            raise UsageError(f"{path}: no such directory, expected that of a run.\nName one that a run has made.")
        try:
            runs.append(read_run(path))
        except UsageError as error:
            unreadable[str(path)] = str(error)
        except OSError as error:
            unreadable[str(path)] = f"{error.filename}: cannot be read ({error.strerror}).\nGive permission to read it."
    return runs, unreadable
