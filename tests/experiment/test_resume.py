"""Killed without warning, at random moments, a run ends as if it had never been."""

import json
import random
import time

import pytest
from commands import finished, kill, process

COMMON = "--seeds 2 --devices 1 --chapter-steps 20 --batch-size 32 --save-every 0"
RUNS = {
    "autoencoder": ("--steps 2000 --hidden 16 --code-size 4 --corruption gaussian --ema-decay 0.9 --keep-best", 10),
    "vae": ("--steps 400 --hidden 16 --latent-size 2 --importance-samples 2 --mixture-components 1", 1),
    "gan_mixture": ("--steps 400 --generator-hidden 8 --critic-hidden 8 --simultaneous --num-samples 100", 1),
}


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("name", RUNS)
def test_killed_again_and_again_the_final_state_and_metrics_are_those_of_the_unbroken_run(name, tmp_path):
    flags, kills = RUNS[name]
    args = [*COMMON.split(), *flags.split()]
    code, _, err = finished(process(name, "--run-dir", tmp_path / "whole", *args))
    assert code == 0, err
    moments = random.Random(0)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    for number in range(kills):
        before = lines(metrics)
        running = process(name, "--run-dir", tmp_path / "killed", *args)
        deadline = time.monotonic() + 120
        # the first of several is killed while it starts; all others once they have written something of their own
        starting = number == 0 and kills > 1
        while not starting and lines(metrics) == before and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        assert running.poll() is None, f"ended before kill {number}: {running.communicate()}"
        kill(running)
    code, out, err = finished(process(name, "--run-dir", tmp_path / "killed", *args))
    assert code == 0, err
    assert "continues" in out
    whole, killed = (json.loads((tmp_path / n / "receipt.json").read_text()) for n in ("whole", "killed"))
    assert killed["state_sha256"] == whole["state_sha256"]
    assert killed["metrics"] == whole["metrics"]
    assert metrics.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
