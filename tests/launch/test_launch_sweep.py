"""A sweep over Slurm: frozen, submitted, broken off, continued, never twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import standins
from sweeps import frozen, grid, wait_for

from launch import journal
from launch.__main__ import main
from seqjax.errors import UsageError

ROOT = Path(__file__).parent.parent.parent

# sets off `python -m launch`, and kills it before the event (of those that change something) with this number
KILLED = """
import os, runpy, signal, sys
last, sys.argv = int(sys.argv[1]), ["launch", *sys.argv[2:]]
count = 0
writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def at(event, args):
    global count
    if event in ("os.mkdir", "os.rename", "os.truncate", "subprocess.Popen", "os.symlink") or (
        event == "open" and isinstance(args[2], int) and args[2] & writes
    ):
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

sys.addaudithook(at)
try:
    runpy.run_module("launch", run_name="__main__")
finally:
    print("events", count)
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    found = standins.slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", standins.path_with(found.bin))
    monkeypatch.chdir(tmp_path)
    return found


def test_a_thousand_members_are_frozen_and_submitted_within_ten_seconds(cluster, tmp_path, capsys):
    begin = time.monotonic()
    command = [*grid(tmp_path, seed=list(range(10)), steps=list(range(1, 101))), "--on", "slurm"]
    assert main(command) == 0
    assert time.monotonic() - begin < 10
    assert capsys.readouterr().out.endswith("job      1: 1000 members\n")
    wanted = [str(tmp_path / "the sweep's" / member["run_dir"]) for member in frozen(tmp_path)]
    assert len(set(wanted)) == 1000
    assert cluster.run_dirs() == [f"--run-dir={path}" for path in wanted]
    (job,) = cluster.jobs()
    assert job["job"]["array"] == "0-999"
    assert [m["flags"][:2] for m in job["members"][:2]] == [["--seed=0", "--steps=1"], ["--seed=0", "--steps=2"]]
    # once more: all are in hand
    assert main(command) == 0
    assert "nothing to start" in capsys.readouterr().out
    assert len(cluster.jobs()) == 1


def test_wherever_it_is_killed_no_member_is_lost_or_submitted_twice(cluster, tmp_path):
    command = [*grid(tmp_path, seed=list(range(12))), "--on", "slurm", "--chunk", "4", "--jobs", "2"]
    folder = tmp_path / "the sweep's"

    def attempt(last: int) -> tuple[int, str]:
        python = [sys.executable, "-c", KILLED, str(last), *command]
        # bytecode that only the first one writes would shift the count
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(python, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout

    def begin_anew() -> None:
        subprocess.run(["rm", "-rf", str(folder), *map(str, (cluster.bin / "spool").glob("*"))], check=True)

    code, said = attempt(10**9)
    assert code == 0, said
    total = int(said.split("events ")[1])
    begin_anew()
    # at the first steps, while the code is copied, and all through the submitting
    points = sorted({1, 2, 3, 4, total // 2, *range(total - 24, total, 3)})
    for last in points:
        assert attempt(last)[0] == -signal.SIGKILL
        before = len(cluster.jobs())
        code, said = attempt(10**9)
        assert code == 0, said
        wanted = {f"--run-dir={folder / member['run_dir']}" for member in frozen(tmp_path)}
        assert len(wanted) == 12
        assert sorted(cluster.run_dirs()) == sorted(wanted), f"killed at event {last} of {total}, {before} jobs before"
        begin_anew()


def test_an_sbatch_that_outlives_its_killed_caller_is_waited_for(cluster, tmp_path):
    command = [sys.executable, "-m", "launch", *grid(tmp_path, seed=list(range(6))), "--on", "slurm", "--chunk", "3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    gate = cluster.bin / "spool/gate"
    gate.touch()
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    wait_for(cluster.bin / "spool/called")
    first.kill()
    first.wait()
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "another launch, or what it has started, is at work" in refused.stderr
    second = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    gate.unlink()
    assert "waiting 6 " in second.communicate()[0]
    assert second.returncode == 0
    assert len(set(cluster.run_dirs())) == len(cluster.run_dirs()) == 6


def test_a_submission_that_fails_is_made_again_and_those_before_stay(cluster, tmp_path, capsys):
    command = [*grid(tmp_path, seed=list(range(4))), "--on", "slurm", "--chunk", "2"]
    working = (cluster.bin / "sbatch").read_text()
    standins.program(cluster.bin, "sbatch", working.split("\n", 1)[1] + "sys.exit('no more' if number > 1 else 0)\n")
    # the second goes through although sbatch says otherwise, as when a controller answers too late
    assert main(command) == 2
    assert "no more" in capsys.readouterr().err
    assert main(command) == 0
    assert "nothing to start" in capsys.readouterr().out
    standins.program(cluster.bin, "sbatch", working.split("\n", 1)[1])
    assert main(command) == 0
    assert len(cluster.run_dirs()) == 4


def test_while_slurm_does_not_answer_nothing_is_submitted_twice(cluster, tmp_path, capsys):
    command = [*grid(tmp_path, seed=[0, 1]), "--on", "slurm"]
    folder = tmp_path / "the sweep's"
    answering = (cluster.bin / "squeue").read_text().split("\n", 1)[1]
    assert main(command) == 0
    standins.program(cluster.bin, "squeue", "import sys; sys.exit('Unable to contact slurm controller')")
    assert main(command) == 0
    assert "squeue does not answer" not in capsys.readouterr().err
    assert len(cluster.jobs()) == 1
    # an intent whose outcome nobody knows
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text(lines[0])
    assert main(command) == 2
    assert "whether job" in capsys.readouterr().err
    standins.program(cluster.bin, "squeue", answering)
    assert main(command) == 0
    assert len(cluster.jobs()) == 1


def test_a_job_that_has_come_and_gone_is_known_by_what_its_tasks_wrote(cluster, tmp_path):
    command = [*grid(tmp_path, seed=[0, 1]), "--on", "slurm"]
    folder = tmp_path / "the sweep's"
    assert main(command) == 0
    cluster.set_state(1, "GONE")
    (folder / "jobs/0001/started-1").write_text("1\n")
    (folder / "jobs/0001/exit-1").write_text("2\n")
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text(lines[0])
    assert main(command) == 1
    assert len(cluster.jobs()) == 1


def test_the_table_says_how_far_each_member_is_and_what_failed_is_resubmitted_when_asked(cluster, tmp_path, capsys):
    command = [*grid(tmp_path, dataset=["a", "b c", "d\n", "e", "f", "g"]), "--on", "slurm", "--chunk", "5"]
    folder = tmp_path / "the sweep's"
    assert main([*command, "--", "--smoke"]) == 0
    done, failed, saved, lost, empty, pending = frozen(tmp_path)
    cluster.set_state(1, "GONE")
    (folder / done["run_dir"]).mkdir(parents=True)
    (folder / done["run_dir"] / "receipt.json").write_text("{}")
    for place, code in ((1, 3), (2, 75), (4, 0)):
        (folder / f"jobs/0001/exit-{place}").write_text(f"{code}\n")
    capsys.readouterr()
    assert main(["sweep-status", str(folder)]) == 0
    table = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line for line in table[1:-1]}
    for member, state, note in (
        (done, "done", ""),
        (failed, "failed", "exit 3: jobs/0001/log-1_1.txt"),
        (saved, "waiting", "stopped after saving"),
        (lost, "failed", "job 1_3 is gone without an exit code"),
        (empty, "failed", "exit 0 without a receipt"),
        (pending, "waiting", "pending as job 2_0"),
    ):
        assert found[member["run_dir"]].split()[1] == state
        assert note in found[member["run_dir"]]
    assert table[-1] == "waiting 2   running 0   done 1   failed 3"
    # the same command takes up the saved one alone, and names those that failed
    assert main([*command, "--", "--smoke"]) == 0
    said = capsys.readouterr().out
    assert all(f"failed   {member['run_dir']}: " in said for member in (failed, lost, empty))
    assert [m["flags"][-1] for m in cluster.jobs()[2]["members"]] == [f"--run-dir={folder / saved['run_dir']}"]
    assert main([*command, "--resubmit", "--", "--smoke"]) == 0
    again = [m["flags"][-1] for m in cluster.jobs()[3]["members"]]
    assert again == [f"--run-dir={folder / member['run_dir']}" for member in (failed, lost, empty)]
    cluster.set_state(4, "RUNNING")
    capsys.readouterr()
    assert main(["sweep-status", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("waiting 2   running 3   done 1   failed 0\n")


def test_another_sweep_in_the_same_folder_is_refused(cluster, tmp_path, capsys):
    assert main([*grid(tmp_path, seed=[0, 1]), "--on", "slurm"]) == 0
    assert main([*grid(tmp_path, seed=[0, 2]), "--on", "slurm"]) == 2
    assert "holds a sweep of other members" in capsys.readouterr().err
    assert len(cluster.jobs()) == 1
    (tmp_path / "the sweep's/members.jsonl").unlink()
    assert main([*grid(tmp_path, seed=[0, 1]), "--on", "slurm"]) == 2
    assert "so it is no sweep" in capsys.readouterr().err


def test_a_dry_run_lists_the_members_and_does_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", standins.bare_path(tmp_path / "bare"))
    command = grid(tmp_path, dataset=["a", "a", "b\nc"])
    assert main([*command, "--on", "slurm", "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "members  2 (1 duplicates removed)"
    assert said[3].endswith("  '--dataset=b\\nc'")
    assert not (tmp_path / "the sweep's").exists()


def test_a_journal_line_cut_short_is_left_out_and_a_foreign_one_refused(tmp_path):
    first = journal.settle(tmp_path, journal.intend(tmp_path, "slurm", "a", [1, 2]), "7")
    path = tmp_path / "journal.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"number": 2, "target": "sl')
    assert journal.read(tmp_path) == [first]
    second = journal.intend(tmp_path, "local", "a", [3])
    assert journal.read(tmp_path) == [first, second]
    assert journal.settle(tmp_path, second, None).job is None
    assert journal.read(tmp_path) == [first]
    path.write_text("[]\n" + whole)
    with pytest.raises(UsageError, match="line 1 is none of this journal"):
        journal.read(tmp_path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(60 * 2**30)


UNREADABLE = {
    "sparse": sparse,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("put", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("name", ["members.jsonl", "journal.jsonl", "jobs/0001/exit-0", "jobs/0001/started-0"])
def test_what_lies_in_the_place_of_its_files_fills_no_memory_and_is_waited_for_by_nobody(name, put, cluster, tmp_path):
    command = [*grid(tmp_path, seed=[0]), "--on", "slurm"]
    folder = tmp_path / "the sweep's"
    assert main(command) == 0
    cluster.set_state(1, "GONE")
    if name.startswith("jobs"):
        # an intent whose outcome its tasks know
        lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
        (folder / "journal.jsonl").write_text(lines[0])
        (folder / "jobs/0001/started-0").write_text("1\n")
    (folder / name).unlink(missing_ok=True)
    put(folder / name)
    for args in (["sweep-status", str(folder)], command):
        done = subprocess.run(
            ["bash", "-c", 'ulimit -v 4000000; exec "$@"', "bash", sys.executable, "-m", "launch", *args],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert len(done.stderr.splitlines()) <= 2, done.stderr
        assert done.returncode in ((2,) if name.endswith(".jsonl") else (0, 1, 2))
        assert "Traceback" not in done.stderr
    assert len(cluster.jobs()) == 1
