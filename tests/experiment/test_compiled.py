"""Programs that one process has compiled are read by the next, from a place that nobody else writes to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COUNTED = """
import atexit, collections, json, runpy, sys
import jax
seen = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: seen.update([event.rpartition("/")[2]]))
atexit.register(lambda: open(sys.argv[-1], "w").write(json.dumps(seen)))
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=False)
"""


def counts(folder: Path, run: str, **environment: str) -> dict[str, int]:
    """What JAX counted while a process ran a small experiment, with a data directory of its own below `folder`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMPILATION", "JAX_PERSISTENT"))}
    flags = ["--smoke", "--steps", "20", "--seeds", "1", "--run-dir", folder / run]
    # the names of the module and of the file of counts stand around its flags
    code = COUNTED.replace("sys.argv[-1]", repr(str(folder / f"{run}.json")))
    ended = subprocess.run(
        [sys.executable, "-c", code, "experiments.linear_autoencoder", *map(str, flags)],
        cwd=ROOT,
        env=inherited | {"SEQJAX_DATA_DIR": str(folder / "data")} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads((folder / f"{run}.json").read_text())


def test_the_second_process_compiles_nothing_that_the_first_has_kept(tmp_path):
    first, second = counts(tmp_path, "a"), counts(tmp_path, "b")
    (place,) = (tmp_path / "data").glob("compiled-*")
    assert place.stat().st_mode & 0o777 == 0o700
    assert first["cache_misses"] == len(list(place.glob("*-cache"))) > 0
    assert first.get("cache_hits", 0) == 0
    assert second["cache_hits"] == first["cache_misses"]
    assert second.get("cache_misses", 0) == 0


@pytest.mark.parametrize("wrong", ["open to others", "a link", "a file"])
def test_a_place_that_others_could_fill_is_left_alone(wrong, tmp_path):
    counts(tmp_path, "a", JAX_ENABLE_COMPILATION_CACHE="false")
    (place,) = (tmp_path / "data").glob("compiled-*")
    assert not list(place.iterdir())
    match wrong:
        case "open to others":
            place.chmod(0o777)
        case "a link":
            place.rename(tmp_path / "elsewhere")
            place.symlink_to(tmp_path / "elsewhere")
        case "a file":
            place.rmdir()
            place.write_text("")
    seen = counts(tmp_path, "b")
    assert not {"cache_hits", "cache_misses"} & set(seen)
    assert not list(tmp_path.rglob("*-cache"))
