"""The members of a sweep as they were frozen, and how far each is: waiting, running, done or failed."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from launch.grid import MOST, Member, run_dir_of
from launch.journal import Submission
from launch.local import STOPPED
from launch.locks import is_locked
from launch.queue import NOT_STARTED, task_states
from seqjax.errors import UsageError
from seqjax.storage import beginning, lines, parsed_json, write_atomically

FILE = "members.jsonl"


class State(NamedTuple):
    """How far a member is. state: waiting, running, done or failed; is_open: nobody has it in hand."""

    member: Member
    state: str
    note: str
    is_open: bool = False


def frozen(members: Sequence[Member]) -> str:
    """The lines of `members.jsonl`."""
    return "".join(json.dumps(member._asdict()) + "\n" for member in members)


def check_free(folder: Path, members: Sequence[Member]) -> bool:
    """Whether these members are frozen in the folder already.

    Raises UsageError when it holds something else; nothing is touched.
    """
    try:
        if (folder / FILE).exists():
            wanted = frozen(members).encode()
            if beginning(folder / FILE, len(wanted) + 1) == wanted:
                return True
            raise UsageError(f"{folder}: holds a sweep of other members; name another --folder, or repeat its command.")
        held = [p.name for p in folder.iterdir() if not p.name.startswith((f".{FILE}.", ".launch-lock"))]
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"{folder}: is no folder that can be read ({error}).") from None
    if held:
        raise UsageError(
            f"{folder}: holds {sorted(held)[0]!r} but no {FILE}, so it is no sweep; name another --folder."
        )
    return False


def freeze(folder: Path, members: Sequence[Member]) -> None:
    """Writes the members down before anything starts: whole, or not at all."""
    if not check_free(folder, members):
        write_atomically(folder / FILE, frozen(members))


def read(folder: Path) -> list[Member]:
    """Raises UsageError for a folder without a sweep."""
    try:
        members = [_member(parsed_json(line)) for line in islice(lines(folder / FILE), MOST + 1)]
    except (OSError, ValueError):
        members = []
    if not 0 < len(members) <= MOST or [member.number for member in members] != list(range(1, len(members) + 1)):
        raise UsageError(f"{folder}: no readable {FILE}, expected the folder of a sweep.")
    return members


def _member(line: Any) -> Member:
    """Raises ValueError for what no sweep has frozen: a run directory elsewhere, the name of no experiment."""
    match line:
        case {"number": int(number), "hash": str(digest), "name": str(name), "flags": list(flags), "run_dir": place}:
            known = re.fullmatch(r"[0-9a-f]{10}", digest) and re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name)
            if known and place == run_dir_of(number, digest) and all(isinstance(flag, str) for flag in flags):
                return Member(number, digest, name, flags, place)
    raise ValueError("no member of a sweep")


def states(
    folder: Path,
    members: Sequence[Member],
    submissions: Sequence[Submission],
) -> list[State]:
    """How far each member is, by what Slurm says, and what its directory and its last submission have left."""
    # asked before any file is looked at: a task that Slurm lists no more has left its exit code
    queue = task_states([submission.job_name for submission in submissions if submission.target == "slurm"])
    last = {number: (s, place) for s in submissions for place, number in enumerate(s.members)}
    return [_state(folder, member, *last.get(member.number, (None, 0)), queue) for member in members]


def _state(
    folder: Path,
    member: Member,
    submission: Submission | None,
    place: int,
    queue: Mapping[tuple[str, int], str] | None,
) -> State:
    run_dir = folder / member.run_dir
    if (run_dir / "receipt.json").exists():
        return State(member, "done", "")
    if is_locked(run_dir):
        return State(member, "running", "")
    if submission is None:
        return State(member, "waiting", "not submitted", is_open=True)
    if submission.job == "" and submission.target == "slurm":
        return State(member, "waiting", "whether it was submitted is not known yet")
    listed = (queue or {}).get((submission.job_name, place))
    task = f"{submission.job}_{place}"
    if listed is not None:
        state = "waiting" if listed in NOT_STARTED else "running"
        return State(member, state, f"{listed.lower()} as job {task}")
    code = _code(folder / submission.folder / f"exit-{place}")
    if code in STOPPED:
        # where Slurm cannot be asked it may have been requeued
        note = "stopped after saving" if code == 75 else "stopped before it had anything to save"
        return State(member, "waiting", note, is_open=queue is not None)
    if submission.target == "local":
        log = f"{submission.folder}/log-{place}.txt"
        if code is None:
            return State(member, "waiting", "not ended", is_open=True)
    else:
        log = f"{submission.folder}/log-{task}.txt"
        if code is None and queue is None:
            return State(member, "waiting", f"submitted as job {task}; squeue does not answer")
        if code is None:
            return State(member, "failed", f"job {task} is gone without an exit code")
    return State(member, "failed", f"exit {code}: {log}" if code else f"exit 0 without a receipt: {log}")


def _code(path: Path) -> int | None:
    try:
        return int(beginning(path, 20))
    except (OSError, ValueError):
        return None
