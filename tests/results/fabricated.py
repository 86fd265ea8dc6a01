"""A row, its receipt and its present state, made by hand: no run is needed to judge one."""

import json
from pathlib import Path
from typing import Any

from results.row import Reference, Row, at_most, below
from results.stored import Current
from seqjax.receipt import summary

ROW = Row(
    name="toy",
    title="toy | autoencoder",
    experiment="linear_autoencoder",
    flags="--steps 40 --seeds 3",
    metric="own/error",
    unit="squared error",
    baselines=("pca/error",),
    reference=Reference("3.00", "Somebody 2006", "M"),
    passes=(at_most("own/error", 3.15),),
    beats=below("own/error", 3.0),
    explanation="the toy is small",
)
NOW = Current("today", {"steps": 40, "hidden": [3, 2]}, seed=0, seeds=3)
STATE = {ROW.name: NOW}


def receipt(own: list[float] | None = None, **fields: Any) -> dict[str, Any]:
    own = [3.0, 3.1, 3.2] if own is None else own
    return {
        "experiment": ROW.experiment,
        "config": {"steps": 40, "hidden": [3, 2]},
        "plan": {"seed": 0, "seeds": len(own)},
        "metrics": {"own/error": summary(own), "pca/error": summary([5.0] * len(own))},
        "code_sha256": "today",
        "health": "ok",
        "device": "CPU, 2 cores (x86_64)",
        "wall_s": 47.2,
        "smoke": {"own/error": 4.5, "pca/error": 5.0},
    } | fields


def store(folder: Path, content: dict[str, Any] | str, row: Row = ROW) -> Path:
    path = folder / "receipts" / f"{row.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
