"""A sweep whose members run on this machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sweeps import frozen, grid, wait_for

from launch import sweep
from launch.__main__ import main

ROOT = Path(__file__).parent.parent.parent

# a member: leaves a receipt, or ends with the code that its seed asks for, once the file at the gate is gone
MEMBER = """
import fcntl, json, os, signal, sys, time
flags = dict(a[2:].split("=", 1) for a in sys.argv[1:])
run_dir = flags["run-dir"]
os.makedirs(run_dir, exist_ok=True)
with open(run_dir + "/starts", "a") as file:
    file.write("x")
lock = open(run_dir + "/.seqjax-lock", "a")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
open(run_dir + "/ready", "w").close()
while os.path.exists(os.environ.get("GATE", "")):
    time.sleep(0.02)
code = int(flags["seed"])
if code == 0 or os.path.exists(run_dir + "/../../mended"):
    open(run_dir + "/receipt.json", "w").write("{}")
    code = 0
sys.exit(code)
"""

# asks a process to stop once a member below a folder is ready
STOPPER = """
import glob, os, signal, sys, time
deadline = time.monotonic() + 20
while not glob.glob(glob.escape(sys.argv[2]) + "/*/ready"):
    time.sleep(0.02)
    if time.monotonic() > deadline:
        sys.exit(1)
os.kill(int(sys.argv[1]), signal.SIGTERM)
"""


@pytest.fixture
def members(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep, "command_of", lambda name, flags: [sys.executable, "-S", "-c", MEMBER, *flags])
    monkeypatch.chdir(tmp_path)


def test_with_another_environment_it_is_another_sweep(members, tmp_path, capsys):
    command = grid(tmp_path, seed=[0])
    del command[-2:]
    for value in ("1", "2", "1"):
        assert main([*command, "--env", f"A={value}"]) == 0
    first, second, again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sweep ")]
    assert first == again != second
    assert len(list(tmp_path.glob("runs/sweeps/*/runs/*/receipt.json"))) == 2


def test_here_members_run_and_are_done_failed_or_skipped(members, tmp_path, capsys):
    command = [*grid(tmp_path, seed=[0, 3, 2]), "--jobs", "2"]
    assert main(command) == 1
    said = capsys.readouterr().out
    ok, diverged, wrong = frozen(tmp_path)
    assert f"failed   {diverged['run_dir']}: exit 3: jobs/0001/log-1.txt" in said
    assert f"failed   {wrong['run_dir']}: exit 2: jobs/0001/log-2.txt" in said
    assert main(command) == 1
    assert "nothing to start" in capsys.readouterr().out
    (tmp_path / "the sweep's/mended").touch()
    assert main([*command, "--resubmit"]) == 0
    starts = [(tmp_path / "the sweep's" / m["run_dir"] / "starts").read_text() for m in (ok, diverged, wrong)]
    assert starts == ["x", "xx", "xx"]
    assert main(command) == 0


def test_here_a_signal_lets_members_save_and_the_same_command_goes_on(members, tmp_path, monkeypatch, capsys):
    command = grid(tmp_path, seed=[0, 0], steps=[1, 2])
    (tmp_path / "gate").touch()
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    first = tmp_path / "the sweep's" / "runs"
    with subprocess.Popen([sys.executable, "-S", "-c", STOPPER, str(os.getpid()), str(first)]) as stopper:
        assert main(command) == 75
        assert stopper.wait() == 0
    assert "the same command goes on" in capsys.readouterr().out
    assert len(list(first.iterdir())) == 1
    (tmp_path / "gate").unlink()
    assert main(command) == 0
    assert sorted(path.read_text() for path in first.glob("*/starts")) == ["x", "xx"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_here_a_member_that_a_signal_ends_before_it_can_save_is_started_again(number, members, tmp_path, capsys):
    command = grid(tmp_path, seed=[128 + number, 0])
    assert main(command) == 75
    assert "the same command goes on" in capsys.readouterr().out
    stopped, _ = frozen(tmp_path)
    assert main(["sweep-status", str(tmp_path / "the sweep's")]) == 0
    assert "stopped before it had anything to save" in capsys.readouterr().out
    (tmp_path / "the sweep's/mended").touch()
    assert main(command) == 0
    assert (tmp_path / "the sweep's" / stopped["run_dir"] / "starts").read_text() == "xx"


def test_here_a_member_that_cannot_be_started_costs_the_others_nothing(members, tmp_path, monkeypatch, capsys):
    able = sweep.command_of
    monkeypatch.setattr(
        sweep, "command_of", lambda name, flags: [*able(name, flags), *(["x" * 200_000] if "--seed=1" in flags else [])]
    )
    command = grid(tmp_path, seed=[1, 0, 3])
    assert main(command) == 1
    unable, _, wrong = frozen(tmp_path)
    said = capsys.readouterr().out
    assert f"failed   {unable['run_dir']}: exit 126: jobs/0001/log-0.txt" in said
    assert f"failed   {wrong['run_dir']}: exit 3: jobs/0001/log-2.txt" in said
    log = (tmp_path / "the sweep's/jobs/0001/log-0.txt").read_text()
    assert log == f"launch: {sys.executable}: cannot be started (Argument list too long).\n"
    assert main(command) == 1
    assert "nothing to start" in capsys.readouterr().out


def test_here_members_that_outlive_a_killed_launch_are_not_started_twice(tmp_path):
    (tmp_path / "gate").touch()
    launch = (
        "import sys; from launch import sweep; from launch.__main__ import main\n"
        f"sweep.command_of = lambda name, flags: [sys.executable, '-S', '-c', {MEMBER!r}, *flags]\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", launch, *grid(tmp_path, seed=[0], steps=[1, 2])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GATE": str(tmp_path / "gate")}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    folder = tmp_path / "the sweep's"
    wait_for(folder / "members.jsonl")
    one, two = (folder / member["run_dir"] for member in frozen(tmp_path))
    wait_for(one / "ready")
    first.kill()
    first.wait()
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "is at work in this folder" in refused.stderr
    (tmp_path / "gate").unlink()
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode == 0
    assert [(path / "starts").read_text() for path in (one, two)] == ["x", "x"]
    assert (two / "receipt.json").exists()


def test_experiments_themselves_run_in_a_sweep(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = grid(tmp_path, learning_rate=[0.01], steps=[4, -4])
    command[1] = "linear_autoencoder"
    assert main([*command, "--jobs", "2", "--", "--seeds", "1", "--code-size=3"]) == 1
    good, bad = frozen(tmp_path)
    assert (tmp_path / "the sweep's" / good["run_dir"] / "receipt.json").exists()
    said = capsys.readouterr().out
    assert f"failed   {bad['run_dir']}: exit 2: jobs/0001/log-1.txt" in said
    assert "steps" in (tmp_path / "the sweep's/jobs/0001/log-1.txt").read_text()
    assert main(["status", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert good["run_dir"] in table
    assert "foreign" not in table
