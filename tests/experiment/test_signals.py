"""Stopped by SIGTERM at random moments, a run is saved each time and ends as if it had never been stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from commands import ROOT, finished, process, wait_for_lines

ARGS = (
    "--smoke --seeds 2 --devices 1 --reproducible --chapter-steps 20 --batch-size 32 --hidden 16 --code-size 4"
    " --ema-decay 0.9 --keep-best"
)


def stopped_and_continued(tmp_path, processes, stops):
    args = [*ARGS.split(), "--processes", processes, "--steps", {1: 1000, 2: 400}[processes] * stops]
    code, _, err = finished(process("autoencoder", "--run-dir", tmp_path / "whole", *args))
    assert code == 0, err
    moments = random.Random(processes)
    for number in range(stops):
        running = process("autoencoder", "--run-dir", tmp_path / "stopped", *args)
        wait_for_lines(tmp_path / "stopped", running)
        time.sleep(moments.uniform(0, 0.5))
        assert running.poll() is None, f"ended before stop {number}: {running.communicate()}"
        begun = time.time()
        running.send_signal(signal.SIGTERM)
        code, _, err = finished(running)
        took = max(path.stat().st_mtime for path in tmp_path.glob("stopped/checkpoints/*.json")) - begun
        print(
            f"{processes} processes, stop {number + 1} of {stops}: exit {code}, saved after {took:.2f} s; {err.strip()}"
        )
        assert code == 75, err
        assert "saved" in err
        assert took < 5
    code, out, err = finished(process("autoencoder", "--run-dir", tmp_path / "stopped", *args))
    assert code == 0, err
    assert "continues" in out
    whole, stopped = (json.loads((tmp_path / n / "receipt.json").read_text()) for n in ("whole", "stopped"))
    assert stopped["state_sha256"] == whole["state_sha256"]
    assert (tmp_path / "stopped/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


@pytest.mark.parametrize(("processes", "stops"), [(1, 2), (2, 1)])
def test_stopped_the_run_ends_as_the_unbroken_one(processes, stops, tmp_path):
    stopped_and_continued(tmp_path, processes, stops)


@pytest.mark.torture
@pytest.mark.parametrize("processes", [1, 2])
def test_stopped_twenty_times_the_run_ends_as_the_unbroken_one(processes, tmp_path):
    stopped_and_continued(tmp_path, processes, 20)


LONG_CHAPTER = "--steps 40000000 --chapter-steps 20000000 --batch-size 32 --seeds 1 --devices 1"


def test_a_second_signal_ends_a_run_whatever_the_device_is_at(tmp_path):
    running = process("linear_autoencoder", "--run-dir", tmp_path / "run", *LONG_CHAPTER.split())
    deadline = time.monotonic() + 120
    # the first checkpoint is there before the chapter, which would take minutes
    while not list(tmp_path.glob("run/checkpoints/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(3)
    running.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert running.poll() is None
    begun = time.monotonic()
    running.send_signal(signal.SIGTERM)
    code, _, err = finished(running)
    assert time.monotonic() - begun < 3
    assert code == 128 + signal.SIGTERM, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_before_it_trains_a_run_says_so_and_can_be_begun_again(number, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nfrom experiments.linear_autoencoder import Config\nfrom seqjax.experiment import main\n"
        "def build(config):\n print('reads data', flush=True)\n while True: time.sleep(0.1)\n"
        "main(Config, build, smoke={}, args=['--run-dir', 'run'])\n"
    )
    running = subprocess.Popen(
        [sys.executable, "slow.py"],
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout.readline() == "reads data\n"
    running.send_signal(number)
    code, _, err = finished(running)
    assert code == 75, err
    assert err.splitlines() == [
        "slow: stopped by a signal before training.",
        "Run the same command to begin it, or to continue.",
    ]
