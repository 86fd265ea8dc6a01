"""A sweep: frozen, then its open members started here or handed to Slurm; the same command goes on where it stopped."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from launch import journal, member, progress
from launch.grid import Member, members_of
from launch.local import STOPPED, command_of
from launch.locks import held
from launch.pool import Task, run_all
from launch.slurm import Array, Resources, absolute, require_program, script, submit
from launch.snapshot import snapshot
from launch.table import printable, show_table
from seqjax.errors import UsageError
from seqjax.storage import write_atomically


class Sweep(NamedTuple):
    """How a sweep runs. folder: where it lives; at_once: members that run together; chunk: members of an array."""

    name: str
    flags: Sequence[str]
    grid: Path
    target: str
    folder: Path | None
    at_once: int | None
    chunk: int
    resubmits: bool
    asked: Resources


def launch(sweep: Sweep, *, dry_run: bool) -> int:
    """Exit code: 0 all submitted, or here all done; 1 some failed here; 75 stopped by a signal."""
    if sweep.target == "local" and sweep.asked._replace(environment=()) != Resources():
        raise UsageError("sweep: partition, nodes and other resources belong to --on slurm.")
    members, duplicates = members_of(sweep.name, sweep.grid, sweep.flags, sweep.asked.environment)
    digest = hashlib.sha256(progress.frozen(members).encode()).hexdigest()[:8]
    folder = sweep.folder or Path("runs/sweeps") / f"{sweep.name}-{digest}"
    if sweep.target == "slurm":
        absolute(folder)
    progress.check_free(folder, members)
    print(f"sweep    {folder}")
    print(f"members  {len(members)}" + (f" ({duplicates} duplicates removed)" if duplicates else ""))
    if dry_run:
        for one in members:
            print(f"{one.run_dir}  {' '.join(map(printable, one.flags))}")
        return 0
    if sweep.target == "slurm":
        require_program("sbatch", "slurm")
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder) as lock:
        progress.freeze(folder, members)
        return _start(sweep, folder.absolute(), members, lock)


def _start(sweep: Sweep, folder: Path, members: Sequence[Member], lock: int) -> int:
    submissions = []
    for submission in journal.read(folder):
        if submission.target == "slurm" and submission.job == "":
            submission = journal.settle(folder, submission, journal.went_through(folder, submission))
        if submission.job is not None:
            submissions.append(submission)
    found = progress.states(folder, members, submissions)
    _say(found)
    taken = [s.member for s in found if s.is_open or (sweep.resubmits and s.state == "failed")]
    if not taken:
        print("nothing to start")
        return int(any(s.state == "failed" for s in found))
    if sweep.target == "slurm":
        _hand_over(sweep, folder, taken, lock)
        return 0
    return _run_here(sweep, folder, taken, lock)


def counts(found: Sequence[progress.State]) -> str:
    """How many members are in each state."""
    numbers = Counter(state.state for state in found)
    return "   ".join(f"{state} {numbers[state]}" for state in ("waiting", "running", "done", "failed"))


def _say(found: Sequence[progress.State]) -> None:
    print(counts(found))
    for state in found:
        if state.state == "failed":
            print(f"failed   {state.member.run_dir}: {state.note}")


def _flags(folder: Path, one: Member) -> list[str]:
    return [*one.flags, f"--run-dir={folder / one.run_dir}"]


def _write_members(jobs: Path, folder: Path, taken: Sequence[Member], asked: Resources) -> None:
    lines = [member.line(one.name, _flags(folder, one), dict(asked.environment)) for one in taken]
    write_atomically(jobs / "members.jsonl", "".join(lines))


def _hand_over(sweep: Sweep, folder: Path, taken: Sequence[Member], lock: int) -> None:
    """Submits members as arrays. Whenever this is killed, the journal and Slurm know together what was submitted."""
    code = snapshot(folder / "jobs/snapshots")
    for first in range(0, len(taken), sweep.chunk):
        part = taken[first : first + sweep.chunk]
        intended = journal.intend(folder, "slurm", sweep.name, [one.number for one in part])
        jobs = folder / intended.folder
        _write_members(jobs, folder, part, sweep.asked)
        array = Array(len(part), sweep.at_once)
        write_atomically(jobs / "job.sh", script(intended.job_name, jobs, code, sweep.asked, array))
        # sbatch inherits the lock: should it outlive this process, the next one waits for it before it asks Slurm
        job = submit(jobs, inherited=[lock])
        journal.settle(folder, intended, job)
        print(f"job      {job}: {len(part)} members", flush=True)


def _run_here(sweep: Sweep, folder: Path, taken: Sequence[Member], lock: int) -> int:
    intended = journal.intend(folder, "local", sweep.name, [one.number for one in taken])
    jobs = folder / intended.folder
    _write_members(jobs, folder, taken, sweep.asked)
    tasks = [
        Task(str(place), command_of(one.name, _flags(folder, one)), jobs / f"log-{place}.txt")
        for place, one in enumerate(taken)
    ]
    codes = []
    for ended in run_all(tasks, sweep.at_once or 1, dict(sweep.asked.environment), inherited=[lock]):
        codes.append(ended.code)
        if ended.code is not None:
            write_atomically(jobs / f"exit-{ended.task.name}", f"{ended.code}\n")
            one = taken[int(ended.task.name)]
            print(f"{one.run_dir}  exit {ended.code}  ({len(codes)} of {len(tasks)})", flush=True)
    if any(code is None or code in STOPPED for code in codes):
        print("stopped; the same command goes on")
        return 75
    found = progress.states(folder, taken, [intended])
    _say(found)
    return int(any(state.state != "done" for state in found))


def status(folder: Path) -> int:
    """Prints a table of the members, and how many are in each state."""
    members = progress.read(folder)
    submissions = journal.read(folder)
    found = progress.states(folder, members, submissions)
    rows = [(s.member.run_dir, s.state, " ".join(s.member.flags), s.note) for s in found]
    show_table(("member", "state", "flags", "note"), rows)
    print(counts(found))
    return 0
