"""Rows run again: to store their receipts, to compare with them, or to see that new code computes the same."""

import contextlib
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from launch.local import command_of, foreground
from results.row import Row
from results.stored import CHECKOUT, Current, checked, confirm, figure_path, parsed, path_of, stale, stored
from seqjax.errors import UsageError
from seqjax.experiment.command import smoke_metrics
from seqjax.experiment.rundir import read_description
from seqjax.receipt import interval_text
from seqjax.storage import write_atomically

REPEATS = 1e-6  # relative: the same seeds on the same machine type, where runs are deterministic
ROUNDING = 1e-4  # relative: the same short computation on another machine
MOST_EXAMPLES = 2000  # that a smoke twin counts
JUMP = 0.02  # of them, by which a count may differ on another machine
Start = Callable[[list[str]], int]


def start(command: list[str]) -> int:
    """The exit code of the command, run in the checkout."""
    return foreground(command, cwd=CHECKOUT)


def free_run_dir(base: Path, now: Current) -> Path:
    """`base`, `base-2`, ...: the first that does not exist, is empty, or holds an unfinished run of the same row."""
    number, path = 1, base
    while not _usable(path, now):
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def _usable(path: Path, now: Current) -> bool:
    if not path.exists():
        return True
    if not path.is_dir() or (path / "receipt.json").exists():
        return False
    if not any(path.iterdir()):
        return True
    try:
        found = read_description(path)
    except UsageError:
        return False
    seeds = (found["plan"].get("seed"), found["plan"].get("seeds"))
    return found["config"] == now.config and seeds == (now.seed, now.seeds)


def run_row(row: Row, run_dir: Path, start: Start = start) -> int:
    """The exit code of the row's experiment in `run_dir`; its output passes through."""
    return start([*command_of(row.experiment, row.arguments), "--run-dir", str(run_dir.absolute())])


def reproduce(row: Row, run_dir: Path, folder: Path, start: Start = start) -> int:
    """Runs the row and stores its receipt; the exit code of the run, with nothing stored unless it is 0.

    Raises UsageError when `run_dir` holds a finished run: that would not be run again.
    """
    if (run_dir / "receipt.json").exists():
        raise UsageError(f"{run_dir}: holds a finished run; name another --run-dir, or none for a fresh one.")
    code = run_row(row, run_dir, start)
    if code == 0:
        store(row, run_dir, folder)
    return code


def store(row: Row, run_dir: Path, folder: Path) -> None:
    """Keeps the receipt of a finished run, and the figures that the row shows, with their SHA-256 in the receipt.

    Raises UsageError for a run that is not the row's, and where it lacks a figure.
    """
    receipt, figures = checked(row, run_dir / "receipt.json"), {}
    for name in row.figures:
        source = run_dir / "figures" / f"{name}.png"
        if not source.exists():
            raise UsageError(f"{source}: does not exist; expected the figure that row {row.name} shows.")
        figures[name] = source.read_bytes()
    for name, png in figures.items():
        place = figure_path(row, name, folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, png)
    target = path_of(row, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    hashes = {name: hashlib.sha256(png).hexdigest() for name, png in figures.items()}
    kept = receipt | ({"figures": hashes} if hashes else {})
    write_atomically(target, json.dumps(kept, indent=2) + "\n")


class Comparison(NamedTuple):
    """agreement: `repeats` (each seed the same), `inside` (the interval), or `outside`."""

    metric: str
    agreement: str
    line: str


def agreement(stored_measure: dict[str, Any], rerun: dict[str, Any]) -> str:
    """`repeats` when each seed gives its value again; `inside` when the mean lies where a rerun's should; `outside`.

    Where: a mean of n values varies about the true one, and so does the stored mean of m; the difference of both stays
    within sqrt(1 + m/n) stored half-widths 19 times in 20. One seed has no interval: its value must come again.
    """
    pairs = list(zip(stored_measure["per_seed"], rerun["per_seed"], strict=False))
    same = all(math.isclose(a, b, rel_tol=REPEATS, abs_tol=1e-12) for a, b in pairs)
    if same and stored_measure["n"] == rerun["n"]:
        return "repeats"
    half = (stored_measure["ci95"] or 0.0) * math.sqrt(1 + stored_measure["n"] / rerun["n"])
    allowed = max(half, ROUNDING * abs(stored_measure["mean"]))
    return "inside" if abs(rerun["mean"] - stored_measure["mean"]) <= allowed else "outside"


def comparisons(row: Row, receipt: dict[str, Any], rerun: dict[str, Any]) -> list[Comparison]:
    """The row's metrics and its baselines, of its receipt and of a rerun."""
    found = []
    for metric in dict.fromkeys((*row.metrics, *row.baselines)):
        old, new = receipt["metrics"][metric], rerun["metrics"][metric]
        how = agreement(old, new)
        line = f"{row.name}  {metric}  {how}: {interval_text(new)}, stored {interval_text(old)}"
        found.append(Comparison(metric, how, line))
    return found


def needed(row: Row, now: Current, folder: Path) -> dict[str, Any]:
    """The row's receipt. Raises UsageError when there is none, or one of other flags than the row has today."""
    receipt = stored(row, folder)
    if receipt is None:
        raise UsageError(f"{row.name}: has no receipt yet; make it with python -m results reproduce {row.name}.")
    why = stale(receipt, now)
    if why not in ("", "code"):
        raise UsageError(
            f"{row.name}: its receipt was made with other flags ({why}); python -m results reproduce {row.name}."
        )
    return receipt


def verify(row: Row, now: Current, run_dir: Path, folder: Path, start: Start = start) -> list[Comparison] | int:
    """The comparison of the row's receipt with a rerun in `run_dir`, or the exit code of a rerun that failed."""
    receipt = needed(row, now, folder)
    code = run_row(row, run_dir, start)
    return code or comparisons(row, receipt, checked(row, run_dir / "receipt.json"))


def recorded_seconds(rows: Sequence[Row], folder: Path) -> dict[str, float]:
    """By row name, the seconds that its receipt says; without those whose receipt is missing or cannot be read."""
    found = {}
    for row in rows:
        # verifying that row will say what is wrong
        with contextlib.suppress(UsageError):
            if receipt := stored(row, folder):
                found[row.name] = receipt["wall_s"]
    return found


def sample(rows: Sequence[Row], seconds: Mapping[str, float]) -> list[Row]:
    """The quickest row of each experiment; one without seconds only where the experiment has no other."""
    by_experiment: dict[str, list[Row]] = {}
    for row in rows:
        by_experiment.setdefault(row.experiment, []).append(row)
    return [min(group, key=lambda row: seconds.get(row.name, math.inf)) for group in by_experiment.values()]


def twin_metrics(row: Row) -> dict[str, float]:
    """The metrics of the row's smoke twin, run here and now."""
    module, config, _ = parsed(row)
    return smoke_metrics(config, module.build, module.SMOKE)


def verify_smoke(
    row: Row, now: Current, folder: Path, twin: Callable[[Row], dict[str, float]] = twin_metrics
) -> list[str]:
    """What the smoke twin computes otherwise than recorded, a line each.

    When it is nothing, the receipt is noted to stand for the code as it is.
    """
    recorded = needed(row, now, folder).get("smoke", {})
    measured = twin(row)
    changed = differing(recorded, measured)
    if not changed:
        confirm(row, folder, now.code_sha256)
    return changed


TWIN_OF_CHECKOUT = """
import json, sys
from results.reproduce import twin_metrics
from results.rows import ROWS
from results.stored import current
(row,) = [row for row in ROWS if row.name == sys.argv[1]]
print(json.dumps([current([row])[row.name].code_sha256, twin_metrics(row)]))
"""


def verify_before(
    row: Row, now: Current, checkout: Path, folder: Path, twin: Callable[[Row], dict[str, float]] = twin_metrics
) -> list[str]:
    """What the smoke twin computes otherwise than by the code of another checkout on this machine, a line each.

    For twins that magnify the rounding of a machine: those recorded on another one are never measured again. When it is
    nothing, the receipt is noted to stand for the code as it is.
    Raises UsageError where the checkout cannot say, or is not of the code that the receipt stands for.
    """
    receipt = needed(row, now, folder)
    command, environment = [sys.executable, "-c", TWIN_OF_CHECKOUT, row.name], {"PYTHONPATH": str(checkout.resolve())}
    try:
        done = subprocess.run(command, cwd=checkout, env=os.environ | environment, capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"--before {checkout}: {error.strerror}; expected a checkout of this project.") from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise UsageError(f"--before {checkout}: cannot run the twin of {row.name} ({why}).")
    code, before = json.loads(done.stdout.strip().rpartition("\n")[2])
    if stale(receipt, now._replace(code_sha256=code)):
        raise UsageError(
            f"--before {checkout}: is not of the code that the receipt of {row.name} stands for.\n"
            "Check out the commit at which it was last current."
        )
    changed = differing(before, twin(row))
    if not changed:
        confirm(row, folder, now.code_sha256)
    return changed


def differing(recorded: dict[str, float], measured: dict[str, float]) -> list[str]:
    """The recorded metrics that were not measured again; all of them when none is recorded."""
    if not recorded:
        return ["no smoke metrics are recorded"]
    return [
        f"{name} is {measured.get(name)}, recorded {value}"
        for name, value in recorded.items()
        if name not in measured or not _alike(measured[name], value)
    ]


def _alike(measured: float, recorded: float) -> bool:
    """To rounding; a share of a number of examples is one that counts, and jumps by whole ones."""
    if math.isclose(measured, recorded, rel_tol=ROUNDING, abs_tol=1e-9):
        return True
    if not (0 <= measured <= 1 and 0 <= recorded <= 1):
        return False
    shares = [Fraction(value).limit_denominator(MOST_EXAMPLES) for value in (measured, recorded)]
    apart = max(abs(measured - shares[0]), abs(recorded - shares[1]))
    counted = apart < 1e-12 and math.lcm(*(share.denominator for share in shares)) <= MOST_EXAMPLES
    return counted and abs(measured - recorded) <= JUMP


def chosen(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """The rows of these names, in the order asked for. Raises UsageError, naming the known ones."""
    by_name = {row.name: row for row in rows}
    for name in wanted:
        if name not in by_name:
            raise UsageError(f"{name!r}: no such row, expected one of: {', '.join(by_name)}.")
    return [by_name[name] for name in dict.fromkeys(wanted)]
