"""What Slurm says of jobs: which there are, how far their tasks are, and the log of one until its end."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from seqjax.errors import UsageError
from seqjax.storage import beginning

ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"
}  # fmt: skip
NOT_STARTED = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}


def job_number(job_name: str) -> str | None:
    """The number of the newest job of a name, "" when Slurm remembers none, None when it does not answer."""
    listed = _words(["squeue", "--noheader", "--states=all", f"--name={job_name}", "--format=%F"])
    if listed is None:
        return None
    # where accounting is kept it remembers longer than squeue does
    listed = listed or _words(["sacct", "-nXP", "--format=JobID", f"--name={job_name}"]) or [""]
    return listed[0].split("_")[0]


def task_states(job_names: Sequence[str]) -> dict[tuple[str, int], str] | None:
    """Slurm's word for each task that has not ended, by job name and number; None when it does not answer."""
    if not job_names:
        return {}
    lines = _words(["squeue", "--noheader", "--array", f"--name={','.join(job_names)}", "--format=%j|%K|%T"])
    if lines is None:
        return None
    tasks = [line.split("|") for line in lines]
    return {(name, int(task)): state for name, task, state in tasks if state not in ENDED and task.isdigit()}


def _words(command: Sequence[str]) -> list[str] | None:
    """The words that a program prints, or None when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split() if done.returncode == 0 else None


def follow(folder: Path, log: Path, number: str, every: float = 1.0) -> int:
    """Prints the log of a job as it grows, through requeues, until the job has ended; then its exit code."""
    said = 0
    try:
        while True:
            # asked before the log is read: what was written up to the end is shown
            over = has_ended(number)
            if log.exists():
                with log.open("rb") as file:
                    file.seek(said)
                    new = file.read()
                said += len(new)
                sys.stdout.write(new.decode(errors="replace"))
                sys.stdout.flush()
            if over:
                break
            time.sleep(every)
    except KeyboardInterrupt:
        print(f"\nlaunch: job {number} goes on; scancel {number} stops it.", file=sys.stderr)
        return 130
    try:
        return int(beginning(folder / "exit-0", 20))
    except (OSError, ValueError):
        print(f"launch: job {number} has ended without an exit code: cancelled, or its node failed.", file=sys.stderr)
        return 1


def has_ended(number: str) -> bool:
    """Whether Slurm lists the job no more, or as ended for good."""
    command = ["squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UsageError("slurm: there is no squeue on this machine's PATH, so the job cannot be followed.") from None
    if asked.returncode:
        # a controller that does not answer is no end
        return "Invalid job id" in asked.stderr
    return set(asked.stdout.split()) <= ENDED
