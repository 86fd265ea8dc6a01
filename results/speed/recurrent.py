"""Time of one training step of a recurrent layer: `sweep`, `unroll`, Flax, and PyTorch and Keras where installed.

A step is the gradient of the mean square of all outputs to the weights and to the inputs, float32, and a step of plain
gradient descent on both, so that each depends on the one before. JAX's programs, ours and peers', make two steps in one
dispatch, as training makes many, PyTorch's two calls; a time is half of that. All versions run in one process, in turn,
each repetition in another order; the table gives the median and the quartiles.
`full again` is `full` a second time: what the median of a program differs by from itself is the noise. `full on N` is
the same with the batch shared out over N host devices, one for each core, as experiments do with `--host-devices N`
where they have fewer seeds than that; Flax is measured so too. The product rate is that of one large matrix product: no
step can do its products faster. PyTorch and Keras have the biases that they always have, PyTorch two for each gate.

Run: `python -m results.speed.recurrent`, on a quiet machine: under another process's load PyTorch's threads wait for
each other, and its times grow a hundredfold.
One shape: `python -m results.speed.recurrent --cells lstm --shapes 32,28,28,128 --repetitions 10`
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec

from results.speed.timing import machine, noise_of, product_rate, record, seconds_in_turn, spread
from seqjax.parallel import usable_cores, use_host_devices
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
STEPS, LEARNING_RATE = 2, 1e-3

BATCH_SPECS = (PartitionSpec(), PartitionSpec("batch"))  # of the weights, of the inputs
ON_ONE_DEVICE = ("flax.linen.RNN", "flax.nnx.RNN", "keras")
PEERS = {
    "torch": ("torch",),
    **{name: (name,) for name in ON_ONE_DEVICE},
    "the fastest of these but torch": ON_ONE_DEVICE,
    "the fastest, Flax on all devices among them": (*ON_ONE_DEVICE, "flax.linen.RNN on "),
}
LARGE, SHARE = 256, 0.7  # the hidden size from which products should run at this part of the product rate


class Version(NamedTuple):
    """Compiled training steps: `run()` makes `STEPS` of them, and returns when they are done."""

    run: Callable[[], None]
    compile_s: float
    temp_bytes: int | None


def descent(loss: Callable[..., jax.Array], devices: int) -> Callable[..., Any]:
    """`(params, xs [B ...]) -> params, xs` after `STEPS` steps on a mean over examples, shared out over the devices."""

    def step(point, _):
        of_params, of_xs = jax.grad(loss, argnums=(0, 1))(*point)
        if devices > 1:
            of_params, of_xs = jax.lax.pmean(of_params, "batch"), of_xs / devices
        return jax.tree.map(lambda a, slope: a - LEARNING_RATE * slope, point, (of_params, of_xs)), None

    def descend(params, xs):
        return jax.lax.scan(step, (params, xs), length=STEPS)[0]

    if devices == 1:
        return descend
    return jax.shard_map(
        descend, mesh=batch_mesh(devices), in_specs=BATCH_SPECS, out_specs=BATCH_SPECS, check_vma=False
    )


def batch_mesh(devices: int) -> jax.sharding.Mesh:
    return jax.make_mesh((devices,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))


def compiled(loss: Callable[..., jax.Array], params: Any, xs: jax.Array, devices: int = 1) -> Version:
    if devices > 1:
        shardings = [jax.NamedSharding(batch_mesh(devices), spec) for spec in BATCH_SPECS]
        params, xs = (jax.device_put(tree, sharding) for tree, sharding in zip((params, xs), shardings, strict=True))
    start = time.perf_counter()
    program = jax.jit(descent(loss, devices)).lower(params, xs).compile()
    compile_s = time.perf_counter() - start
    temp_bytes = program.memory_analysis().temp_size_in_bytes
    return Version(lambda: jax.block_until_ready(program(params, xs)) and None, compile_s, temp_bytes)


def seqjax_version(cell_name: str, hidden_size: int, xs: jax.Array, policy: str, devices: int = 1) -> Version:
    cell = CELLS[cell_name](hidden_size)
    params = jax.jit(cell.init, static_argnums=1)(jax.random.key(0), xs.shape[-1])

    def loss(params, xs):
        if policy == "unroll":
            return jnp.mean(unroll(cell, params, xs)[1] ** 2)
        return jnp.mean(sweep(cell, params, xs, residuals=policy)[1] ** 2)

    return compiled(loss, params, xs, devices)


def linen_version(cell_name: str, hidden_size: int, xs: jax.Array, devices: int = 1) -> Version:
    cells = {"elman": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
    model = nn.RNN(cells[cell_name](hidden_size))
    variables = jax.jit(model.init)(jax.random.key(0), xs)
    return compiled(lambda variables, xs: jnp.mean(model.apply(variables, xs) ** 2), variables, xs, devices)


def nnx_version(cell_name: str, hidden_size: int, xs: jax.Array) -> Version:
    cells = {"elman": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
    model = nnx.RNN(cells[cell_name](xs.shape[-1], hidden_size, rngs=nnx.Rngs(0)))
    carry = model.cell.initialize_carry(
        xs[:, 0].shape, nnx.Rngs(1)
    )  # its count of drawn carries cannot change in a gradient
    graph, weights, rest = nnx.split(model, nnx.Param, ...)

    def loss(weights, xs):
        return jnp.mean(nnx.merge(graph, weights, rest)(xs, initial_carry=carry) ** 2)

    return compiled(loss, weights, xs)


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
        for _ in range(STEPS):
            slopes = torch.autograd.grad(apply(x).square().mean(), [*weights, x])
            with torch.no_grad():
                torch._foreach_add_([*weights, x], slopes, alpha=-LEARNING_RATE)
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


def versions_of(cell_name: str, shape: tuple[int, ...], devices: int) -> dict[str, Version]:
    batch_size, num_steps, input_size, hidden_size = shape
    xs = jax.random.normal(jax.random.key(1), (batch_size, num_steps, input_size))
    versions = {p: seqjax_version(cell_name, hidden_size, xs, p) for p in (*POLICIES, "unroll")}
    versions["full again"] = versions["full"]
    versions["flax.linen.RNN"] = linen_version(cell_name, hidden_size, xs)
    versions["flax.nnx.RNN"] = nnx_version(cell_name, hidden_size, xs)
    if devices > 1 and batch_size % devices == 0:
        versions[f"full on {devices}"] = seqjax_version(cell_name, hidden_size, xs, "full", devices)
        versions[f"flax.linen.RNN on {devices}"] = linen_version(cell_name, hidden_size, xs, devices)
    for name, make in (("torch", torch_version), ("keras", keras_version)):
        if importlib.util.find_spec(name):
            versions[name] = make(cell_name, hidden_size, xs)
    return versions


def measured(cell_name: str, shape: tuple[int, ...], repetitions: int, within_s: float, devices: int) -> dict[str, Any]:
    versions = versions_of(cell_name, shape, devices)
    in_turn = seconds_in_turn({name: version.run for name, version in versions.items()}, repetitions, within_s)
    seconds = {name: [value / STEPS for value in values] for name, values in in_turn.items()}
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


def speedups(entries: list[dict[str, Any]], peers: tuple[str, ...]) -> dict[str, list[float]]:
    """`{version: the fastest peer's time over its own, for each entry that has both}`, on one device and on all.

    A peer's name that ends with a space is that on any number of devices.
    """
    found: dict[str, list[float]] = {}
    for entry in entries:
        rows = entry["versions"]
        theirs = [
            row["median_s"]
            for name, row in rows.items()
            if name in peers or any(p.endswith(" ") and name.startswith(p) for p in peers)
        ]
        for name in rows:
            if theirs and is_ours(name):
                found.setdefault(name, []).append(min(theirs) / rows[name]["median_s"])
    return found


def is_ours(version: str) -> bool:
    return version == "full" or version.startswith("full on ")


def shares(entries: list[dict[str, Any]], product_rate: float) -> dict[str, list[float]]:
    """`{version: its part of the product rate, for each entry with a large hidden size}`."""
    found: dict[str, list[float]] = {}
    for entry in entries:
        for name, row in entry["versions"].items():
            if entry["shape"][3] >= LARGE and is_ours(name):
                found.setdefault(name, []).append(row["gflop_per_s"] * 1e9 / product_rate)
    return found


def table(receipt: dict[str, Any]) -> str:
    """Markdown: the geometric means against each peer, then a row for each version of each cell and shape."""
    packages = ", ".join(f"{name} {version}" for name, version in receipt["packages"].items())
    lines = [
        f"Training step of one recurrent layer on {receipt['device']}, float32, {packages}; "
        "median and quartiles; product rate "
        f"{receipt['product_flop_per_s'] / 1e9:.0f} GFLOP/s.",
        "",
        "| cell | version | against | times as fast, geometric mean | least | most | shapes |",
        "|---|---|---|---|---|---|---|",
    ]
    cells = list(dict.fromkeys(entry["cell"] for entry in receipt["entries"]))
    for cell in ["all", *cells] if len(cells) > 1 else cells:
        entries = [entry for entry in receipt["entries"] if cell in ("all", entry["cell"])]
        for peer, names in PEERS.items():
            for name, ratios in speedups(entries, names).items():
                mean = float(np.exp(np.mean(np.log(ratios))))
                lines.append(
                    f"| {cell} | {name} | {peer} | {mean:.2f} | {min(ratios):.2f} | {max(ratios):.2f} | {len(ratios)} |"
                )
    for name, parts in shares(receipt["entries"], receipt["product_flop_per_s"]).items():
        lines += [
            "",
            f"`{name}`, H >= {LARGE}: {min(parts):.0%} to {max(parts):.0%} of the product rate, "
            f"at least {SHARE:.0%} in {sum(part >= SHARE for part in parts)} of {len(parts)}.",
        ]
    lines += [
        "",
        "| cell | B, T, D, H | version | ms | quartiles | times `full` | GFLOP/s | of the product rate | compile s "
        "| temporary MiB | repetitions | noise |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in receipt["entries"]:
        full = entry["versions"]["full"]["median_s"]
        for name, row in entry["versions"].items():
            low, high = row["quartiles_s"]
            memory = "" if row["temp_bytes"] is None else f"{row['temp_bytes'] / 2**20:.1f}"
            lines.append(
                f"| {entry['cell']} | {', '.join(map(str, entry['shape']))} | {name} | {row['median_s'] * 1e3:.2f} "
                f"| {low * 1e3:.2f}-{high * 1e3:.2f} | {row['median_s'] / full:.2f} | {row['gflop_per_s']:.1f} "
                f"| {row['gflop_per_s'] * 1e9 / receipt['product_flop_per_s']:.0%} "
                f"| {row['compile_s']:.2f} | {memory} | {len(row['seconds'])} | {entry['noise']:.1%} |"
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
    parser.add_argument("--repetitions", type=int, default=30, help="of each cell and shape, at most")
    parser.add_argument("--within", type=float, default=20.0, help="seconds for them, but for five at least")
    parser.add_argument("--devices", type=int, default=usable_cores(), help="host devices that share out a batch")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of recurrent.json and .md")
    options = parser.parse_args(arguments)
    use_host_devices(options.devices)
    shapes = options.shapes or (SHAPES + (GPU_SHAPES if jax.default_backend() == "gpu" else ()))

    receipt = {
        **machine(),
        "product_flop_per_s": product_rate(options.repetitions),
    }
    entries = (
        measured(cell_name, shape, options.repetitions, options.within, options.devices)
        for cell_name in options.cells
        for shape in shapes
    )
    record(options.output, "recurrent", receipt, entries, table)


if __name__ == "__main__":
    main()
