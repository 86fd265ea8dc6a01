"""Run directories made by hand, and reports of them: neither needs any training."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

from parsed_page import Page

from results.__main__ import main
from results.report.run_directory import read_runs
from results.report.runs import report_of_runs
from seqjax.receipt import summary

CONFIG = {"dataset": "digits", "hidden": [256, 128], "code_size": 10, "learning_rate": 0.001}
PLAN = {"seed": 0, "seeds": 3, "devices": 1, "driver": "jit", "log_every": None}


def png(width: int = 8, height: int = 8, *, more: int = 0, says: tuple[int, int] | None = None) -> bytes:
    """A grey picture; so many more bytes in a chunk of its own; with the size that its header says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    header = struct.pack(">IIBBBBB", *(says or (width, height)), 8, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"prIv", bytes(more)), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def make_run(
    path: Path,
    *,
    experiment: str = "autoencoder",
    config: dict[str, Any] | None = None,
    per_seed: tuple[float, ...] = (1.0, 2.0, 4.0),
    finished: bool = True,
    figures: dict[str, bytes] | None = None,
    lines: list[dict[str, Any]] | None = None,
    **receipt: Any,
) -> Path:
    """A run of `experiment`; further fields are those of its receipt."""
    path.mkdir(parents=True)
    plan = PLAN | {"seeds": len(per_seed)}
    description = {"experiment": experiment, "config": CONFIG | (config or {}), "plan": plan, "data_sha256": "d1"}
    (path / "config.json").write_text(json.dumps(description))
    if lines is None:
        lines = [
            {"phase": 0, "step": step, "loss": [v / step for v in per_seed], "validation": [v / step for v in per_seed]}
            for step in (10, 20, 30)
        ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        metrics = {
            "autoencoder/squared_error": summary(per_seed),
            "pca/squared_error": summary([1.5] * len(per_seed)),
        }
        content = {
            "metrics": metrics,
            "data": "digits",
            "code_sha256": "c1",
            "health": "ok",
            "device": "CPU",
            "wall_s": 9,
        }
        (path / "receipt.json").write_text(json.dumps(description | content | receipt))
    (path / "figures").mkdir()
    for name, content in ({"samples": png()} if figures is None else figures).items():
        (path / "figures" / f"{name}.png").write_bytes(content)
    return path


def report(*paths, **options) -> Page:
    runs, unreadable = read_runs(paths)
    assert not unreadable
    return Page(report_of_runs(runs, unreadable, **options))


def told(capsys, *args: str) -> str:
    """The lines that the command ends with, which has to be by exit code 2."""
    assert main(["report", *map(str, args)], rows=[]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 2
    return "\n".join(lines)
