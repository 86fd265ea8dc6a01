"""The devices of a run, and how seeds share one of them."""

import contextlib
import math
import os
from pathlib import Path

import jax

from seqjax.errors import UsageError
from seqjax.train import SeedPlan


def devices_of(count: int | None, *, alone: bool = False) -> list[jax.Device]:
    """The first `count` devices of each process, all of them for `None`, in the order of the processes.

    alone: of this process, whatever others there are.
    Raises UsageError when there are fewer, or where the processes have unequally many.
    """
    own = _local_devices(count)
    if alone:
        return own
    by_process: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    numbers = {index: len(devices) for index, devices in by_process.items()}
    fewest = min(numbers, key=numbers.get)
    if count is None and len(set(numbers.values())) > 1:
        raise UsageError(
            f"process {fewest} has {numbers[fewest]} devices, and others have {max(numbers.values())}.\n"
            f"Ask for --devices {numbers[fewest]}, which is of each process."
        )
    if numbers[fewest] < len(own):
        raise UsageError(f"--devices {count}: process {fewest} has {numbers[fewest]}.")
    return [device for _, devices in sorted(by_process.items()) for device in devices[: len(own)]]


def _local_devices(count: int | None) -> list[jax.Device]:
    try:
        devices = jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"no device: {reason[0] if reason else 'the platform in JAX_PLATFORMS is not here'}.\n"
            "Unset JAX_PLATFORMS, or install what it names."
        ) from None
    if count is None:
        return devices
    if not 1 <= count <= len(devices):
        more = ", or --host-devices for more CPU devices" if devices[0].platform == "cpu" else ""
        raise UsageError(
            f"--devices {count}: this process has {len(devices)} {devices[0].platform} device(s).\n"
            f"Ask for 1 to {len(devices)}{more}."
        )
    return devices[:count]


def use_host_devices(count: int | None) -> None:
    """Makes so many devices of the CPU; `None` leaves it as it is. Raises UsageError once devices are in use."""
    if count is None:
        return
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        if jax.local_device_count("cpu") != count:
            raise UsageError(f"--host-devices {count}: the CPU is in use as {jax.local_device_count('cpu')}.") from None


def seeds_over_cores(num_seeds: int) -> None:
    """Makes as many devices of the CPU as there are cores for seeds to train on side by side, and no more than help.

    Nothing is changed where JAX has been told a number of devices, or has begun to use them.
    """
    told = jax.config.jax_num_cpu_devices != -1 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not told:
        rounds = math.ceil(num_seeds / usable_cores())
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", math.ceil(num_seeds / rounds))


CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """The cores that this process may use, or as many as a container's quota of their time comes to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or no quota: "max 100000"
        quota, period = map(int, CPU_QUOTA.read_text().split())
        cores = max(1, min(cores, round(quota / period)))
    return cores


def use_deterministic_kernels() -> None:
    """Makes equal programs give equal bits on GPUs too, unless `XLA_FLAGS` says otherwise; before devices are in use.

    Without it XLA picks kernels by timing them, so that each process may get others, and allows atomic sums.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def seed_plan(platform: str) -> SeedPlan:
    """How seeds share a device: one after another where the cores are few, together on accelerators.

    `map` gives each seed the bits that it has alone. Measured on 2 CPU cores, 8 seeds: over two host devices it is
    faster than either on one for each experiment (`results/speed/seeds.md`).
    """
    return "map" if platform == "cpu" else "vmap"
