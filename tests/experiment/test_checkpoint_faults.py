"""Whatever happens to a file of the newest checkpoint: it is seen, told in one line, and costs one save interval."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import toy

from seqjax import checkpoint
from seqjax.errors import CheckpointError, Interrupted
from seqjax.experiment import Options, phases, rundir, state
from seqjax.experiment.session import make_plan, make_session

CONFIG = toy.Config(steps=60, second_steps=0)
NEWEST = "0-000000050"


def session_in(run_dir, **options):
    run_dir.mkdir(exist_ok=True)
    return make_session(toy.build(CONFIG), make_plan(Options(seeds=2, devices=1)), run_dir, save_every=0.0, **options)


def trained(run_dir, **options):
    session = session_in(run_dir, **options)
    return phases.train_phases(session, state.restore_or_start(session))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped one chapter before its end."""
    run_dir = tmp_path_factory.mktemp("stopped")
    asked = itertools.count(1)
    with pytest.raises(Interrupted, match="at step 50"):
        trained(run_dir, stop_requested=lambda: next(asked) == 5)
    return run_dir


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return checkpoint.tree_sha256(trained(tmp_path_factory.mktemp("unbroken")))


def truncate(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def flip_twelve_bits(path):
    data = bytearray(path.read_bytes())
    # twelve different ones: a bit that is flipped twice is whole again
    for position in np.random.default_rng(len(data)).choice(8 * len(data), 12, replace=False):
        data[position // 8] ^= 1 << (position % 8)
    path.write_bytes(data)


def files_of_newest(run_dir):
    folder = run_dir / "checkpoints"
    return [*sorted(path for path in (folder / NEWEST).rglob("*") if path.is_file()), folder / f"{NEWEST}.json"]


@pytest.mark.parametrize("fault", [truncate, zero, flip_twelve_bits, Path.unlink])
def test_the_run_continues_from_the_checkpoint_before_and_ends_unbroken(stopped, unbroken, fault, tmp_path, capsys):
    files = [path for path in files_of_newest(stopped) if fault is Path.unlink or path.stat().st_size]
    assert len(files) >= 6
    for number, file in enumerate(files):
        run_dir = tmp_path / str(number)
        shutil.copytree(stopped, run_dir)
        fault(run_dir / file.relative_to(stopped))
        capsys.readouterr()
        found = state.restore_or_start(session_in(run_dir))
        lines = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
        assert int(found.done) == 40, file.name
        assert len(lines) == 1, file.name
        assert lines[0].startswith(f"checkpoint skipped: {NEWEST}: ")
    assert checkpoint.tree_sha256(trained(run_dir)) == unbroken
    assert [row["step"] for row in rundir.read_metrics(run_dir)] == [10, 20, 30, 40, 50, 60]


def test_with_no_checkpoint_left_nothing_is_trained_and_nothing_touched(stopped, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(stopped, run_dir)
    for path in (run_dir / "checkpoints").rglob("*"):
        if path.is_file() and path.stat().st_size:
            flip_twelve_bits(path)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="no checkpoint can be trusted") as error:
        trained(run_dir)
    assert error.value.exit_code == 4
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
