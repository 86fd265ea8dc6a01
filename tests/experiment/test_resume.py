"""Killed without warning, at random moments, a run ends as if it had never been."""

import json
import random
import time
from pathlib import Path

import pytest
from commands import count_lines, finished, kill, process, wait_for_lines

from seqjax.checkpoint import checkpoints

COMMON = "--smoke --seeds 2 --devices 1 --chapter-steps 20 --batch-size 32 --save-every 0"
RUNS = {
    "autoencoder": "--hidden 16 --code-size 4 --corruption gaussian --ema-decay 0.9 --keep-best",
    "adding": "--cell lstm --length 10 --hidden-size 8 --test-size 100",
    "vae": "--hidden 16 --latent-size 2 --importance-samples 2 --mixture-components 1",
    "gan_mixture": "--generator-hidden 8 --critic-hidden 8 --simultaneous --num-samples 100",
    "deep_clustering": "--dataset digits --num-clusters 3 --hidden 16 --code-size 2 --restarts 1 --refresh-every 40",
}


def arguments(name, kills):
    """Ten chapters a kill: each life of the run is cut off after a few."""
    steps = 200 * kills
    own = f"--steps {steps}"
    if name == "deep_clustering":
        own = f"--steps {steps // 2} --cluster-steps {steps // 2} --tolerance 0"
    return [*COMMON.split(), *RUNS[name].split(), *own.split()]


def is_saving(run_dir):
    """Whether arrays are being written, or are written and have no manifest yet."""
    folder = run_dir / "checkpoints"
    unfinished = [path for path in checkpoints(folder) if not path.with_name(path.name + ".json").exists()]
    return bool(unfinished) or any(folder.glob("*.orbax-checkpoint-tmp*"))


def is_between_phases(run_dir):
    return any((run_dir / "checkpoints").glob("1-000000000*"))


def wait_for(aim, running, run_dir, moments):
    """Until a kill is due: while it starts, after it has written something of its own, in a save, between phases."""
    deadline = time.monotonic() + 120

    def goes_on():
        return running.poll() is None and time.monotonic() < deadline

    if aim == "starting":
        time.sleep(moments.uniform(0, 5))
    if aim == "phases":
        while goes_on() and not is_between_phases(run_dir):
            time.sleep(0.001)
    if aim in ("training", "saving"):
        wait_for_lines(run_dir, running)
        time.sleep(moments.uniform(0, 0.3))
    if aim == "saving":
        while goes_on() and not is_saving(run_dir):
            pass
        time.sleep(moments.uniform(0, 0.02))


def aims(name, kills, moments):
    drawn = [moments.choice(["training", "saving"]) for _ in range(kills)]
    drawn[0] = "starting" if kills > 2 else drawn[0]
    if name == "deep_clustering":
        drawn[kills // 2] = "phases"
    return drawn


def killed_and_continued(name: str, tmp_path: Path, kills: int) -> None:
    args, moments = arguments(name, kills), random.Random(name)
    code, _, err = finished(process(name, "--run-dir", tmp_path / "whole", *args))
    assert code == 0, err
    in_saves = 0
    for number, aim in enumerate(aims(name, kills, moments)):
        begun = time.monotonic()
        running = process(name, "--run-dir", tmp_path / "killed", *args)
        wait_for(aim, running, tmp_path / "killed", moments)
        assert running.poll() is None, f"ended before kill {number}: {running.communicate()}"
        kill(running)
        in_saves += is_saving(tmp_path / "killed")
        print(
            f"{name}: kill {number + 1} of {kills}, {aim}, after {time.monotonic() - begun:.2f} s, "
            f"with {count_lines(tmp_path / 'killed')} lines written, {in_saves} within a save"
        )
    code, out, err = finished(process(name, "--run-dir", tmp_path / "killed", *args))
    assert code == 0, err
    assert "continues" in out
    whole, killed = (json.loads((tmp_path / n / "receipt.json").read_text()) for n in ("whole", "killed"))
    assert killed["state_sha256"] == whole["state_sha256"]
    assert killed["metrics"] == whole["metrics"]
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


@pytest.mark.parametrize(("name", "kills"), [("autoencoder", 2), ("gan_mixture", 1), ("deep_clustering", 2)])
def test_killed_the_final_state_and_metrics_are_those_of_the_unbroken_run(name, kills, tmp_path):
    killed_and_continued(name, tmp_path, kills)


@pytest.mark.torture
@pytest.mark.parametrize("name", RUNS)
def test_killed_twenty_times_the_final_state_and_metrics_are_those_of_the_unbroken_run(name, tmp_path):
    killed_and_continued(name, tmp_path, 20)
