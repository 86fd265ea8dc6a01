"""A grid of members, what a sweep froze of them, and waiting for the files that they leave."""

import json
import time
from pathlib import Path


def grid(tmp_path: Path, **fields: list) -> list[str]:
    (tmp_path / "grid.json").write_text(json.dumps({"grid": fields}))
    return ["sweep", "autoencoder", "--grid", str(tmp_path / "grid.json"), "--folder", str(tmp_path / "the sweep's")]


def frozen(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "the sweep's/members.jsonl").read_text().splitlines()]


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.02)
