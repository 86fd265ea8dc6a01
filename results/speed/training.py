"""Time of an epoch: the training loops of three experiments, and those of PyTorch and Keras where installed.

An epoch is 60,000 rows of 784 bytes in a new random order: values scaled to [0, 1], float32, Adam, the same layers,
losses and batch sizes; no validation. The networks are an autoencoder 784-32-784 (cross-entropy, batches of 256), a VAE
784-400-20-400-784 (batches of 128, each value drawn anew as 0 or 1 with the grey value as probability) and a GAN
100-128-784 against 784-128-1 (batches of 32; the critic's ReLU leaks here and not in PyTorch). All loops run in one
process, in turn, each repetition in another order; the table gives the median and the quartiles. `seqjax again` is
`seqjax` a second time: what the median of a program differs by from itself is the noise. The product rate is that of
one large matrix product; beside it stands the rate of the matrix products that an epoch cannot do without.

Run: `python -m results.speed.training`, on a quiet machine.
"""

import argparse
import importlib.util
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import autoencoder, gan, vae
from results.speed.chapters import first_chapter
from results.speed.timing import machine, noise_of, product_rate, record, seconds_in_turn, spread

NUM_ROWS, NUM_VALUES = 60_000, 784
LOOPS = ("autoencoder", "vae", "gan")
BATCH_SIZES = {"autoencoder": 256, "vae": 128, "gan": 32}


def product_flops(loop: str) -> int:
    """Operations of the matrix products of one row's share of a step, a multiplication and an addition being two."""
    match loop:
        case "autoencoder":
            forward = 784 * 32 + 32 * 784
            products = 3 * forward - 784 * 32  # the way back has two for each, but none to the rows
        case "vae":
            forward = 784 * 400 + 400 * 40 + 20 * 400 + 400 * 784
            products = 3 * forward - 784 * 400
        case "gan":
            generator, critic = 100 * 128 + 128 * 784, 784 * 128 + 128
            of_critic = generator + 2 * (2 * critic + 128)  # a real row and a made one
            of_generator = 2 * generator + 128 * 784 + 2 * critic  # through the critic, whose weights stay
            products = of_critic + of_generator
    return 2 * products


class Version(NamedTuple):
    """A loop: `run()` trains for an epoch and returns when it is done."""

    run: Callable[[], object]
    compile_s: float


def made(run: Callable[[], object], once: Callable[[], object]) -> Version:
    """A version whose first call, which compiles, is timed on `once`."""
    start = time.perf_counter()
    once()
    return Version(run, time.perf_counter() - start)


def config_of(loop: str, path: Path, steps: int) -> Any:
    shared = {
        "dataset": str(path),
        "schedule": "constant",
        "learning_rate": 1e-3,
        "steps": 100 * steps,
        "batch_size": BATCH_SIZES[loop],
        "chapter_steps": steps,
    }
    match loop:
        case "autoencoder":
            own = {"hidden": (), "code_size": 32, "code_activation": "relu", "reconstruction": "cross_entropy"}
            return autoencoder.Config(**shared, **own)
        case "vae":
            return vae.Config(**shared, hidden=(400,), latent_size=20, activation="relu")
    return gan.Config(**shared, latent_size=100, ema_decay=None)


def seqjax_version(loop: str, path: Path, steps: int) -> Version:
    module = {"autoencoder": autoencoder, "vae": vae, "gan": gan}[loop]
    experiment = module.build(config_of(loop, path, steps))
    epoch = first_chapter(experiment, steps)
    return made(epoch, epoch)


def torch_version(loop: str, images: np.ndarray, steps: int, *, compiled: bool) -> Version:
    """compiled: by `torch.compile`, one step a call."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    x = torch.tensor(images, device=device).float() / 255
    batch_size = BATCH_SIZES[loop]

    def net(*sizes: int) -> Any:
        layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        between = [part for layer in layers for part in (layer, torch.nn.ReLU())]
        return torch.nn.Sequential(*between[:-1]).to(device)

    def adam(*nets: Any) -> Any:
        momentum = (0.5, 0.999) if loop == "gan" else (0.9, 0.999)
        return torch.optim.Adam([p for n in nets for p in n.parameters()], 1e-3, betas=momentum, fused=True)

    def moved(optimizer: Any, loss: Any) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    match loop:
        case "autoencoder":
            both = net(784, 32, 784)
            optimizer = adam(both)

            def loss_of(rows: Any) -> Any:
                return cross_entropy(both(rows), rows, reduction="sum") / batch_size
        case "vae":
            encoder, decoder = net(784, 400, 40), net(20, 400, 784)
            optimizer = adam(encoder, decoder)

            def loss_of(rows: Any) -> Any:
                rows = torch.bernoulli(rows)
                mean, log_variance = encoder(rows).chunk(2, dim=1)
                z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
                divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum()
                return (cross_entropy(decoder(z), rows, reduction="sum") + divergence) / batch_size
        case "gan":
            generator, critic = net(100, 128, 784), net(784, 128, 1)
            generator_optimizer, critic_optimizer = adam(generator), adam(critic)

            def critic_loss(rows: Any) -> Any:
                fake = torch.sigmoid(generator(torch.randn(batch_size, 100, device=device))).detach()
                real_logits, fake_logits = critic(torch.cat([rows, fake])).chunk(2)
                return cross_entropy(real_logits, torch.ones_like(real_logits)) + cross_entropy(
                    fake_logits, torch.zeros_like(fake_logits)
                )

            def generator_loss() -> Any:
                logits = critic(torch.sigmoid(generator(torch.randn(batch_size, 100, device=device))))
                return cross_entropy(logits, torch.ones_like(logits))

            if compiled:
                critic_loss, generator_loss = torch.compile(critic_loss), torch.compile(generator_loss)
    if compiled and loop != "gan":
        loss_of = torch.compile(loss_of)

    def step(rows: Any) -> None:
        if loop == "gan":
            moved(critic_optimizer, critic_loss(rows))
            moved(generator_optimizer, generator_loss())
        else:
            moved(optimizer, loss_of(rows))

    def epoch() -> None:
        # one gather for the epoch: batches are then views
        shuffled = x[torch.randperm(len(x), device=device)]
        for number in range(steps):
            step(shuffled[number * batch_size : (number + 1) * batch_size])
        if device == "cuda":
            torch.cuda.synchronize()

    return made(epoch, lambda: step(x[:batch_size]))


def keras_version(loop: str, images: np.ndarray, steps: int) -> Version:
    """`fit` on the backend that `KERAS_BACKEND` names, with the whole epoch as one call where JAX is."""
    import keras

    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((NUM_VALUES,))
    if loop == "autoencoder":
        model = keras.Model(inputs, layers.Dense(NUM_VALUES)(layers.Dense(32, "relu")(inputs)))
        losses = keras.losses.BinaryCrossentropy(from_logits=True)
    else:

        class Binarised(layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.seeds = keras.random.SeedGenerator(1)

            def call(self, rows: Any) -> Any:
                return ops.cast(keras.random.uniform(ops.shape(rows), seed=self.seeds) < rows, "float32")

        class Sampling(layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.seeds = keras.random.SeedGenerator(0)

            def call(self, both: Any) -> Any:
                mean, log_variance = both
                divergence = 0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - log_variance - 1, axis=1)
                self.add_loss(ops.mean(divergence) / NUM_VALUES)
                return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)

        class CrossEntropy(layers.Layer):
            """A part of the model, since its targets are what a layer has drawn."""

            def call(self, both: Any) -> Any:
                self.add_loss(ops.mean(keras.losses.binary_crossentropy(*both, from_logits=True)))
                return both[1]

        drawn = Binarised()(inputs)
        hidden = layers.Dense(400, "relu")(drawn)
        z = Sampling()([layers.Dense(20)(hidden), layers.Dense(20)(hidden)])
        logits = layers.Dense(NUM_VALUES)(layers.Dense(400, "relu")(z))
        model, losses = keras.Model(inputs, CrossEntropy()([drawn, logits])), None
    model.compile(keras.optimizers.Adam(1e-3), losses, jit_compile=True, steps_per_execution=steps)
    x = images.astype(np.float32)[: steps * BATCH_SIZES[loop]] / 255

    def epoch() -> None:
        model.fit(x, None if losses is None else x, batch_size=BATCH_SIZES[loop], epochs=1, shuffle=True, verbose=0)

    return made(epoch, epoch)


def versions_of(loop: str, images: np.ndarray, path: Path) -> dict[str, Version]:
    steps = len(images) // BATCH_SIZES[loop]
    versions = {"seqjax": seqjax_version(loop, path, steps)}
    versions["seqjax again"] = versions["seqjax"]
    if importlib.util.find_spec("torch"):
        for name, compiled in (("torch", False), ("torch.compile", True)):
            versions[name] = torch_version(loop, images, steps, compiled=compiled)
    if importlib.util.find_spec("keras") and loop != "gan":
        import keras

        versions[f"keras on {keras.backend.backend()}"] = keras_version(loop, images, steps)
    return versions


def rows_of(num_rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_rows, NUM_VALUES), np.uint8)


def images_file(path: Path, num_rows: int) -> Path:
    """A data set of its own, to be read as a user's."""
    drawn = rows_of(num_rows + 200)
    parts = dict(zip(("train", "validation", "test"), np.split(drawn, [num_rows, num_rows + 100]), strict=True))
    fields = {f"x_{part}": rows for part, rows in parts.items()}
    labels = {f"label_{part}": np.arange(len(rows)) % 10 for part, rows in parts.items()}
    np.savez(path, **fields, **labels)
    return path


def measured(loop: str, num_rows: int, repetitions: int) -> dict[str, Any]:
    images = rows_of(num_rows)
    with tempfile.TemporaryDirectory() as folder:
        path = images_file(Path(folder) / "images.npz", num_rows)
        versions = versions_of(loop, images, path)
        seconds = seconds_in_turn({name: version.run for name, version in versions.items()}, repetitions)
    rows = {name: spread(seconds[name]) | {"compile_s": versions[name].compile_s} for name in versions}
    flops = product_flops(loop) * (num_rows // BATCH_SIZES[loop] * BATCH_SIZES[loop])
    for row in rows.values():
        row["gflop_per_s"] = flops / row["median_s"] / 1e9
    noise = noise_of(seconds["seqjax"], seconds["seqjax again"])
    return {"loop": loop, "num_rows": num_rows, "batch_size": BATCH_SIZES[loop], "noise": noise, "versions": rows}


def table(receipt: dict[str, Any]) -> str:
    """Markdown: a row for each version of each loop."""
    packages = ", ".join(f"{name} {version}" for name, version in receipt["packages"].items())
    lines = [
        f"An epoch of training on {receipt['device']}, float32, {packages}; "
        f"median and quartiles of {receipt['repetitions']} repetitions; product rate "
        f"{receipt['product_flop_per_s'] / 1e9:.0f} GFLOP/s.",
        "",
        "| loop | batch | version | s | quartiles | times `seqjax` | GFLOP/s | of the product rate | compile s "
        "| noise |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in receipt["entries"]:
        ours = entry["versions"]["seqjax"]["median_s"]
        for name, row in entry["versions"].items():
            low, high = row["quartiles_s"]
            lines.append(
                f"| {entry['loop']} | {entry['batch_size']} | {name} | {row['median_s']:.3f} | {low:.3f}-{high:.3f} "
                f"| {row['median_s'] / ours:.2f} | {row['gflop_per_s']:.1f} "
                f"| {row['gflop_per_s'] * 1e9 / receipt['product_flop_per_s']:.0%} "
                f"| {row['compile_s']:.2f} | {entry['noise']:.1%} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=list(LOOPS))
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of training.json and .md")
    options = parser.parse_args(arguments)
    receipt = {
        **machine(),
        "repetitions": options.repetitions,
        "product_flop_per_s": product_rate(options.repetitions),
    }
    entries = (measured(loop, options.rows, options.repetitions) for loop in options.loops)
    record(options.output, "training", receipt, entries, table)


if __name__ == "__main__":
    main()
