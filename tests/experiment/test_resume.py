"""Killed without warning, at random moments, a run ends as if it had never been."""

import json
import random
import time

from commands import finished, kill, process

ARGS = [
    *[
        "--seeds",
        "2",
        "--devices",
        "1",
        "--hidden",
        "16",
        "--code-size",
        "4",
        "--steps",
        "2000",
        "--chapter-steps",
        "20",
    ],
    *["--batch-size", "32", "--save-every", "0", "--corruption", "gaussian", "--ema-decay", "0.9", "--keep-best"],
]
KILLS = 10


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_ten_times_the_final_state_and_metrics_are_those_of_the_unbroken_run(tmp_path):
    code, _, err = finished(process("autoencoder", "--run-dir", tmp_path / "whole", *ARGS))
    assert code == 0, err
    moments = random.Random(0)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    for number in range(KILLS):
        before = lines(metrics)
        running = process("autoencoder", "--run-dir", tmp_path / "killed", *ARGS)
        deadline = time.monotonic() + 120
        # the first is killed while it starts; the others once they have written something of their own
        while number > 0 and lines(metrics) == before and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        assert running.poll() is None, f"ended before kill {number}: {running.communicate()}"
        kill(running)
    code, out, err = finished(process("autoencoder", "--run-dir", tmp_path / "killed", *ARGS))
    assert code == 0, err
    assert "continues" in out
    whole, killed = (json.loads((tmp_path / name / "receipt.json").read_text()) for name in ("whole", "killed"))
    assert killed["state_sha256"] == whole["state_sha256"]
    assert killed["metrics"] == whole["metrics"]
    assert metrics.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
