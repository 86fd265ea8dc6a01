"""Programs that one process has compiled are read by the next, from a place that nobody else writes to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from seqjax.experiment.compiled import keep_compiled_programs

ROOT = Path(__file__).parent.parent.parent
COUNTED = """
import atexit, collections, json, runpy, sys
import jax
from seqjax.experiment import compiled
compiled.LEAST_SECONDS = 0  # under load a program would be worth its file in one process and not in the other
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
    assert first["cache_misses"] == len(list(place.glob("*-cache"))) > 0
    assert first.get("cache_hits", 0) == 0
    assert second["cache_hits"] == first["cache_misses"]
    assert second.get("cache_misses", 0) == 0


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A directory of data that is empty, for a process that has not been told where to keep programs."""
    monkeypatch.setenv("SEQJAX_DATA_DIR", str(tmp_path / "data"))
    names = (
        "jax_compilation_cache_dir",
        "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "data"
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_where_this_user_alone_can_write(data_dir):
    keep_compiled_programs()
    (place,) = data_dir.iterdir()
    assert jax.config.jax_compilation_cache_dir == str(place)
    assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("wrong", ["open to others", "a link", "a file", "nothing can be made there"])
def test_a_place_that_others_could_fill_is_left_alone(wrong, data_dir, tmp_path):
    keep_compiled_programs()
    (place,) = data_dir.iterdir()
    jax.config.update("jax_compilation_cache_dir", None)
    match wrong:
        case "open to others":
            place.chmod(0o777)
        case "a link":
            place.rename(tmp_path / "elsewhere")
            place.symlink_to(tmp_path / "elsewhere")
        case "a file":
            place.rmdir()
            place.write_text("")
        case "nothing can be made there":
            place.rmdir()
            data_dir.rmdir()
            data_dir.write_text("")
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None


def test_a_place_that_was_named_stays(data_dir, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "named"))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "named")
    assert not data_dir.exists()
