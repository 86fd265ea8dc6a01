"""Many commands on this machine, so many at a time, each with its log; signals are passed on to all that run."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from launch.local import PASSED_ON, heeded

CANNOT_START = 126  # as a shell has it


class Task(NamedTuple):
    name: str
    command: list[str]
    log: Path


class Ended(NamedTuple):
    """code: the exit code, 128 + number when a signal has ended it, 126 when it cannot be started; None: not begun."""

    task: Task
    code: int | None


def run_all(
    tasks: Sequence[Task], at_once: int, environment: Mapping[str, str], inherited: Sequence[int] = ()
) -> Iterator[Ended]:
    """Each task as it ends. After a signal the rest is not started.

    environment: added to this process's own; inherited: descriptors that every command keeps open.
    """
    running: list[subprocess.Popen] = []
    # so that no command starts between "stop" and the list of those to stop
    starting = threading.Lock()
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        with starting:
            stopped = True
            for process in running:
                process.send_signal(PASSED_ON[number])

    def run(task: Task) -> Ended:
        try:
            with task.log.open("ab") as log, starting:
                if stopped:
                    return Ended(task, None)
                process = subprocess.Popen(
                    task.command,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C would reach it twice, and the second ends it before it has saved
                    process_group=0,
                    pass_fds=inherited,
                )
                running.append(process)
        except OSError as error:
            # a failure of its own, which costs the others nothing
            _note(task.log, f"launch: {error.filename}: cannot be started ({error.strerror}).\n")
            return Ended(task, CANNOT_START)
        code = process.wait()
        return Ended(task, code if code >= 0 else 128 - code)

    previous = {number: signal.signal(number, stop) for number in heeded()}
    try:
        with ThreadPoolExecutor(at_once) as pool:
            for future in as_completed([pool.submit(run, task) for task in tasks]):
                yield future.result()
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def _note(log: Path, text: str) -> None:
    with contextlib.suppress(OSError), log.open("a") as file:
        file.write(text)
