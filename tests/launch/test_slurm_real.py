"""Jobs on a real Slurm of one machine: its tasks find each other, save when they are pre-empted, and end together."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import slurm_cluster

from launch.__main__ import main
from launch.local import command_of, foreground

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parent.parent.parent
ENGINE = ["--env", "JAX_PLATFORMS=cpu", "--cpus", "1", "--time", "20"]
RUN = ["--steps", "60", "--chapter-steps", "20", "--batch-size", "32", "--seeds", "2", "--reproducible"]
# long enough to be interrupted
LONG = ["--steps", "20000", "--chapter-steps", "20", "--batch-size", "32", "--seeds", "1", "--reproducible"]


@pytest.fixture(scope="module")
def programs():
    with slurm_cluster.installed() as hindrance:
        if hindrance:
            pytest.skip(hindrance)
        yield


@pytest.fixture(scope="module")
def environment(programs, tmp_path_factory):
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture(autouse=True)
def cluster(environment, tmp_path, monkeypatch):
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, environment[name])
    # as on a cluster, where no test suite has set these
    for name in ("JAX_NUM_CPU_DEVICES", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def submit(tmp_path: Path, *args: str) -> Path:
    """The folder of the job that `python -m launch slurm linear_autoencoder` makes."""
    jobs = tmp_path / "jobs it's $HOME é"
    assert main(["slurm", "linear_autoencoder", "--folder", str(jobs), *args]) == 0
    return max(jobs.glob("linear_autoencoder-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def alone(run_dir: Path, flags: list[str]) -> dict:
    """The receipt of the same run without Slurm."""
    command = command_of("linear_autoencoder", [*flags, "--devices", "1", f"--run-dir={run_dir}"])
    assert foreground(command, cwd=ROOT) == 0
    return receipt(run_dir)


def receipt(run_dir: Path) -> dict:
    return json.loads((run_dir / "receipt.json").read_text())


def wait_for(condition: Callable[[], bool], seconds: float, said: Callable[[], str]) -> float:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, said()
        time.sleep(0.2)
    return time.monotonic() - begin


def log(job: Path) -> str:
    return "\n".join(path.read_text() for path in job.glob("log-*"))


def in_training(run_dir: Path) -> bool:
    metrics = run_dir / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0


def tasks() -> dict[int, psutil.Process]:
    """The processes of experiments that Slurm has started, by the number of their task."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if "experiments.linear_autoencoder" in (process.info["cmdline"] or []):
            number = process.environ().get("SLURM_PROCID")
            if number is not None:
                found[int(number)] = process
    return found


def test_four_tasks_find_each_other_and_compute_the_bits_of_one(tmp_path, capfd):
    expected = alone(tmp_path / "one", RUN)
    run_dir = tmp_path / "four é's $HOME"
    job = submit(tmp_path, "--tasks", "4", *ENGINE, "--follow", "--", *RUN, f"--run-dir={run_dir}")
    found = receipt(run_dir)
    assert found["plan"]["processes"] == 4
    assert found["state_sha256"] == expected["state_sha256"]
    assert found["metrics"] == expected["metrics"]
    assert log(job).count("receipt  ") == 1
    assert log(job) in capfd.readouterr().out


def test_a_job_that_is_pre_empted_saves_is_requeued_and_ends_as_the_unbroken_run(tmp_path):
    expected = alone(tmp_path / "whole", LONG)
    run_dir = tmp_path / "run"
    job = submit(tmp_path, *ENGINE, "--", *LONG, f"--run-dir={run_dir}")
    wait_for(lambda: in_training(run_dir), 60, lambda: log(job))
    urgent = ["sbatch", "--parsable", "--partition=urgent", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 3"]
    subprocess.run(urgent, check=True, capture_output=True)
    wait_for(lambda: (job / "exit-0").exists(), 60, lambda: log(job))
    assert (job / "exit-0").read_text() == "75\n"
    assert not (run_dir / "receipt.json").exists()
    wait_for(lambda: (run_dir / "receipt.json").exists(), 200, lambda: log(job))
    assert receipt(run_dir)["state_sha256"] == expected["state_sha256"]
    resumed = re.search(r"^continues .* at phase train, step (\d+)$", log(job), re.M)
    assert 0 < int(resumed[1]) < 20000
    steps = [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_a_failing_member_of_an_array_is_named_and_can_be_submitted_again(tmp_path, capsys):
    data = tmp_path / "it's mine.npz"
    (tmp_path / "grid.json").write_text(json.dumps({"grid": {"dataset": ["digits", str(data)], "seed": [0, 1]}}))
    folder = tmp_path / "sweep"
    command = ["sweep", "linear_autoencoder", "--grid", str(tmp_path / "grid.json"), "--folder", str(folder)]
    command += ["--on", "slurm", *ENGINE]
    flags = ["--", "--steps", "40", "--seeds", "1", "--batch-size", "32", "--code-size", "3"]

    def counts() -> str:
        capsys.readouterr()
        assert main(["sweep-status", str(folder)]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert main([*command, *flags]) == 0
    wait_for(lambda: counts() == "waiting 0   running 0   done 2   failed 2", 120, counts)
    assert main([*command, *flags]) == 1
    said = capsys.readouterr().out
    assert len(re.findall(r"^failed   runs/\d{4}-\w+: exit 2: jobs/0001/log-\d+_[23].txt$", said, re.M)) == 2
    np.savez(data, x=np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32))
    assert main([*command, "--resubmit", *flags]) == 0
    wait_for(lambda: counts() == "waiting 0   running 0   done 4   failed 0", 120, counts)


def test_when_a_peer_is_killed_the_job_ends_within_a_minute_and_names_it(tmp_path):
    run_dir = tmp_path / "run"
    job = submit(tmp_path, "--tasks", "4", *ENGINE, "--", *LONG, "--steps", "1000000", f"--run-dir={run_dir}")
    wait_for(lambda: in_training(run_dir), 120, lambda: log(job))
    tasks()[2].kill()
    assert wait_for(lambda: (job / "exit-0").exists(), 60, lambda: log(job)) < 60
    assert (job / "exit-0").read_text() not in ("0\n", "75\n")
    assert "seqjax: process 2 on " in log(job)
    assert not tasks()


def test_half_of_the_environment_is_one_line_and_exit_2(tmp_path):
    """A job with several tasks whose script forgets srun."""
    command = ["bash", "-c", f"unset SLURM_PROCID; exec {sys.executable} -m experiments.linear_autoencoder --smoke"]
    begin = time.monotonic()
    done = subprocess.run(["srun", "--ntasks=2", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "SLURM_PROCID is not set" in done.stderr
    assert time.monotonic() - begin < 15
