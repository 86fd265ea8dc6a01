"""`--processes N`: the same command N times on this machine, which meet on loopback, and end together."""

import ctypes
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from seqjax.errors import Interrupted, UsageError
from seqjax.parallel.coordinator import LOOPBACK, greets
from seqjax.parallel.processes import STARTER, loopback_environment

# seconds in which processes end by themselves after another has died, which they have to find out, or has told them
TO_FIND_OUT, TO_END = 45.0, 10.0
# a run saves on the first two alone: a terminal that is closed counts as being asked to stop
PASSED_ON = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def run_on_loopback(count: int, command: Sequence[str]) -> int:
    """The exit code of `count` processes with this command: 0, or that of the first that failed.

    SIGTERM and SIGINT are passed on to all of them, SIGHUP as SIGTERM. Raises UsageError where one cannot be started.
    """
    port = _free_port()
    processes: list[subprocess.Popen] = []
    early: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        if len(processes) < count:
            early.append(PASSED_ON[number])
        for process in processes if len(processes) == count else []:
            if process.poll() is None:
                process.send_signal(PASSED_ON[number])

    # nohup has it ignored
    heeded = [number for number in PASSED_ON if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, pass_on) for number in heeded}
    try:
        for index in range(count):
            environment = os.environ | loopback_environment(index, count, port) | {STARTER: str(os.getpid())}
            # a group of its own: Ctrl-C would reach it twice, and the second ends it before it has saved
            processes.append(subprocess.Popen(command, env=environment, process_group=0))
        for number in early:
            for process in processes:
                process.send_signal(number)
        return _first_failure(processes, port)
    except OSError as error:
        reason = f"process {len(processes)} cannot be started: {error.strerror or error}"
        raise UsageError(f"--processes {count}: {reason}.\nAsk for fewer.") from None
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        for number, old in previous.items():
            signal.signal(number, old)


def end_with_starter() -> None:
    """Lets this process, where it is one of `--processes`, be asked to stop when the one that started it has died."""
    starter = os.environ.get(STARTER)
    if starter is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(starter):
        # before it could be asked
        os.kill(os.getpid(), signal.SIGTERM)


def _first_failure(processes: list[subprocess.Popen], port: int) -> int:
    """Waits for all to end, and not much longer after one has failed."""
    failed, until = 0, 0.0
    while True:
        codes = [process.poll() for process in processes]
        if failed == 0 and any(codes):
            index, failed = next((index, code) for index, code in enumerate(codes) if code)
            until = time.monotonic() + _to_end(failed, port)
            if failed < 0:
                name = signal.Signals(-failed).name
                print(f"seqjax: process {index} of {len(processes)} was ended by {name}.", file=sys.stderr, flush=True)
                failed = 128 - failed
        if None not in codes or (failed and time.monotonic() > until):
            return failed
        time.sleep(0.05)


def _to_end(code: int, port: int) -> float:
    """The seconds that the others need, once one has ended with this code."""
    if code == Interrupted.exit_code:
        return math.inf  # the first one saves, which takes its time
    if code < 0:
        return TO_FIND_OUT
    try:
        return TO_END if greets(f"{LOOPBACK}:{port}") else 0.0
    except OSError:
        return 0.0  # they have not met, and never will


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]
