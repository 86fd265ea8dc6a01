"""What a run needs beside its arrays: the plan its bits depend on, where it lives, when it saves and stops."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from seqjax import parallel, train
from seqjax.checkpoint import Retention
from seqjax.errors import Interrupted
from seqjax.experiment.options import Options
from seqjax.experiment.progress import progress, silent
from seqjax.parallel import ALONE, Layout, Peers
from seqjax.types import Experiment

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Plan(NamedTuple):
    """What the bits of a run depend on besides configuration, code and machine; kept in `config.json`."""

    seed: int
    seeds: int
    processes: int
    devices: int
    seed_devices: int
    platform: str
    driver: Literal["jit", "pmap", "shard_map"]
    seed_plan: train.SeedPlan
    reproducible: bool
    stream: bool
    log_every: int | None

    @property
    def seed_range(self) -> range:
        return range(self.seed, self.seed + self.seeds)


def make_plan(options: Options, *, alone: bool = False) -> Plan:
    """What the options come to on the devices that are here. Raises UsageError when there are too few.

    alone: for this process without the others.
    """
    devices = parallel.devices_of(options.devices, alone=alone)
    platform = devices[0].platform
    layout = parallel.make_layout(devices, options.driver, num_seeds=options.seeds, reproducible=options.reproducible)
    return Plan(
        seed=options.seed,
        seeds=options.seeds,
        processes=len({device.process_index for device in devices}),
        devices=len(devices),
        seed_devices=layout.seed_parts,
        platform=platform,
        driver=layout.driver,
        # together the seeds' bits depend on how many of them share a device
        seed_plan="map" if options.reproducible else parallel.seed_plan(platform),
        reproducible=options.reproducible,
        stream=options.stream,
        log_every=options.log_every,
    )


def layout_of(plan: Plan) -> Layout:
    """The mesh that a plan was made for."""
    devices = parallel.devices_of(plan.devices // plan.processes, alone=plan.processes == 1)
    return parallel.make_layout(devices, plan.driver, num_seeds=plan.seeds, reproducible=plan.reproducible)


class Session(NamedTuple):
    """What a run needs beside its arrays: where it lives, when it saves and stops, and what time it has taken.

    retention: which checkpoints stay. goes_on_unsaved: whether a failed save is said, and training goes on.
    origin: the directory of the run that a new one begins with. made_by: hash of the code, and versions.
    peers: the processes that run it together, of which the first alone reads and writes the run directory.
    moved: called whenever a step has been set off.
    overfit_batch: whether every step sees the batch of the first. track: is shown each line of metrics once.
    """

    experiment: Experiment
    plan: Plan
    layout: Layout
    run_dir: Path
    save_every: float
    stop_requested: Callable[[], bool]
    reporter: Callable[..., Any]
    timing: dict[str, float]
    peers: Peers
    moved: Callable[[], Any]
    retention: Retention
    goes_on_unsaved: bool
    origin: Path | None
    made_by: Mapping[str, Any]
    overfit_batch: bool
    track: Callable[[list[dict[str, Any]]], Any]

    def elapsed(self) -> float:
        return self.timing["earlier_s"] + time.monotonic() - self.timing["started"]


def make_session(
    experiment: Experiment,
    plan: Plan,
    run_dir: Path,
    *,
    save_every: float = 30.0,
    stop_requested: Callable[[], bool] = lambda: False,
    reporter: Callable[..., Any] = progress,
    peers: Peers = ALONE,
    moved: Callable[[], Any] = lambda: None,
    retention: Retention = Retention(),  # noqa: B008 - a constant
    goes_on_unsaved: bool = False,
    origin: Path | None = None,
    made_by: Mapping[str, Any] = MappingProxyType({}),
    overfit_batch: bool = False,
    track: Callable[[list[dict[str, Any]]], Any] = lambda rows: None,
) -> Session:
    timing = {"earlier_s": 0.0, "started": time.monotonic()}
    reporter = reporter if peers.is_first else silent
    layout = layout_of(plan)
    return Session(
        experiment, plan, layout, run_dir, save_every, stop_requested, reporter, timing, peers, moved, retention,
        goes_on_unsaved, origin, made_by, overfit_batch, track,
    )  # fmt: skip


@contextmanager
def stop_signals() -> Iterator[Any]:
    """A function that says whether SIGTERM or SIGINT has come; a second one ends the process at once."""
    received: list[int] = []
    previous = {number: signal.signal(number, lambda number, frame: received.append(number)) for number in SIGNALS}
    try:
        with _second_signal_ends():
            yield lambda: bool(received)
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


@contextmanager
def _second_signal_ends() -> Iterator[None]:
    """Not by a handler: those have to wait until the main thread has come back from a program of the device."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        seen = 0
        while number := reader.recv(1):
            seen += number[0] in SIGNALS
            if seen == 2:
                os._exit(128 + number[0])

    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        watcher.join()
        reader.close()


@contextmanager
def signals_raise(error: Interrupted) -> Iterator[None]:
    """For what may be broken off anywhere and begun again: a signal raises `error` there and then.

    The handlers of `stop_signals`, where this is used within, take note of the signal first.
    """
    outer = {number: signal.getsignal(number) for number in SIGNALS}

    def handler(number: int, frame: Any) -> None:
        noted = outer[number]
        if callable(noted) and noted is not signal.default_int_handler:
            noted(number, frame)
        raise error

    for number in SIGNALS:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in outer.items():
            signal.signal(number, old)
