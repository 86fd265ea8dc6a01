"""Which process of how many this is, as the environment or the engine that started it says, and how they meet."""

import ctypes
import functools
import importlib.util
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from seqjax.errors import UsageError
from seqjax.parallel.coordinator import LOOPBACK, NAME, Relay, host_and_port, wait_for

NAMED = (NAME, "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
NO_PROXY = "no_grpc_proxy"  # gRPC would ask a proxy even for the way to this machine
STARTER = "SEQJAX_STARTED_BY"  # the process that was asked for several on this machine
SLURM = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST")
# what a process on its own has at most: a batch script without srun is number 0 too
ALONE_IN_SLURM = {"SLURM_NTASKS": 1, "SLURM_STEP_NUM_TASKS": 1, "SLURM_PROCID": 0}
OPEN_MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
OPEN_MPI_ADDRESS = "OMPI_MCA_orte_hnp_uri"
KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
GPUS = Path("/proc/driver/nvidia/gpus")
MEET_WITHIN = 120.0  # seconds
# the watch finds out who has died: JAX, which would find it out later, ends all without a name
HEARTBEAT_S = 7 * 24 * 3600


class Place(NamedTuple):
    """One process of several. coordinator: `host:port` of the first.

    local_devices: numbers of the accelerators that are its own; `None` for all that it sees.
    """

    engine: str
    index: int
    count: int
    coordinator: str
    local_devices: list[int] | None = None


def loopback_environment(index: int, count: int, port: int) -> dict[str, str]:
    """What tells a process that it is one of `count` on this machine."""
    direct = {NO_PROXY: LOOPBACK}
    return dict(zip(NAMED, (f"{LOOPBACK}:{port}", str(count), str(index)), strict=True)) | direct


def place_in(environment: Mapping[str, str]) -> Place | None:
    """The place that `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` give, else Slurm or Open MPI.

    Kubernetes and our own processes on one machine use the variables; `None` is a process on its own.
    Raises UsageError for an environment that says the half of it.
    """
    if environment.get(NAMED[1]) == "1" and NAMED[2] not in environment:
        return None
    if NAMED[1] in environment or NAMED[2] in environment:
        _require_all(environment, NAMED, "processes are named by")
        engine = "--processes" if STARTER in environment else "the environment"
        place = _place(engine, environment, NAMED[2], NAMED[1], environment[NAME])
        return place._replace(local_devices=_shared_devices(environment, place)) if STARTER in environment else place
    if any(_number(environment, name, 0) > most for name, most in ALONE_IN_SLURM.items()):
        return _place_in_slurm(environment)
    if any(name in environment for name in OPEN_MPI) and environment.get(OPEN_MPI[0]) != "1":
        return _place_in_open_mpi(environment)
    if NAME in environment:
        _require_all(environment, NAMED, "processes are named by")
    if all(name in environment for name in KUBERNETES):
        raise UsageError(
            f"this is a pod of an indexed job, {KUBERNETES[1]}={environment[KUBERNETES[1]]}, and"
            f" {NAMED[1]} is not set.\nSet it to 1 where each pod is a run of its own, else {', '.join(NAMED)}."
        )
    return None


def _place_in_slurm(environment: Mapping[str, str]) -> Place:
    _require_all(environment, SLURM, "Slurm gave this job several tasks, and srun sets")
    coordinator = environment.get(NAME)
    if coordinator is None:
        coordinator = f"{_first_host(environment['SLURM_STEP_NODELIST'])}:{_slurm_port(environment)}"
    place = _place("Slurm", environment, "SLURM_PROCID", "SLURM_NTASKS", coordinator)
    if _number(environment, "SLURM_STEP_NUM_TASKS", place.count) != place.count:
        raise UsageError(
            f"SLURM_NTASKS={place.count}: expected SLURM_STEP_NUM_TASKS={environment['SLURM_STEP_NUM_TASKS']}."
            " Start it with srun."
        )
    alone = re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")) is not None
    return place._replace(local_devices=_own_devices(environment, "SLURM_LOCALID", alone=alone))


def _place_in_open_mpi(environment: Mapping[str, str]) -> Place:
    _require_all(environment, OPEN_MPI, "Open MPI sets")
    coordinator = environment.get(NAME) or _open_mpi_coordinator(environment)
    alone = environment.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"
    return _place("Open MPI", environment, OPEN_MPI[1], OPEN_MPI[0], coordinator)._replace(
        local_devices=_own_devices(environment, OPEN_MPI[2], alone=alone)
    )


def _own_devices(environment: Mapping[str, str], local: str, *, alone: bool) -> list[int] | None:
    """A node's only process has all of its accelerators, as has one to which the engine has shown its own alone."""
    chosen = "," not in environment.get("CUDA_VISIBLE_DEVICES", ",")
    return None if alone or chosen else [_number(environment, local)]


def _shared_devices(environment: Mapping[str, str], place: Place) -> list[int] | None:
    """This process's share of the GPUs of a machine on which all processes are; else each would take all of them."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    number = len(visible.split(",")) if visible else len(list(GPUS.glob("*")))
    each = number // place.count
    return list(range(place.index * each, (place.index + 1) * each)) or None


def join(place: Place) -> threading.Event:
    """Meets the other processes; from then on `jax.devices()` are those of all. Before JAX is used for anything else.

    The event is set when the first one is no more. Raises UsageError where it cannot listen, or where the others
    cannot be met.
    """
    host, port = host_and_port(place.coordinator)
    named = f"process {place.index} of {place.count} ({place.engine})"
    # it would catch SIGTERM, on which a run saves by itself
    jax.config.update("jax_enable_preemption_service", False)
    if host == LOOPBACK:
        _collectives_on_loopback()
    if host == LOOPBACK or place.index:
        jax.config.update("jax_check_proxy_envs", False)
    address, broken = place.coordinator, threading.Event()
    try:
        if place.index == 0:
            _require_free(host, port)
        else:
            wait_for(place.coordinator, MEET_WITHIN)
            relay = Relay(place.coordinator)
            address, broken = relay.address, relay.broken
            os.environ[NO_PROXY] = LOOPBACK
        _initialize(
            broken,
            coordinator_address=address,
            num_processes=place.count,
            process_id=place.index,
            local_device_ids=place.local_devices,
            cluster_detection_method="deactivate",
            coordinator_bind_address=place.coordinator if host == LOOPBACK else None,
        )
    except UsageError as error:
        what = str(error)
        if place.engine == "--processes":
            what = f"{what.splitlines()[0]}\nRun the same command again, which takes another port."
        raise UsageError(f"{named}: {what}") from None
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UsageError(f"{named}: the others cannot be met at {place.coordinator} ({reason}).") from None
    return broken


def _initialize(broken: threading.Event, **named: object) -> None:
    """`jax.distributed.initialize` in a thread: it heeds no signal, and aborts where the others do not come."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            jax.distributed.initialize(
                **named, initialization_timeout=int(2 * MEET_WITHIN), heartbeat_timeout_seconds=HEARTBEAT_S
            )
        except BaseException as error:
            failed.append(error)

    thread, until = threading.Thread(target=run, daemon=True), time.monotonic() + MEET_WITHIN
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        if broken.is_set():
            _forget_meeting()
            raise UsageError("the first process has ended before all had met.")
        if time.monotonic() > until:
            _forget_meeting()
            raise UsageError(f"the others have not come within {MEET_WITHIN:.0f} s.\nSee whether all of them run.")
    if failed:
        raise failed[0]


def _forget_meeting() -> None:
    """Leaves the meeting as it is at the end of this process: to close it takes seconds, and lines of JAX's own."""
    from jax._src import distributed

    state = distributed.global_state
    for kept in (state.service, state.client):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    state.service = state.client = None


def join_tpu_workers() -> None:
    """Where this machine is one of several workers of a TPU, meets the others; else nothing.

    Raises UsageError where they cannot be met.
    """
    if importlib.util.find_spec("libtpu") is None or os.environ.get("JAX_PLATFORMS", "tpu").split(",")[0] != "tpu":
        return
    try:
        jax.distributed.initialize(initialization_timeout=int(MEET_WITHIN), heartbeat_timeout_seconds=HEARTBEAT_S)
    except ValueError:
        # the library is installed, and this is no machine of a TPU
        return
    except Exception as error:  # whatever the metadata of the machine, which are asked over the network, come to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(
            f"the workers of this TPU cannot be met ({reason}).\nSet JAX_PLATFORMS=cpu to run without it, or"
            f" name the processes by {', '.join(NAMED)}."
        ) from None


def _place(engine: str, environment: Mapping[str, str], index: str, count: str, coordinator: str | None) -> Place:
    number, of = _number(environment, index), _number(environment, count)
    if not 0 <= number < of:
        raise UsageError(f"{index}={number}: expected 0 to {of - 1}, since {count}={of}.")
    return Place(engine, number, of, coordinator)


def _require_all(environment: Mapping[str, str], names: tuple[str, ...], what: str) -> None:
    missing = [name for name in names if not environment.get(name)]
    if missing:
        hint = f" Start it with srun, or unset {', '.join(ALONE_IN_SLURM)}." if names == SLURM else ""
        raise UsageError(f"{what} {', '.join(names)}; {', '.join(missing)} is not set.{hint}")


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UsageError(f"{name}={text!r}: expected a number.")
    return int(text)


def _first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: `gpu[007-9,12],cpu1` begins with gpu007."""
    prefix, _, numbers = nodes.split(",")[0].partition("[")
    return prefix + re.split(r"[-\]]", numbers)[0]


def _slurm_port(environment: Mapping[str, str]) -> int:
    """The same for all tasks of a step, another for the steps and jobs that share a node."""
    job, step = _number(environment, "SLURM_JOB_ID"), environment.get("SLURM_STEP_ID", "0")
    return 61440 + (7 * job + (int(step) if step.isdecimal() else 0)) % 4096


def _open_mpi_coordinator(environment: Mapping[str, str]) -> str:
    """On the machine of mpirun, as `1531576320.0;tcp://10.96.0.1,10.148.0.1:34911` tells it, at a port of the job."""
    told = re.match(r"(\d+)\..*?(?:tcp://([^,:]+)|tcp6://\[([^],]+))", environment.get(OPEN_MPI_ADDRESS, ""))
    if told is None:
        raise UsageError(
            f"Open MPI before 5 says in {OPEN_MPI_ADDRESS} where to meet, which is not set.\n"
            f"Name HOST:PORT of the first process: mpirun -x {NAME}=HOST:PORT"
        )
    job, host, host_6 = told.groups()
    return f"{host or f'[{host_6}]'}:{61440 + int(job) // 4096 % 4096}"


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host if host == LOOPBACK else "", port))
        except OSError as error:
            raise UsageError(
                f"port {port} for the coordinator cannot be had ({error.strerror}).\nName another in {NAME}."
            ) from None


def _collectives_on_loopback() -> None:
    """Lets the CPU's collectives listen on loopback alone.

    JAX has no option for it: they listen where the host's name leads, which may be the network.
    """
    from jax._src.lib import _jax

    interface = "lo" if sys.platform == "linux" else "lo0"
    _jax.make_gloo_tcp_collectives = functools.partial(_jax.make_gloo_tcp_collectives, interface=interface)
