"""What grows with what: sequences to 100,000 steps, host devices, data that stay on the host, data beyond the memory.

- Lengths: time and temporary memory of the gradients of an LSTM's last output, with all gates kept (`full`) and with
  one carry kept for each of about sqrt(T) segments (`segments`).
- Devices: rows a second of a training step whose batch is shared out over 1, 2, 4, 8 host devices.
- Streams: a chapter with the rows on the device and with the same rows read from the host.
- Memory: a chapter on a file ten times as large as what the process may still take when it has started; 100
  of its rows are the validation split.

Run: `python -m results.speed.scale`, on a quiet machine.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import autoencoder, vae
from results.speed.chapters import first_chapter
from results.speed.timing import machine, noise_of, product_rate, record, seconds_in_turn, spread
from seqjax.parallel import use_host_devices
from seqjax.recurrent import lstm, sweep

BATCH_SIZE, HIDDEN_SIZE = 8, 32
LENGTHS = (1_000, 10_000, 100_000)
DEVICES = (1, 2, 4, 8)
ROWS, VALIDATION, VALUES, STEPS = 25_600, 100, 784, 100
LIMIT = 256 * 2**20  # bytes that the process may take beside what it holds after its start
TIMES_THE_LIMIT = 10


def lengths(all_of_them: Sequence[int], repetitions: int) -> Iterator[dict[str, Any]]:
    cell = lstm(HIDDEN_SIZE)
    params = cell.init(jax.random.key(0), HIDDEN_SIZE)
    for length in all_of_them:
        # time first: the copy that other orders need is as large as the inputs
        xs = jax.random.normal(jax.random.key(1), (length, BATCH_SIZE, HIDDEN_SIZE))
        programs = {}
        for residuals in ("full", "segments"):

            def loss(params, xs, residuals=residuals):
                (_, h), _ = sweep(cell, params, xs, time_major=True, residuals=residuals)
                return jnp.mean(h**2)

            programs[residuals] = jax.jit(jax.grad(loss)).lower(params, xs).compile()
        runs = {
            name: lambda p=program, xs=xs: jax.block_until_ready(p(params, xs)) for name, program in programs.items()
        }
        seconds = seconds_in_turn(runs, repetitions)
        for name, program in programs.items():
            temp_bytes = program.memory_analysis().temp_size_in_bytes
            yield {"what": "length", "size": length, "way": name, "temp_bytes": temp_bytes, **spread(seconds[name])}


def images(folder: Path, rows: int) -> Path:
    """A `.npy` file of random bytes, written in parts."""
    path = folder / "images.npy"
    written = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, VALUES))
    drawn = np.random.default_rng(0)
    for start in range(0, rows, 2**16):
        part = written[start : start + 2**16]
        part[:] = drawn.integers(0, 256, part.shape, np.uint8)
    written.flush()
    return path


def config_of(path: Path, batch_size: int, steps: int) -> autoencoder.Config:
    # the validation split is held in memory, however many rows the others have
    return autoencoder.Config(
        dataset=str(path), batch_size=batch_size, steps=100 * steps, chapter_steps=steps, validation_size=VALIDATION
    )


def devices(path: Path, counts: Sequence[int], steps: int, repetitions: int) -> Iterator[dict[str, Any]]:
    experiment = autoencoder.build(config_of(path, 512, steps))
    runs = {count: first_chapter(experiment, steps, devices=count) for count in counts}
    for count, seconds in seconds_in_turn(runs, repetitions).items():
        taken = spread(seconds)
        yield {"what": "devices", "size": count, "way": "batch", "rows_per_s": 512 * steps / taken["median_s"], **taken}


def streams(path: Path, steps: int, repetitions: int) -> Iterator[dict[str, Any]]:
    both = {
        "autoencoder": autoencoder.build(config_of(path, 256, steps)),
        "vae": vae.build(vae.Config(dataset=str(path), batch_size=128, steps=100 * steps, chapter_steps=steps)),
    }
    for name, experiment in both.items():
        runs = {way: first_chapter(experiment, steps, stream=way == "streamed") for way in ("resident", "streamed")}
        runs["resident again"] = runs["resident"]
        seconds = seconds_in_turn(runs, repetitions)
        noise = noise_of(seconds["resident"], seconds.pop("resident again"))
        for way, taken in seconds.items():
            yield {"what": f"{name}, rows", "size": ROWS, "way": way, "noise": noise, **spread(taken)}


def within_memory(path: Path, steps: int) -> dict[str, Any]:
    """In a process of its own: its data segment, all that is not a file's, is held to what it has and `LIMIT` more."""
    lines = subprocess.run(
        [sys.executable, "-m", "results.speed.scale", "--within-memory", str(path), "--steps", str(steps)],
        check=True,
        stdout=subprocess.PIPE,  # what goes wrong there is to be seen here
        text=True,
    ).stdout.splitlines()
    return json.loads(lines[-1])


def chapter_within_memory(path: Path, steps: int) -> dict[str, Any]:
    # what compiling takes is not what training takes
    small = path.parent / "small"
    small.mkdir()
    first_chapter(autoencoder.build(config_of(images(small, ROWS), 256, steps)), steps, stream=True)()
    (held,) = (int(kib) * 1024 for kib in re.findall(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text()))
    resource.setrlimit(resource.RLIMIT_DATA, (held + LIMIT, held + LIMIT))
    try:
        bytearray(path.stat().st_size)
    except MemoryError:
        refused = True
    else:
        refused = False
    run = first_chapter(autoencoder.build(config_of(path, 256, steps)), steps, stream=True)
    (seconds,) = seconds_in_turn({"streamed": run}, 3).values()
    kept = {"held_bytes": held, "limit_bytes": LIMIT, "refused_at_once": refused}
    return {"what": "bytes", "size": path.stat().st_size, "way": "streamed", **kept, **spread(seconds)}


def table(receipt: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in receipt["packages"].items())
    lines = [
        f"LSTM of {HIDDEN_SIZE} units, batches of {BATCH_SIZE}; experiments on {VALUES} bytes a row; on "
        f"{receipt['device']}, {packages}; medians.",
        "",
        "| what | size | way | median, ms | quartiles | of one, us | temporary memory, MiB | repetitions | noise |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in receipt["entries"]:
        low, high = (value * 1e3 for value in entry["quartiles_s"])
        each = f"{entry['median_s'] / entry['size'] * 1e6:.2f}" if entry["what"] == "length" else ""
        if "rows_per_s" in entry:
            each = f"{1e6 / entry['rows_per_s']:.2f}"
        memory = f"{entry['temp_bytes'] / 2**20:.1f}" if "temp_bytes" in entry else ""
        noise = f"{entry['noise']:.1%}" if "noise" in entry else ""
        lines.append(
            f"| {entry['what']} | {entry['size']:,} | {entry['way']} | {entry['median_s'] * 1e3:.2f} | {low:.2f} to "
            f"{high:.2f} | {each} | {memory} | {len(entry['seconds'])} | {noise} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--devices", type=int, nargs="+", default=DEVICES)
    parser.add_argument("--steps", type=int, default=STEPS, help="of a chapter")
    parser.add_argument("--within-memory", type=Path, metavar="FILE", help="that part alone, in this process")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of scale.json and .md")
    options = parser.parse_args(arguments)
    if options.within_memory is not None:
        print(json.dumps(chapter_within_memory(options.within_memory, options.steps)))
        return
    use_host_devices(max(options.devices))

    def entries() -> Iterator[dict[str, Any]]:
        yield from lengths(options.lengths, options.repetitions)
        with tempfile.TemporaryDirectory() as folder:
            path = images(Path(folder), ROWS)
            yield from devices(path, options.devices, options.steps, options.repetitions)
            yield from streams(path, options.steps, options.repetitions)
        # beside the checkout: where temporary files live in memory, a file would take what it is to do without
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            yield within_memory(images(Path(folder), TIMES_THE_LIMIT * LIMIT // VALUES), options.steps)

    receipt = {**machine(), "product_flop_per_s": product_rate(options.repetitions)}
    record(options.output, "scale", receipt, entries(), table)


if __name__ == "__main__":
    main()
