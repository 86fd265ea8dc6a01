"""Times side by side: contenders take turns, and the table says by how much one program differs from itself."""

import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seqjax.parallel import usable_cores

FEWEST = 5


def seconds_in_turn(
    runs: Mapping[str, Callable[[], object]], repetitions: int, within_s: float = math.inf
) -> dict[str, list[float]]:
    """Each once to warm up, then once a repetition, each repetition in an order of its own.

    What ran before leaves its mark on caches and memory. within_s: the time after which no further repetition begins,
    once there are five.
    """
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    orders = np.random.default_rng(0)
    end = time.perf_counter() + within_s
    for repetition in range(repetitions):
        if repetition >= FEWEST and time.perf_counter() > end:
            break
        for name in orders.permutation(list(runs)):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(seconds: list[float]) -> dict[str, Any]:
    """Median, quartiles and all times."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return {"median_s": median, "quartiles_s": [low, high], "seconds": [round(value, 7) for value in seconds]}


def noise_of(seconds: list[float], again: list[float]) -> float:
    """By how much two medians of one program differ, relative: the larger of what they did and the 95 % quantile over
    random halves of all repetitions, since two medians can agree by chance.
    """
    pool = np.random.default_rng(0).permuted(np.tile([*seconds, *again], (1000, 1)), axis=1)
    ratios = np.median(pool[:, : len(seconds)], axis=1) / np.median(pool[:, len(seconds) :], axis=1)
    return float(max(np.quantile(abs(ratios - 1), 0.95), abs(np.median(again) / np.median(seconds) - 1)))


def product_rate(repetitions: int, size: int = 2048) -> float:
    """Operations a second of one float32 product of two `[size size]` matrices, the median.

    A multiplication and an addition are two operations.
    """
    a, b = jax.random.normal(jax.random.key(0), (2, size, size))
    product = jax.jit(lambda a, b: a @ b)
    (seconds,) = seconds_in_turn({"product": lambda: jax.block_until_ready(product(a, b))}, repetitions).values()
    return 2 * size**3 / float(np.median(seconds))


def write(folder: Path, name: str, receipt: Mapping[str, Any], table: str) -> None:
    """`NAME.json`, the receipt, and `NAME.md`, the table made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(receipt, indent=1) + "\n")
    (folder / f"{name}.md").write_text(table)


def record(
    folder: Path,
    name: str,
    receipt: Mapping[str, Any],
    entries: Iterable[dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> None:
    """Writes and prints after each entry, so that an interrupted run keeps what it has measured."""
    so_far = []
    for entry in entries:
        so_far.append(entry)
        whole = {**receipt, "entries": so_far}
        write(folder, name, whole, table(whole))
        print(table({**receipt, "entries": [entry]}), flush=True)


def machine() -> dict[str, Any]:
    packages = {"jax": jax.__version__, "flax": importlib.metadata.version("flax")}
    packages |= {n: importlib.metadata.version(n) for n in ("torch", "keras") if importlib.util.find_spec(n)}
    found = {"device": jax.devices()[0].device_kind, "platform": platform.platform(), "cores": usable_cores()}
    if "keras" in packages:
        found["keras_backend"] = os.environ.get("KERAS_BACKEND")
    return {**found, "packages": packages}
