"""Running the command line of an experiment, in this process or in one of its own."""

import os
import signal
import subprocess
import sys
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
    """The experiment in a process of its own, on one CPU device."""
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


def kill(running: subprocess.Popen) -> None:
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
