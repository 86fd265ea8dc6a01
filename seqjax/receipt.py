"""What a run leaves behind: its receipt, with intervals over training seeds and hashes of code, data and state."""

import ast
import functools
import hashlib
import importlib.metadata
import math
import platform
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seqjax.errors import UsageError
from seqjax.parallel import usable_cores
from seqjax.storage import read_json

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


def summary(per_seed: Sequence[float]) -> dict[str, Any]:
    """`per_seed`, `mean`, `n`, `ci95`: half the width of Student's 95 % interval of the mean (`None` for one seed).

    Raises ValueError where there are no values.
    """
    from scipy.special import stdtrit  # Student's quantiles; `scipy.stats` takes four times as long to import

    values = np.asarray(per_seed, np.float64)
    n = len(values)
    if not n:
        raise ValueError("no values to sum up")
    if n == 1 or (values == values[0]).all():
        # the mean of equal values would differ from them by rounding
        return {"per_seed": values.tolist(), "mean": float(values[0]), "ci95": 0.0 if n > 1 else None, "n": n}
    with np.errstate(invalid="ignore"):  # of infinite values the deviation is NaN, and of both signs the mean
        half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))
        return {"per_seed": values.tolist(), "mean": float(values.mean()), "ci95": half, "n": n}


def interval_text(measure: dict[str, Any]) -> str:
    """`mean ± half-width`, the digits following the width of the interval."""
    mean, half = measure["mean"], measure["ci95"]
    # equal values whose mean was rounded have no interval to speak of
    if half is None or not math.isfinite(half) or half <= 1e-14 * abs(mean):
        return f"{mean:.5g}"
    digits = max(0, 1 - math.floor(math.log10(half)))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}


def device_name() -> str:
    """The accelerator's name, or the processor's with the cores this process may use."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return f"{jax.local_device_count()} x {device.device_kind}"
    cores = usable_cores()
    return f"CPU, {cores} core{'' if cores == 1 else 's'} ({platform.machine()})"


def peak_bytes() -> int:
    """The most memory held so far: on the device where it says, else by this process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(stats.get("peak_bytes_in_use", 0)) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def code_sha256(experiment_file: Path, package: Path) -> str:
    """A hash of the syntax trees of an experiment and of every module of `package` it imports, however far down.

    Comments, docstrings and layout do not count.
    """
    digest = hashlib.sha256()
    for path in sorted(_imported_files(experiment_file, package)):
        digest.update(_without_docstrings(path.read_text()).encode())
    return digest.hexdigest()


def _imported_files(experiment_file: Path, package: Path) -> set[Path]:
    found, waiting = set(), [experiment_file.resolve()]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imported_names(path.read_text()):
            top, *rest = name.split(".")
            if top == package.name:
                target = package.joinpath(*rest)
                waiting += [p.resolve() for p in (target.with_suffix(".py"), target / "__init__.py") if p.is_file()]
    return found


# the experiments of a results table share most of their files
@functools.cache
def _imported_names(source: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


@functools.cache
def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:]
    return _dumped(tree)


def _dumped(node: Any) -> str:
    """A syntax tree as text without its empty fields: Python versions differ in which of them they have."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        # `None` is a value here and an absent field everywhere else
        if isinstance(node, ast.Constant):
            fields = [("value", node.value)]
        return f"{type(node).__name__}({', '.join(f'{name}={_dumped(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_dumped, node))}]"
    return repr(node)


def read_receipt(path: Path) -> dict[str, Any]:
    """A run's receipt. Raises UsageError when it is not one."""
    try:
        receipt = read_json(path)
    except (OSError, ValueError):
        receipt = None
    match receipt:
        case {
            "metrics": dict(metrics), "config": dict(), "plan": {"seeds": int()}, "data": str(), "code_sha256": str(),
            "health": str(), "device": str(), "wall_s": int() | float(),
        } if metrics and all(_is_measure(name, measure) for name, measure in metrics.items()):  # fmt: skip
            return receipt
    raise UsageError(
        f"{path}: not a readable receipt, so the file has been changed or damaged.\n"
        "Delete it, and the same command evaluates the run again."
    )


def _is_measure(name: str, measure: Any) -> bool:
    match measure:
        case {"per_seed": list(values), "mean": int() | float(), "ci95": int() | float() | None, "n": int()}:
            return "/" in name and all(isinstance(value, int | float) for value in values)
    return False


def table(metrics: dict[str, dict[str, Any]]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Metrics named `row/measure` as a table: the measures, and each row with its cells."""
    pairs = [tuple(name.split("/", 1)) for name in metrics]
    measures = list(dict.fromkeys(measure for _, measure in pairs))
    rows = list(dict.fromkeys(row for row, _ in pairs))
    cells = {
        row: [interval_text(metrics[f"{row}/{m}"]) if f"{row}/{m}" in metrics else "" for m in measures] for row in rows
    }
    return measures, [(row, cells[row]) for row in rows]
