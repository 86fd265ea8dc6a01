"""`--processes N`: the same command N times on this machine, which meet on loopback, and end together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from seqjax.parallel.processes import LOOPBACK, loopback_environment
from seqjax.parallel.watch import LOST

# seconds in which processes end by themselves after another has died, which they have to find out, or has told them
TO_FIND_OUT, TO_END = 45.0, 5.0


def run_on_loopback(count: int, command: Sequence[str]) -> int:
    """The exit code of `count` processes with this command: 0, or that of the first that failed.

    SIGTERM and SIGINT are passed on to all of them.
    """
    port = _free_port()
    processes = [
        # a group of its own: Ctrl-C would reach it twice, and the second ends it before it has saved
        subprocess.Popen(command, env=os.environ | loopback_environment(index, count, port), process_group=0)
        for index in range(count)
    ]

    def pass_on(number: int, frame: object) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _first_failure(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for number, old in previous.items():
            signal.signal(number, old)


def _first_failure(processes: list[subprocess.Popen]) -> int:
    """Waits for all to end, and not much longer after one has failed."""
    failed, until = 0, 0.0
    while True:
        codes = [process.poll() for process in processes]
        if failed == 0 and any(codes):
            index, failed = next((index, code) for index, code in enumerate(codes) if code)
            until = time.monotonic() + (TO_END if failed == LOST else TO_FIND_OUT)
            if failed < 0:
                name = signal.Signals(-failed).name
                print(f"seqjax: process {index} of {len(processes)} was ended by {name}.", file=sys.stderr, flush=True)
                failed = 128 - failed
        if None not in codes or (failed and time.monotonic() > until):
            return failed
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]
