"""The stored receipts, and whether they still belong to the rows and the code as they are now."""

import importlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from results.row import Row
from seqjax.errors import UsageError
from seqjax.experiment.options import parse
from seqjax.receipt import code_sha256, summary
from seqjax.storage import read_json, write_atomically

CHECKOUT = Path(__file__).parent.parent
FIELDS = {
    "experiment": str, "config": dict, "plan": dict, "metrics": dict, "code_sha256": str, "health": str,
    "device": str, "wall_s": int | float,
}  # fmt: skip


class Current(NamedTuple):
    """What a row would run as things stand: its code, its configuration, its seeds."""

    code_sha256: str
    config: dict[str, Any]
    seed: int
    seeds: int


def parsed(row: Row) -> tuple[Any, Any, Any]:
    """The row's experiment module, its configuration and its options. Raises UsageError for flags it does not know."""
    module = importlib.import_module(f"experiments.{row.experiment}")
    config, options = parse(module.Config, "", f"python -m experiments.{row.experiment}", row.arguments)
    return module, config, options


def current(rows: Iterable[Row]) -> dict[str, Current]:
    """By row name. Imports the experiments, and reads their code."""
    hashes, found = {}, {}
    for row in rows:
        _, config, options = parsed(row)
        if row.experiment not in hashes:
            file = CHECKOUT / "experiments" / f"{row.experiment}.py"
            hashes[row.experiment] = code_sha256(file, CHECKOUT / "seqjax")
        # through JSON, as in a receipt: tuples become lists
        plain = json.loads(json.dumps(vars(config)))
        found[row.name] = Current(hashes[row.experiment], plain, options.seed, options.seeds)
    return found


def stale(receipt: dict[str, Any], now: Current) -> str:
    """Why a receipt no longer stands for its row: `code`, or the fields that the row sets otherwise today; else empty.

    Fields that only one of them has do not count: a new field comes with new code, which the smoke twin vouches for.
    """
    theirs = receipt["config"] | {name: receipt["plan"].get(name) for name in ("seed", "seeds")}
    ours = now.config | {"seed": now.seed, "seeds": now.seeds}
    differing = [name for name in ours if name in theirs and theirs[name] != ours[name]]
    if differing:
        return ", ".join(differing)
    known = {receipt["code_sha256"], *receipt.get("confirmed_code", ())}
    return "" if now.code_sha256 in known else "code"


def path_of(row: Row, folder: Path) -> Path:
    return folder / "receipts" / f"{row.name}.json"


def figure_path(row: Row, name: str, folder: Path) -> Path:
    return folder / "figures" / f"{row.name}-{name}.png"


def stored(row: Row, folder: Path) -> dict[str, Any] | None:
    """The row's receipt, or None. Raises UsageError when it cannot be read or is not a receipt of this row."""
    path = path_of(row, folder)
    return checked(row, path) if path.exists() else None


def checked(row: Row, path: Path) -> dict[str, Any]:
    """The receipt in a file. Raises UsageError naming what is wrong with it, as a receipt of this row."""
    try:
        receipt = read_json(path)
        fault = _fault(row, receipt)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        fault = " ".join(f"cannot be read ({type(error).__name__}: {error})".split())
    if fault:
        raise UsageError(f"{path}: {fault}; make it again with python -m results reproduce {row.name}.")
    return receipt


def _fault(row: Row, receipt: Any) -> str:
    if not isinstance(receipt, dict):
        return "is no receipt"
    for field, kind in FIELDS.items():
        if not isinstance(receipt.get(field), kind):
            return f"has no {field} of the right kind"
    if receipt["experiment"] != row.experiment:
        return f"is of experiment {receipt['experiment']!r}, expected {row.experiment!r}"
    if receipt.get("overfit_batch"):
        return "is of a run on one batch (--overfit-batch), which no table shows"
    for metric in (*row.metrics, *row.baselines):
        if metric not in receipt["metrics"]:
            return f"has no metric {metric!r}"
    for metric, measure in receipt["metrics"].items():
        again = summary(measure["per_seed"])
        for part in ("mean", "ci95", "n"):
            # an interval is a difference of numbers of the size of the mean, and rounded as they are
            if not _same(measure[part], again[part], rounding=1e-14 * abs(again["mean"])):
                return f"{metric}: {part} {measure[part]} does not follow from per_seed ({again[part]})"
    return ""


def _same(a: float | None, b: float | None, *, rounding: float) -> bool:
    if a is None or b is None:
        return a is b
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=rounding)


def confirm(row: Row, folder: Path, code: str) -> None:
    """Notes in the stored receipt that this code computes the same."""
    path = path_of(row, folder)
    receipt = read_json(path)
    known = receipt.get("confirmed_code", [])
    if code not in (receipt["code_sha256"], *known):
        write_atomically(path, json.dumps(receipt | {"confirmed_code": [*known, code]}, indent=2) + "\n")
