"""Data sets of series as a user has them: a folder NAME with NAME_TRAIN.ts and NAME_TEST.ts."""

from pathlib import Path

import numpy as np

WAVES = [[float(np.round(np.sin(t * (1 + i % 2)), 3)) for t in range(4 + i)] for i in range(8)]


def both(series: list[list[float | None]]) -> dict[str, list[list[float | None]]]:
    return {"TRAIN": series, "TEST": series}


def ts_file(
    path: Path,
    series: dict[str, list[list[float | None]]],
    *,
    classes: tuple[str, ...] = ("a", "b"),
    labels: list[str] | None = None,
) -> Path:
    """The folder with both files; `series` of each, lists of values, None where missing; labels default in turn."""
    path.mkdir()
    for part in ("TRAIN", "TEST"):
        lines = [",".join("?" if v is None else str(v) for v in row) for row in series[part]]
        named = "false" if not classes else f"true {' '.join(classes)}"
        if classes:
            chosen = labels or [classes[i % len(classes)] for i in range(len(lines))]
            lines = [f"{line}:{label}" for line, label in zip(lines, chosen, strict=False)]
        header = f"@univariate true\n@missing true\n@classLabel {named}\n@data\n"
        (path / f"{path.name}_{part}.ts").write_text(header + "\n".join(lines) + "\n")
    return path
