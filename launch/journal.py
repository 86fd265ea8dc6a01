"""What was submitted of a sweep: each intent is on the disk before it is acted on, its job's number after."""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from launch.queue import job_number
from seqjax.errors import UsageError
from seqjax.storage import LARGEST_JSON, beginning, lines, parsed_json, sync_directory

FILE = "journal.jsonl"


class Submission(NamedTuple):
    """Some members handed over together. members: their numbers, in the order of the job's tasks.

    job: Slurm's number; "" while it is not known whether there is one, None when there is none.
    """

    number: int
    target: str
    job_name: str
    members: list[int]
    job: str | None = ""

    @property
    def folder(self) -> str:
        """Where its script, logs and exit codes lie, below the sweep's folder."""
        return f"jobs/{self.number:04d}"


def read(folder: Path) -> list[Submission]:
    """All of a sweep's submissions that may have gone through. A last line cut short by a crash is left out.

    Raises UsageError for a file that is no journal.
    """
    path = folder / FILE
    found: dict[int, Submission] = {}
    try:
        for place, text in enumerate(lines(path), start=1):
            if text.endswith(b"\n"):
                try:
                    _take(found, text)
                except (ValueError, KeyError):
                    raise UsageError(
                        f"{path}: line {place} is none of this journal; put it back from a copy."
                    ) from None
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); put it back from a copy.") from None
    return [submission for submission in found.values() if submission.job is not None]


def _take(found: dict[int, Submission], line: bytes) -> None:
    """Raises ValueError or KeyError for what is no line of a journal."""
    match parsed_json(line):
        case {
            "number": int(number),
            "target": str(target),
            "job_name": str(name),
            "members": list(members),
        } if all(isinstance(member, int) for member in members):
            found[number] = Submission(number, target, name, members)
        case {"number": int(number), "job": str() | None as job}:
            found[number] = found[number]._replace(job=job)
        case _:
            raise ValueError("no line of a journal")


def intend(folder: Path, target: str, name: str, members: Sequence[int]) -> Submission:
    """Writes down that members are about to be submitted, as a job of a name that no other has; makes its folder."""
    numbers = [int(path.name) for path in (folder / "jobs").glob("*") if path.name.isdigit()]
    number = 1 + max(numbers, default=0)
    intended = Submission(number, target, f"{name}-{secrets.token_hex(4)}", list(members))
    (folder / intended.folder).mkdir(parents=True)
    line = intended._asdict()
    del line["job"]
    _append(folder, line)
    return intended


def settle(folder: Path, submission: Submission, job: str | None) -> Submission:
    """Writes down what has become of an intent."""
    _append(folder, {"number": submission.number, "job": job})
    return submission._replace(job=job)


def _append(folder: Path, line: Mapping[str, object]) -> None:
    with (folder / FILE).open("ab+") as file:
        # a crash may have cut the last line short: nothing was done on its word, and it goes
        begin = max(0, file.seek(0, os.SEEK_END) - LARGEST_JSON)
        file.seek(begin)
        file.truncate(begin + file.read().rfind(b"\n") + 1)
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(folder)


def went_through(folder: Path, submission: Submission) -> str | None:
    """The number of the job that an intent has become, None when there is none. Asks Slurm by the job's name.

    Raises UsageError when Slurm does not say.
    """
    number = job_number(submission.job_name)
    if number is None:
        raise UsageError(
            f"{folder}: squeue does not answer, and whether job {submission.job_name} was submitted is not known.\n"
            "Run this again when it does."
        )
    # a job that has come and gone unlisted leaves the number that its first task wrote
    started = sorted((folder / submission.folder).glob("started-*"))
    return number or (beginning(started[0], 20).decode(errors="replace").strip() if started else None)
