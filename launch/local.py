"""A command on this machine: in the foreground with its signals passed on, or in the background with a log."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

# a run saves on the first two alone: a terminal that is closed counts as being asked to stop
PASSED_ON = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}
# exit codes of a run that was asked to stop: after saving, or by the signal itself before there was anything to save
STOPPED = (75, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def heeded() -> list[int]:
    """The signals to pass on; not those that are ignored here, as `nohup` has SIGHUP ignored."""
    return [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]


def command_of(name: str, flags: Sequence[str]) -> list[str]:
    """What runs an experiment with this Python; arguments stay apart, no shell ever sees them."""
    return [sys.executable, "-m", f"experiments.{name}", *flags]


def foreground(command: Sequence[str], *, cwd: Path | None = None) -> int:
    """The exit code of the command, which has this terminal; 128 + number when a signal has ended it.

    SIGINT and SIGTERM are passed on as they come, SIGHUP as SIGTERM, so that a run saves and exits 75.
    """
    early: list[int] = []
    started: list[subprocess.Popen] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if started:
            started[0].send_signal(PASSED_ON[number])
        else:
            early.append(PASSED_ON[number])

    previous = {number: signal.signal(number, pass_on) for number in heeded()}
    try:
        # a group of its own: Ctrl-C would reach the run twice, from the terminal and from here, and the second ends
        # it before it has saved
        with subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, process_group=0) as process:
            started.append(process)
            for number in early:
                process.send_signal(number)
            code = process.wait()
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
    return code if code >= 0 else 128 - code


class Started(NamedTuple):
    process: subprocess.Popen
    log: Path


def background(command: Sequence[str], name: str, logs: Path) -> Started:
    """The command in a session of its own, which outlives this terminal; its output goes to `logs/NAME-NUMBER.log`.

    Raises OSError when the log cannot be made.
    """
    logs.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        log = logs / f"{name}-{number}.log"
        try:
            # exclusive: two launches at the same moment never share a log
            file = log.open("xb")
            break
        except FileExistsError:
            number += 1
    with file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Started(process, log)
