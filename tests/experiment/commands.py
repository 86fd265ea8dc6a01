"""Running the command line of an experiment, in this process or in one of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import linear_autoencoder
from seqjax.experiment import main

ROOT = Path(__file__).parent.parent.parent
QUICK = ["--steps", "60", "--chapter-steps", "20", "--batch-size", "32", "--seeds", "2", "--devices", "1"]


def command(capsys: pytest.CaptureFixture, *args: object, module=linear_autoencoder) -> tuple[int, str, str]:
    """Exit code, output and error output of `main` in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(module.Config, module.build, smoke=module.SMOKE, args=[str(a) for a in args])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def process(name: str, *args: object, **environment: str) -> subprocess.Popen:
    """The experiment in a process of its own, on the CPU."""
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{name}", *map(str, args)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(running: subprocess.Popen) -> tuple[int, str, str]:
    out, err = running.communicate(timeout=300)
    return running.returncode, out, err


def count_lines(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_lines(run_dir: Path, running: subprocess.Popen) -> None:
    """Until a run that has just been started has written lines beyond those that it found, or has ended."""
    before, deadline = count_lines(run_dir), time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline and count_lines(run_dir) <= before:
        time.sleep(0.01)


def kill(running: subprocess.Popen) -> None:
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
