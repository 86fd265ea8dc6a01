"""Time before anything happens: imports, `--help`, and a small run with and without the programs of one before it.

Each is a process of its own; all take turns, each repetition in another order; the table gives the median and the
quartiles. `import jax again` is `import jax` a second time: what the median of a program differs by from itself is the
noise.

Run: `python -m results.speed.startup`, on a quiet machine.
"""

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from results.speed.timing import machine, noise_of, seconds_in_turn, spread, write

ROOT = Path(__file__).parent.parent.parent
JAX = "import jax"
COMMANDS = {
    JAX: ["-c", "import jax"],
    "import jax again": ["-c", "import jax"],
    "import seqjax": ["-c", "import seqjax"],
    "import jax, then all of seqjax that an experiment takes": ["-c", "import jax, seqjax.experiment"],
    "import jax, flax.linen, optax": ["-c", "import jax, flax.linen, optax"],
    "experiments": ["-m", "experiments"],
    "autoencoder --help": ["-m", "experiments.autoencoder", "--help"],
    "vae --help": ["-m", "experiments.vae", "--help"],
    "character_model --help": ["-m", "experiments.character_model", "--help"],
}
SMOKE = ["-m", "experiments.autoencoder", "--smoke", "--seeds", "1", "--run-dir"]


def process(arguments: list[str], environment: Mapping[str, str]) -> None:
    """Raises CalledProcessError where it fails."""
    subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, check=True, capture_output=True
    )


def smoke_run(folder: Path, *, kept: bool) -> None:
    """kept: with the programs that a run before has compiled."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    enabled = {"JAX_ENABLE_COMPILATION_CACHE": "true" if kept else "false"}
    process([*SMOKE, str(folder / "run")], enabled | {"SEQJAX_DATA_DIR": str(folder / "data")})


def measured(commands: Mapping[str, Callable[[], None]], repetitions: int) -> dict[str, dict[str, Any]]:
    return {name: spread(seconds) for name, seconds in seconds_in_turn(commands, repetitions).items()}


def table(receipt: dict[str, Any]) -> str:
    """Markdown: a row for each command."""
    packages = ", ".join(f"{name} {version}" for name, version in receipt["packages"].items())
    lines = [
        f"Seconds of a process from its start to its end on {receipt['device']}, {packages}; noise "
        f"{receipt['noise']:.1%}.",
        "",
        "| process | s | quartiles | beyond `import jax` | repetitions |",
        "|---|---|---|---|---|",
    ]
    base = receipt["rows"][JAX]["median_s"]
    for name, row in receipt["rows"].items():
        low, high = row["quartiles_s"]
        lines.append(
            f"| {name} | {row['median_s']:.2f} | {low:.2f}-{high:.2f} | {row['median_s'] - base:+.2f} "
            f"| {len(row['seconds'])} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--runs", type=int, default=10, help="repetitions of the small runs")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of startup.json and .md")
    options = parser.parse_args(arguments)
    rows = measured({name: functools.partial(process, c, {}) for name, c in COMMANDS.items()}, options.repetitions)
    with tempfile.TemporaryDirectory() as folder:
        runs = {f"small run, programs {'kept' if k else 'compiled'}": k for k in (False, True)}
        small = {name: functools.partial(smoke_run, Path(folder), kept=kept) for name, kept in runs.items()}
        rows |= measured(small, options.runs)
    noise = noise_of(rows[JAX]["seconds"], rows["import jax again"]["seconds"])
    receipt = {**machine(), "noise": noise, "rows": rows}
    write(options.output, "startup", receipt, table(receipt))
    print(table(receipt))


if __name__ == "__main__":
    main()
