"""Small files that would fill the memory are refused before they do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bombs import BOMBS

ROOT = Path(__file__).parent.parent.parent
MOST_MIB = 600  # for what a reader keeps and copies of that; each bomb asks for gigabytes
SMALL_BYTES = 2**27


@pytest.fixture(scope="module")
def ends(tmp_path_factory) -> dict[str, tuple[str, float]]:
    """Of a process that reads one after the other, and that could not take much more than it may."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, bomb in BOMBS.items():
        place = folder / name.replace(" ", "_")
        place.mkdir()
        bomb.put(place)
        assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < SMALL_BYTES, name
    found = subprocess.run(
        [sys.executable, Path(__file__).with_name("bombs.py"), folder],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    return {name: (end, mib) for name, end, mib in lines}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name, ends):
    assert name in ends, f"the process ended at or before it; it read {list(ends)}"
    end, mib = ends[name]
    assert end == "refused"
    assert mib < MOST_MIB
