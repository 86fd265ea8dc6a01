import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import standins
from standins import AS_FLAGS, AWKWARD

from launch.__main__ import main
from launch.slurm import Array, Resources, script

FLAGS = ["--smoke", *AS_FLAGS, "--dataset", "\udcff", "--hidden", "--"]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    found = standins.slurm(tmp_path / "bin")
    standins.program(found.bin, "srun", standins.SRUN)
    standins.program(found.bin, "scontrol")
    standins.program(found.bin, "module")
    monkeypatch.setenv("PATH", standins.path_with(found.bin))
    monkeypatch.chdir(tmp_path)
    return found


def run_script(folder: Path, **environment: str) -> int:
    """As Slurm would: from the folder that --chdir names, with the variables of a job."""
    command = ["bash", str(folder / "job.sh")]
    return subprocess.run(command, cwd=folder, env=os.environ | {"SLURM_JOB_ID": "7"} | environment).returncode


def test_what_was_asked_is_in_the_script(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = (
        "--partition gpu --account lab --qos low --time 1-00:00:00 --nodes 2 --tasks 8 --cpus 6 --gpus 4 --mem 64G "
        "--save-before 300 --module cuda/13 --python /opt/python"
    )
    assert main(["slurm", "autoencoder", "--dry-run", *asked.split(), "--", "--smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {line for line in lines if line.startswith("#SBATCH")} == {
        "#SBATCH --job-name=autoencoder", "#SBATCH --output=log-%j.txt", "#SBATCH --open-mode=append",
        "#SBATCH --partition=gpu", "#SBATCH --account=lab", "#SBATCH --qos=low", "#SBATCH --time=1-00:00:00",
        "#SBATCH --nodes=2", "#SBATCH --ntasks=8", "#SBATCH --cpus-per-task=6", "#SBATCH --gpus-per-node=4",
        "#SBATCH --mem=64G", "#SBATCH --signal=TERM@300", "#SBATCH --requeue",
    }  # fmt: skip
    assert "module load cuda/13 || exit 2" in lines
    assert any(line.startswith("srun ") and "--cpus-per-task=6" in line for line in lines)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("time", "save_before", "taken"),
    [
        ("1", "120", False), ("2:00", "120", False), ("2:01", "120", True), ("1:00:00", "3600", False),
        ("1-0", "86400", False), ("1-0:1", "86400", True), ("1-0:0:1", "86400", True), ("0", "120", True),
    ],
)  # fmt: skip
def test_a_job_that_would_be_told_to_stop_from_its_start_on_is_refused(time, save_before, taken, capsys):
    command = ["slurm", "autoencoder", "--dry-run", "--time", time, "--save-before", save_before]
    assert main(command) == (0 if taken else 2)
    error = capsys.readouterr().err
    assert error == "" if taken else error.startswith(f"launch: --time {time}: ") and error.count("\n") == 1


def test_an_array_has_a_task_for_each_and_a_limit(tmp_path):
    assert "#SBATCH --array=0-9%3\n" in script("a", tmp_path, tmp_path, Resources(), Array(10, 3))
    assert "#SBATCH --array=0-9\n" in script("a", tmp_path, tmp_path, Resources(), Array(10, None))


def test_names_values_and_paths_reach_the_experiment_as_they_are(cluster, tmp_path, monkeypatch, capsys):
    here = tmp_path / "here it's\n$HOME `x`"
    here.mkdir()
    monkeypatch.chdir(here)
    folder = tmp_path / 'jobs it\'s "$HOME" naïve $(touch pwned)'
    python = standins.program(tmp_path / "inter preter's", "$py thon", standins.INTERPRETER)
    module = "it's/1.0 $(touch pwned) é"
    own = ["--folder", str(folder), "--python", str(python), "--module", module]
    settings = [part for i, value in enumerate(AWKWARD) for part in ("--env", f"KEY{i}={value}")]
    assert main(["slurm", "autoencoder", *own, *settings, "--", *FLAGS]) == 0
    assert capsys.readouterr().out.startswith("job     1\n")
    assert len(cluster.jobs()) == 1
    (job,) = folder.glob("autoencoder-*")
    assert cluster.jobs()[0]["folder"] == str(job)
    assert run_script(job) == 0
    (called,) = standins.calls(python)
    assert called["args"] == ["-m", "experiments.autoencoder", *FLAGS]
    assert [called["environment"][f"KEY{i}"] for i in range(len(AWKWARD))] == AWKWARD
    code = called["environment"]["PYTHONPATH"].split(":")[0]
    assert Path(code).parent == folder / "snapshots"
    assert (Path(code) / "launch/slurm.py").read_bytes() == Path(sys.modules["launch.slurm"].__file__).read_bytes()
    assert called["environment"]["PYTHONSAFEPATH"] == "1"
    assert called["environment"]["PWD"] == str(here)
    assert [call["args"] for call in standins.calls(cluster.bin / "module")] == [["load", module]]
    assert (job / "exit-0").read_text() == "0\n"
    assert (job / "started-0").read_text() == "7\n"
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    ("code", "requeued"), [(75, True), (143, True), (130, True), (0, False), (3, False), (137, False)]
)
def test_a_run_that_has_saved_is_requeued_and_no_other(code, requeued, cluster, tmp_path):
    python = standins.program(tmp_path, "python", standins.INTERPRETER)
    standins.answers(python, code)
    assert main(["slurm", "autoencoder", "--python", str(python)]) == 0
    job = tmp_path / "runs/jobs/autoencoder-1"
    assert run_script(job) == code
    assert (job / "exit-0").read_text() == f"{code}\n"
    asked = [call["args"] for call in standins.calls(cluster.bin / "scontrol")]
    assert asked == ([["requeue", "7"]] if requeued else [])


def test_a_module_that_cannot_be_loaded_ends_the_job_unstarted(cluster, tmp_path):
    python = standins.program(tmp_path, "python", standins.INTERPRETER)
    standins.answers(cluster.bin / "module", 1, "no such module")
    assert main(["slurm", "autoencoder", "--python", str(python), "--module", "x"]) == 0
    assert run_script(tmp_path / "runs/jobs/autoencoder-1") == 2
    assert not standins.calls(python)


def test_each_job_has_its_own_folder_and_all_share_the_code(cluster, tmp_path):
    for _ in range(2):
        assert main(["slurm", "autoencoder"]) == 0
    jobs = tmp_path / "runs/jobs"
    assert sorted(path.name for path in jobs.iterdir()) == ["autoencoder-1", "autoencoder-2", "snapshots"]
    assert len(list((jobs / "snapshots").iterdir())) == 1


def test_what_sbatch_says_is_said(cluster, capsys):
    standins.answers(standins.program(cluster.bin, "sbatch"), 1, "sbatch: error: invalid partition\nspecified: nope\n")
    assert main(["slurm", "autoencoder", "--partition", "nope"]) == 2
    assert capsys.readouterr().err == "launch: sbatch: exit 1, sbatch: error: invalid partition specified: nope\n"
    standins.answers(cluster.bin / "sbatch", 0, "")
    assert main(["slurm", "autoencoder"]) == 2
    assert "it said nothing" in capsys.readouterr().err


# one state and one piece of log each time that it is asked
FOLLOWED = """
import os, pathlib, sys
here = pathlib.Path(os.path.abspath(sys.argv[0])).parent
job = pathlib.Path({job!r})
with open(here / "asked", "a") as file:
    file.write("x")
step = os.path.getsize(here / "asked") - 1
state, log, code = {steps!r}[step]
with open(job / "log-1.txt", "a") as file:
    file.write(log)
if code is not None:
    (job / "exit-0").write_text(str(code))
print(state)
"""


def test_following_shows_the_log_through_a_requeue_and_ends_with_the_code(cluster, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    job = tmp_path / "runs/jobs/autoencoder-1"
    steps = [("PENDING", "", None), ("RUNNING", "one\n", None), ("PENDING", "saved\n", 75), ("COMPLETED", "two\n", 3)]
    standins.program(cluster.bin, "squeue", FOLLOWED.format(job=str(job), steps=steps))
    assert main(["slurm", "autoencoder", "--follow"]) == 3
    assert capsys.readouterr().out.endswith("one\nsaved\ntwo\n")


def test_following_a_job_that_vanishes_is_no_success(cluster, capsys):
    standins.program(cluster.bin, "squeue", "")
    assert main(["slurm", "autoencoder", "--follow"]) == 1
    assert "without an exit code" in capsys.readouterr().err


def test_the_line_of_a_member_is_one_line_of_ascii():
    from launch import member

    line = member.line("autoencoder", FLAGS, {"KEY": "a\nb\u2028é"})
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["flags"] == FLAGS
