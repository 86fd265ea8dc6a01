"""A run as a Slurm job: a batch script to read, the code as it was, and a requeue after every pre-emption."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from launch import member
from launch.arguments import as_text, count, duration, one_line, seconds, setting, word
from launch.local import STOPPED
from launch.queue import follow
from launch.snapshot import ROOT, code_files, digest, snapshot
from seqjax.errors import UsageError
from seqjax.storage import write_atomically


class Resources(NamedTuple):
    """What is asked of Slurm, and what the job finds; None: the cluster's default."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str | None = None
    nodes: int | None = None
    tasks: int | None = None
    cpus: int | None = None
    gpus: int | None = None
    mem: str | None = None
    save_before: int = 120
    modules: Sequence[str] = ()
    environment: Sequence[tuple[str, str]] = ()
    python: str = sys.executable


def add_resources(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    default = Resources()
    add("--partition", type=word)
    add("--account", type=word)
    add("--qos", type=word)
    add("--time", type=duration, help="limit, as Slurm writes it; a run that reaches it saves and goes on later")
    add("--nodes", type=count)
    add("--tasks", type=count, help="processes of the run, over all nodes")
    add("--cpus", type=count, help="of each process")
    add("--gpus", type=count, help="of each node")
    add("--mem", type=word, help="of each node, such as 64G")
    add("--save-before", type=count, default=default.save_before, help="seconds to save in before the job is ended")
    add("--module", type=str, action="append", default=[], dest="modules", help="to load; may be repeated")
    add("--env", type=setting, action="append", default=[], dest="environment", help="KEY=VALUE; may be repeated")
    add("--python", type=str, default=default.python, help="the interpreter of the job")


def resources(options: argparse.Namespace) -> Resources:
    """What the options ask for. Raises UsageError for what a batch script could not hold."""
    found = Resources(**{name: getattr(options, name) for name in Resources._fields})
    found = found._replace(modules=tuple(found.modules), environment=tuple(found.environment))
    for module in found.modules:
        one_line("--module", module)
    one_line("--python", found.python)
    limit = seconds(found.time) if found.time else 0
    # without a limit, which Slurm writes as 0, no signal comes
    if 0 < limit <= found.save_before:
        raise UsageError(
            f"--time {found.time}: the job would be told to save {found.save_before} s before that, from its start on; "
            "expected a longer --time, or a shorter --save-before."
        )
    return found


class Array(NamedTuple):
    """A job of many: its tasks 0 to size - 1, at most `limit` of them at a time."""

    size: int
    limit: int | None


def script(job_name: str, folder: Path, code: Path, asked: Resources, array: Array | None = None) -> str:
    """The batch script of what `members.jsonl` in the folder lists. Runs where it was submitted, with other code."""
    wanted = [
        ("job-name", job_name),
        ("output", "log-%A_%a.txt" if array else "log-%j.txt"),
        ("open-mode", "append"),
        ("array", array and f"0-{array.size - 1}" + (f"%{array.limit}" if array.limit else "")),
        ("partition", asked.partition),
        ("account", asked.account),
        ("qos", asked.qos),
        ("time", asked.time),
        ("nodes", asked.nodes),
        ("ntasks", asked.tasks),
        ("cpus-per-task", asked.cpus),
        ("gpus-per-node", asked.gpus),
        ("mem", asked.mem),
        ("signal", f"TERM@{asked.save_before}"),
    ]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{name}={value}" for name, value in wanted if value is not None),
        "#SBATCH --requeue",
        "",
        f"job={shlex.quote(str(folder))}",
        f"code={shlex.quote(str(code))}",
        "number=${SLURM_ARRAY_TASK_ID:-0}",
        "",
        'rm -f -- "$job/exit-$number"',
        'echo "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}" >"$job/started-$number"',
        f"cd -- {shlex.quote(as_text('working directory', os.getcwd()))} || exit 2",
        *(f"module load {shlex.quote(module)} || exit 2" for module in asked.modules),
        "# the code as it was submitted, and never what lies in the working directory",
        'export PYTHONPATH="$code${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1',
        "",
        "# once one of several processes has ended the others have as long as a save may take",
        f"srun --kill-on-bad-exit=0 --wait={asked.save_before}"
        f"{f' --cpus-per-task={asked.cpus}' if asked.cpus else ''} \\",
        f'    {shlex.quote(asked.python)} -m launch.member "$job/members.jsonl" "$number"',
        "exit=$?",
        "",
        'echo "$exit" >"$job/exit-$number"',
        "# stopped by a signal: after saving, or before there was anything to save",
        'case "$exit" in',
        f'    {"|".join(map(str, STOPPED))}) scontrol requeue "$SLURM_JOB_ID" ;;',
        "esac",
        'exit "$exit"',
    ]
    return "\n".join(lines) + "\n"


def submit(folder: Path, inherited: Sequence[int] = ()) -> str:
    """The number of the job that `job.sh` of the folder has become. Raises UsageError with what sbatch says.

    inherited: descriptors that sbatch keeps open until it has ended, whatever becomes of this process.
    """
    # on the command line and not in the script, whose lines cannot quote
    command = ["sbatch", "--parsable", f"--chdir={folder}", str(folder / "job.sh")]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, pass_fds=inherited
    )
    number = done.stdout.strip().split(";")[0]
    if done.returncode or not number.isdigit():
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise UsageError(f"sbatch: exit {done.returncode}, {said or 'and it said nothing'}")
    return number


def require_program(program: str, target: str) -> None:
    """Raises UsageError where the program is missing."""
    if shutil.which(program) is None:
        raise UsageError(f"{target}: there is no {program} on this machine's PATH; run this where there is one.")


def absolute(folder: Path) -> Path:
    """The folder by its full path. Raises UsageError when PYTHONPATH or the name of a log could not hold it."""
    found = folder.absolute()
    one_line("--folder", str(found), forbidden=":\\%")
    return found


def new_folder(parent: Path, name: str) -> Path:
    """A new folder NAME-1, NAME-2, ..."""
    number = 1
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            (parent / f"{name}-{number}").mkdir()
            return parent / f"{name}-{number}"
        except FileExistsError:
            number += 1


def launch(name: str, flags: Sequence[str], asked: Resources, jobs: Path, *, follows: bool, dry_run: bool) -> int:
    """Submits one run. The exit code is that of the submission, or with `follows` that of the run."""
    jobs = absolute(jobs)
    if dry_run:
        code = jobs / "snapshots" / digest(code_files(ROOT))
        print(script(name, jobs / f"{name}-N", code, asked), end="")
        return 0
    require_program("sbatch", "slurm")
    code = snapshot(jobs / "snapshots")
    folder = new_folder(jobs, name)
    write_atomically(folder / "members.jsonl", member.line(name, flags, dict(asked.environment)))
    write_atomically(folder / "job.sh", script(name, folder, code, asked))
    number = submit(folder)
    log = folder / f"log-{number}.txt"
    print(f"job     {number}")
    print(f"script  {folder / 'job.sh'}")
    print(f"log     {log}")
    print(f"stop    scancel {number}   (scancel --signal=TERM {number}: it saves and is requeued)", flush=True)
    return follow(folder, log, number) if follows else 0
