"""What seeds cost: a chapter of each experiment for one seed, and for eight by each way of training them together.

`map` trains the seeds one after another in one program, `vmap` all at each step; `on N` shares them out over N host
devices, one for each core, of which each maps its own, or trains them all at each step. An experiment is its `--smoke`
configuration, its first phase; all its ways run in one process, in turn, each repetition in another order. The table
gives times one seed's median; `one again` is one seed a second time: what the median of a program differs by from
itself is the noise.

Run: `python -m results.speed.seeds`, on a quiet machine.
"""

import argparse
import importlib
from pathlib import Path
from typing import Any

from experiments.__main__ import names
from results.speed.chapters import first_chapter
from results.speed.timing import machine, noise_of, product_rate, record, seconds_in_turn, spread
from seqjax.parallel import usable_cores, use_host_devices

SEEDS = 8


def measured(name: str, repetitions: int, within_s: float, devices: int) -> dict[str, Any]:
    module = importlib.import_module(f"experiments.{name}")
    experiment = module.build(module.Config(**module.SMOKE))
    (phase, *_) = experiment.phases
    steps = min(phase.chapter_steps, phase.steps)
    runs = {"one": first_chapter(experiment, steps)}
    runs["one again"] = runs["one"]
    for count in sorted({1, devices}):
        for seed_plan in ("map", "vmap"):
            way = seed_plan if count == 1 else f"{seed_plan} on {count}"
            runs[way] = first_chapter(experiment, steps, seeds=SEEDS, seed_plan=seed_plan, devices=count)
    seconds = seconds_in_turn(runs, repetitions, within_s)
    return {
        "experiment": name,
        "steps": steps,
        "noise": noise_of(seconds["one"], seconds["one again"]),
        "ways": {way: spread(values) for way, values in seconds.items()},
    }


def table(receipt: dict[str, Any]) -> str:
    """Markdown: a row for each experiment, a column for each way."""
    packages = ", ".join(f"{name} {version}" for name, version in receipt["packages"].items())
    ways = [way for way in receipt["entries"][0]["ways"] if not way.startswith("one")]
    lines = [
        f"A chapter for {SEEDS} seeds, times that of one seed, on {receipt['device']}, {packages}; medians.",
        "",
        f"| experiment | steps | one seed, ms | {' | '.join(ways)} | repetitions | noise |",
        "|---|---|---" + "|---" * len(ways) + "|---|---|",
    ]
    for entry in receipt["entries"]:
        one = entry["ways"]["one"]["median_s"]
        times = " | ".join(f"{entry['ways'][way]['median_s'] / one:.2f}" for way in ways)
        lines.append(
            f"| {entry['experiment']} | {entry['steps']} | {one * 1e3:.1f} | {times} "
            f"| {len(entry['ways']['one']['seconds'])} | {entry['noise']:.1%} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--experiments", nargs="+", choices=names(), default=names())
    parser.add_argument("--repetitions", type=int, default=30, help="of each experiment, at most")
    parser.add_argument("--within", type=float, default=20.0, help="seconds for them, but for five at least")
    parser.add_argument("--devices", type=int, default=usable_cores(), help="host devices that share out the seeds")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of seeds.json and .md")
    options = parser.parse_args(arguments)
    use_host_devices(options.devices)
    receipt = {**machine(), "product_flop_per_s": product_rate(options.repetitions)}
    entries = (measured(name, options.repetitions, options.within, options.devices) for name in options.experiments)
    record(options.output, "seeds", receipt, entries, table)


if __name__ == "__main__":
    main()
