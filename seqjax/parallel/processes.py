"""Which process of how many this is, as the environment or the engine that started it says, and how they meet."""

import functools
import importlib.util
import os
import re
import socket
import sys
from collections.abc import Mapping
from typing import NamedTuple

import jax

from seqjax.errors import UsageError

NAMED = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
SLURM = ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST")
OPEN_MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
LOOPBACK = "127.0.0.1"
MEET_WITHIN = 120  # seconds


class Place(NamedTuple):
    """One process of several. coordinator: `host:port` of the first, `None` where JAX asks the engine for it.

    local_devices: numbers of the accelerators that are its own; `None` for all that it sees.
    """

    engine: str
    index: int
    count: int
    coordinator: str | None
    local_devices: list[int] | None = None


def loopback_environment(index: int, count: int, port: int) -> dict[str, str]:
    """What tells a process that it is one of `count` on this machine."""
    # gRPC would ask a proxy for the way to this machine
    direct = {"no_grpc_proxy": LOOPBACK}
    return dict(zip(NAMED, (f"{LOOPBACK}:{port}", str(count), str(index)), strict=True)) | direct


def place_in(environment: Mapping[str, str]) -> Place | None:
    """The place that `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` give, else Slurm or Open MPI.

    Kubernetes and our own processes on one machine use the variables; `None` is a process on its own.
    Raises UsageError for an environment that says the half of it.
    """
    coordinator = environment.get(NAMED[0])
    if NAMED[1] in environment or NAMED[2] in environment:
        _require_all(environment, NAMED, "processes are named by")
        return _place("the environment", environment, NAMED[2], NAMED[1], coordinator)
    if _number(environment, "SLURM_NTASKS", 1) > 1:
        _require_all(environment, SLURM, "Slurm gave this job several tasks, and srun sets")
        if coordinator is None:
            coordinator = f"{_first_host(environment['SLURM_STEP_NODELIST'])}:{_slurm_port(environment)}"
        place = _place("Slurm", environment, "SLURM_PROCID", "SLURM_NTASKS", coordinator)
        # a node's only task has all of its accelerators, as has one whose accelerators Slurm has chosen already
        alone = re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
        chosen = "," not in environment.get("CUDA_VISIBLE_DEVICES", ",")
        own = None if alone or chosen else [_number(environment, "SLURM_LOCALID", 0)]
        return place._replace(local_devices=own)
    if any(name in environment for name in OPEN_MPI) and environment.get(OPEN_MPI[0]) != "1":
        _require_all(environment, OPEN_MPI, "Open MPI sets")
        return _place("Open MPI", environment, OPEN_MPI[1], OPEN_MPI[0], coordinator)
    if coordinator is not None:
        _require_all(environment, NAMED, "processes are named by")
    return None


def join(place: Place) -> None:
    """Meets the other processes; from then on `jax.devices()` are those of all. Before JAX is used for anything else.

    Raises UsageError where the first one cannot listen, or the others cannot be met.
    """
    on_loopback = place.coordinator is not None and place.coordinator.startswith(f"{LOOPBACK}:")
    if place.index == 0 and place.coordinator is not None:
        _require_free(place.coordinator)
    # it would catch SIGTERM, on which a run saves by itself
    jax.config.update("jax_enable_preemption_service", False)
    if on_loopback:
        _collectives_on_loopback()
        jax.config.update("jax_check_proxy_envs", False)
    named = {} if place.coordinator is None else {"coordinator_address": place.coordinator}
    try:
        jax.distributed.initialize(
            **named,
            num_processes=place.count,
            process_id=place.index,
            local_device_ids=place.local_devices,
            cluster_detection_method="ompi" if place.coordinator is None else "deactivate",
            initialization_timeout=MEET_WITHIN,
            coordinator_bind_address=place.coordinator if on_loopback else None,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UsageError(
            f"process {place.index} of {place.count} ({place.engine}): the others cannot be met at"
            f" {place.coordinator or 'an address of the engine'} ({reason}).\n"
            f"Name an address of the first one, with a free port, in {NAMED[0]}."
        ) from None


def join_tpu_workers() -> None:
    """Where this machine is one of several workers of a TPU, meets the others; else nothing."""
    if importlib.util.find_spec("libtpu") is None or os.environ.get("JAX_PLATFORMS", "tpu").split(",")[0] != "tpu":
        return
    try:
        jax.distributed.initialize(initialization_timeout=MEET_WITHIN)
    except ValueError:
        # the library is installed, and this is no machine of a TPU
        return


def _place(engine: str, environment: Mapping[str, str], index: str, count: str, coordinator: str | None) -> Place:
    number, of = _number(environment, index), _number(environment, count)
    if not 0 <= number < of:
        raise UsageError(f"{index}={number}: expected 0 to {of - 1}, since {count}={of}.")
    return Place(engine, number, of, coordinator)


def _require_all(environment: Mapping[str, str], names: tuple[str, ...], what: str) -> None:
    missing = [name for name in names if not environment.get(name)]
    if missing:
        hint = " Start it with srun, or unset SLURM_NTASKS." if names == SLURM else ""
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


def _require_free(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"{NAMED[0]}={address!r}: expected HOST:PORT.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host if host == LOOPBACK else "", int(port)))
        except OSError as error:
            raise UsageError(
                f"port {port} for the coordinator cannot be had ({error.strerror}).\nName another in {NAMED[0]}."
            ) from None


def _collectives_on_loopback() -> None:
    """Lets the CPU's collectives listen on loopback alone.

    JAX has no option for it: they listen where the host's name leads, which may be the network.
    """
    from jax._src.lib import _jax

    interface = "lo" if sys.platform == "linux" else "lo0"
    _jax.make_gloo_tcp_collectives = functools.partial(_jax.make_gloo_tcp_collectives, interface=interface)
