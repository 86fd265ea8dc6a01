"""Time of one training step of a recurrent layer: `sweep`, `unroll`, Flax, and PyTorch and Keras where installed.

A step is the gradient of the mean square of all outputs to the weights and to the inputs, float32, no optimiser. All
versions run in one process, in turn, each repetition in another order; the table gives the median and the quartiles.
`full again` is `full` a second time: what the median of a program differs by from itself is the noise.

Run: `python -m results.speed.recurrent`, on a quiet machine: under another process's load PyTorch's threads wait for
each other, and its times grow a hundredfold.
One shape: `python -m results.speed.recurrent --cells lstm --shapes 32,28,28,128 --repetitions 10`
"""

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from results.speed.timing import machine, noise_of, seconds_in_turn, spread
from seqjax.recurrent import elman, gru, lstm, sweep, unroll

SHAPES = (
    (64, 100, 128, 256),
    (32, 28, 28, 128),
    (20, 35, 650, 650),
    (32, 100, 64, 64),
    (16, 150, 256, 256),
    (64, 100, 123, 320),
    (32, 1000, 123, 320),
    (128, 784, 1, 128),
)
GPU_SHAPES = ((16, 1024, 768, 768), (32, 25, 512, 512), (32, 50, 1536, 1536))
CELLS = {"elman": elman, "gru": gru, "lstm": lstm}
NUM_GATES = {"elman": 1, "gru": 3, "lstm": 4}
POLICIES = ("full", "lean", "segments")


class Version(NamedTuple):
    """A compiled training step: `run()` returns when it is done."""

    run: Callable[[], None]
    compile_s: float
    temp_bytes: int | None


def compiled(loss: Callable[..., jax.Array], params: Any, xs: jax.Array) -> Version:
    start = time.perf_counter()
    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, xs).compile()
    compile_s = time.perf_counter() - start
    temp_bytes = program.memory_analysis().temp_size_in_bytes
    return Version(lambda: jax.block_until_ready(program(params, xs)) and None, compile_s, temp_bytes)


def seqjax_version(cell_name: str, hidden_size: int, xs: jax.Array, policy: str) -> Version:
    cell = CELLS[cell_name](hidden_size)
    params = jax.jit(cell.init, static_argnums=1)(jax.random.key(0), xs.shape[-1])

    def loss(params, xs):
        if policy == "unroll":
            return jnp.mean(unroll(cell, params, xs)[1] ** 2)
        return jnp.mean(sweep(cell, params, xs, residuals=policy)[1] ** 2)

    return compiled(loss, params, xs)


def flax_version(cell_name: str, hidden_size: int, xs: jax.Array) -> Version:
    cells = {"elman": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
    model = nn.RNN(cells[cell_name](hidden_size))
    variables = jax.jit(model.init)(jax.random.key(0), xs)
    return compiled(lambda variables, xs: jnp.mean(model.apply(variables, xs) ** 2), variables, xs)


def torch_version(cell_name: str, hidden_size: int, xs: jax.Array) -> Version:
    import torch

    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    layers = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    layer = layers[cell_name](xs.shape[-1], hidden_size, batch_first=True).to(device)
    return torch_step(lambda x: layer(x)[0], list(layer.parameters()), xs, device)


def torch_step(apply: Callable[..., Any], weights: list[Any], xs: jax.Array, device: str) -> Version:
    import torch

    x = torch.tensor(np.asarray(xs), device=device, requires_grad=True)

    def run():
        torch.autograd.grad(apply(x).square().mean(), [*weights, x])
        if device == "cuda":
            torch.cuda.synchronize()

    start = time.perf_counter()
    run()
    return Version(run, time.perf_counter() - start, None)


def keras_version(cell_name: str, hidden_size: int, xs: jax.Array) -> Version:
    import keras

    layers = {"elman": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
    layer = layers[cell_name](hidden_size, return_sequences=True)
    layer.build(xs.shape)
    if keras.backend.backend() == "torch":
        weights = [variable.value for variable in layer.trainable_variables]
        return torch_step(layer, weights, xs, str(weights[0].device.type))
    if keras.backend.backend() != "jax":
        raise SystemExit("KERAS_BACKEND: expected jax or torch")
    fixed = [variable.value for variable in layer.non_trainable_variables]

    def loss(weights, xs):
        return jnp.mean(layer.stateless_call(weights, fixed, xs)[0] ** 2)

    return compiled(loss, [variable.value for variable in layer.trainable_variables], xs)


def versions_of(cell_name: str, shape: tuple[int, ...]) -> dict[str, Version]:
    batch_size, num_steps, input_size, hidden_size = shape
    xs = jax.random.normal(jax.random.key(1), (batch_size, num_steps, input_size))
    versions = {p: seqjax_version(cell_name, hidden_size, xs, p) for p in (*POLICIES, "unroll")}
    versions["full again"] = versions["full"]
    versions["flax.linen.RNN"] = flax_version(cell_name, hidden_size, xs)
    for name, make in (("torch", torch_version), ("keras", keras_version)):
        if importlib.util.find_spec(name):
            versions[name] = make(cell_name, hidden_size, xs)
    return versions


def measured(cell_name: str, shape: tuple[int, ...], repetitions: int) -> dict[str, Any]:
    versions = versions_of(cell_name, shape)
    seconds = seconds_in_turn({name: version.run for name, version in versions.items()}, repetitions)
    batch_size, num_steps, input_size, hidden_size = shape
    flops = 6 * NUM_GATES[cell_name] * batch_size * num_steps * hidden_size * (input_size + hidden_size)
    rows = {}
    for name, version in versions.items():
        found = spread(seconds[name])
        rows[name] = {
            **found,
            "gflop_per_s": flops / found["median_s"] / 1e9,
            "compile_s": version.compile_s,
            "temp_bytes": version.temp_bytes,
        }
    noise = noise_of(seconds["full"], seconds["full again"])
    return {"cell": cell_name, "shape": list(shape), "noise": noise, "versions": rows}


def table(receipt: dict[str, Any]) -> str:
    """Markdown: a row for each version of each cell and shape."""
    packages = ", ".join(f"{name} {version}" for name, version in receipt["packages"].items())
    lines = [
        f"Training step of one recurrent layer on {receipt['device']}, float32, {packages}; "
        f"median and quartiles of {receipt['repetitions']} repetitions.",
        "",
        "| cell | B, T, D, H | version | ms | quartiles | times `full` | GFLOP/s | compile s | temporary MiB | noise |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in receipt["entries"]:
        full = entry["versions"]["full"]["median_s"]
        for name, row in entry["versions"].items():
            low, high = row["quartiles_s"]
            memory = "" if row["temp_bytes"] is None else f"{row['temp_bytes'] / 2**20:.1f}"
            lines.append(
                f"| {entry['cell']} | {', '.join(map(str, entry['shape']))} | {name} | {row['median_s'] * 1e3:.2f} "
                f"| {low * 1e3:.2f}-{high * 1e3:.2f} | {row['median_s'] / full:.2f} | {row['gflop_per_s']:.1f} "
                f"| {row['compile_s']:.2f} | {memory} | {entry['noise']:.1%} |"
            )
    return "\n".join(lines) + "\n"


def shape_of(text: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split(","))
    if len(sizes) != 4 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected four positive sizes B,T,D,H")
    return sizes


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--shapes", nargs="+", type=shape_of, help="B,T,D,H; default those of the table")
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of recurrent.json and .md")
    options = parser.parse_args(arguments)
    shapes = options.shapes or (SHAPES + (GPU_SHAPES if jax.default_backend() == "gpu" else ()))

    receipt = {**machine(), "repetitions": options.repetitions, "entries": []}
    options.output.mkdir(parents=True, exist_ok=True)
    for cell_name in options.cells:
        for shape in shapes:
            receipt["entries"].append(measured(cell_name, shape, options.repetitions))
            # written after each entry: an interrupted run keeps what it has measured
            (options.output / "recurrent.json").write_text(json.dumps(receipt, indent=1) + "\n")
            (options.output / "recurrent.md").write_text(table(receipt))
            print(table({**receipt, "entries": receipt["entries"][-1:]}), flush=True)


if __name__ == "__main__":
    main()
