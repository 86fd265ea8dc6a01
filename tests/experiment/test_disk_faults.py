"""A disk that is full, read-only or not ours any more in the middle of a run: nothing that was saved is lost."""

import gc
import os
import resource
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest
import toy
from commands import finished, process

from seqjax import checkpoint
from seqjax.errors import SaveError
from seqjax.experiment import Options, phases, rundir, state
from seqjax.experiment.session import make_plan, make_session

# where one array of a save fails, TensorStore tells of the others to a loop that is closed by then
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = toy.Config(steps=80, second_steps=0)
NOBODY = 65534


@pytest.fixture(autouse=True)
def nothing_left_to_say():
    """What a failed save leaves behind says so when it is collected, which is to be here and not in another test."""
    yield
    gc.collect()


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(disk):
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def remount(disk, how):
    deadline = time.monotonic() + 10
    # busy while a file is being written
    while subprocess.run(["mount", "-o", f"remount,{how}", disk], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline


class Full:
    words = "No space left on device|MB are free"

    def begin(self, disk):
        fill(disk)

    def end(self, disk):
        (disk / "ballast").unlink(missing_ok=True)


class ReadOnly:
    words = "Read-only file system"

    def begin(self, disk):
        remount(disk, "ro")

    def end(self, disk):
        remount(disk, "rw")


class NotOurs:
    """The files are root's, and this process is nobody for a while."""

    words = "Permission denied"

    def begin(self, disk):
        os.seteuid(NOBODY)

    def end(self, disk):
        os.seteuid(0)


FAULTS = [Full(), ReadOnly(), NotOurs()]


@contextmanager
def wrong_from(fault, disk, chapter, until=None):
    """`moved` of a session in whose disk the fault begins at a chapter, and ends at another or with the block."""
    chapters = iter(range(1, 1000))

    def moved():
        now = next(chapters)
        if now == chapter:
            fault.begin(disk)
        if now == until:
            fault.end(disk)

    try:
        yield moved
    finally:
        fault.end(disk)


def trained(run_dir, **options):
    run_dir.mkdir(exist_ok=True)
    plan = make_plan(Options(seeds=2, devices=1))
    session = make_session(toy.build(CONFIG), plan, run_dir, save_every=0.0, **options)
    return phases.train_phases(session, state.restore_or_start(session))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return checkpoint.tree_sha256(trained(folder)), rundir.read_metrics(folder)


def assert_unbroken(run_dir, run, unbroken):
    assert (checkpoint.tree_sha256(run), rundir.read_metrics(run_dir)) == unbroken


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_the_run_ends_with_one_error_and_continues_once_it_can_be_saved(disk, fault, unbroken):
    with wrong_from(fault, disk, 4) as moved, pytest.raises(SaveError, match=fault.words) as end:
        trained(disk / "run", moved=moved)
    message = str(end.value).splitlines()
    assert len(message) == 2
    assert str(disk / "run") in message[0]
    assert "the checkpoint before stays good" in message[1]
    found = state.restore(disk / "run", toy.build(CONFIG), range(2))
    # what was saved last of three chapters was saved before the fourth
    assert int(found.tree.done) in (20, 30)
    assert all(line.endswith("no manifest, the save was interrupted") for line in found.skipped)
    assert_unbroken(disk / "run", trained(disk / "run"), unbroken)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_the_run_goes_on_unsaved_where_it_is_to_and_is_whole_when_the_fault_has_gone(disk, fault, unbroken, capsys):
    with wrong_from(fault, disk, 3, until=6) as moved:
        run = trained(disk / "run", moved=moved, goes_on_unsaved=True)
    assert_unbroken(disk / "run", run, unbroken)
    told = [line for line in capsys.readouterr().out.splitlines() if "goes on unsaved" in line]
    assert 1 <= len(told) <= 4
    found = state.restore(disk / "run", toy.build(CONFIG), range(2))
    assert int(found.tree.done) == 80


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_run_that_went_on_unsaved_to_its_end_says_so_and_can_be_continued(disk, fault, unbroken):
    with wrong_from(fault, disk, 3) as moved, pytest.raises(SaveError, match=fault.words):
        trained(disk / "run", moved=moved, goes_on_unsaved=True)
    assert_unbroken(disk / "run", trained(disk / "run"), unbroken)


def test_a_command_ends_with_two_lines_and_the_code_for_what_its_user_can_mend(disk):
    args = ["--smoke", "--hidden", 16, "--seeds", 1, "--devices", 1, "--steps", 4000, "--save-every", 0]
    running = process("autoencoder", *args, "--run-dir", disk / "run")
    while not list((disk / "run" / "checkpoints").glob("0-0000000[3-9]*.json")) and running.poll() is None:
        time.sleep(0.01)
    fill(disk)
    code, _, err = finished(running)
    assert code == 2
    assert len(err.splitlines()) == 2
    assert err.startswith(f"autoencoder: {disk / 'run'}")
    (disk / "ballast").unlink()
    code, out, err = finished(process("autoencoder", *args, "--run-dir", disk / "run"))
    assert (code, err) == (0, "")
    assert "continues" in out


def test_lines_of_metrics_that_do_not_fit_leave_the_file_as_it_was(tmp_path):
    rundir.append_metrics(tmp_path, [{"phase": 0, "step": 10}])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, hard))
    try:
        with pytest.raises(SaveError, match=r"metrics\.jsonl: cannot be written"):
            rundir.append_metrics(tmp_path, [{"phase": 0, "step": 20}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
