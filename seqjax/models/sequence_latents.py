"""What one does with a trained VAE of sequences: pure functions of its parameters, with the noise from a key."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, Shaped

from seqjax.models.sequence_vae import SequenceVAE
from seqjax.models.vae import Draws, standard_noise
from seqjax.types import Batch, Key, Params


def posterior_draws(
    model: SequenceVAE,
    params: Params,
    batch: Batch,
    key: Key,
    samples: Int[Array, "K"],
    *,
    dropout_key: Key | None = None,
) -> Draws:
    """Draws number `samples` of the latents of each sequence of `batch`, fields `x` and `length`, and what they cost.

    A draw depends on the key, the example's `batch["index"]` and its own number alone. With a field `mask` the
    likelihood is that of the values under it.
    dropout_key: of the step, in training.
    """
    (epsilon,) = standard_noise(key, batch["index"], samples, (model.latent_size,))
    options = {"mask": batch.get("mask"), "key": dropout_key, "index": batch["index"]}
    return model.apply(params, batch["x"], batch["length"], epsilon, **options)


@functools.partial(jax.jit, static_argnames=("model", "length"))
def generated(
    model: SequenceVAE,
    params: Params,
    z: Float[Array, "B Z"],
    key: Key,
    *,
    length: int,
    temperature: float | Float[Array, ""] = 1.0,
    index: Int[Array, "B"] | None = None,
) -> Shaped[Array, "B length ..."]:
    """Sequences of `length` steps given their latents, each step drawn from what was drawn before it.

    temperature: 1 draws from the model itself, 0 takes the most likely value every time.
    index: sequences with the same number get the same noise; default the place in the batch.

    Symbols are int32, zeros and ones bool, Gaussian features in the units of the data that the model has seen.
    """
    steps = model.steps
    index = jnp.arange(z.shape[0]) if index is None else index

    def step(state: tuple, number: Array) -> tuple[tuple, Array]:
        carry, outputs = state
        drawn = steps.drawn(outputs, jax.random.fold_in(key, number), index, temperature)
        seen = steps.seen(drawn[:, None])[:, 0]
        return model.apply(params, carry, seen, z, method="advance"), drawn

    begin = model.apply(params, z, method="begin")
    _, xs = lax.scan(step, begin, jnp.arange(length))
    return jnp.swapaxes(xs, 0, 1)


def sampled(
    model: SequenceVAE, params: Params, key: Key, num_examples: int, length: int, temperature: float = 1.0
) -> Shaped[Array, "N length ..."]:
    """Sequences from latents drawn from the prior, see `generated`."""
    latent_key, step_key = jax.random.split(key)
    (z,) = standard_noise(latent_key, jnp.arange(num_examples), jnp.zeros(1, jnp.int32), (model.latent_size,))
    return generated(model, params, z[:, 0], step_key, length=length, temperature=temperature)


@functools.partial(jax.jit, static_argnames="model")
def encoded(
    model: SequenceVAE, params: Params, x: Shaped[Array, "B T ..."], lengths: Int[Array, "B"]
) -> Float[Array, "B Z"]:
    """The mean of the posterior."""
    return model.apply(params, x, lengths, method="encode").mean


def reconstructed(
    model: SequenceVAE,
    params: Params,
    x: Shaped[Array, "B T ..."],
    lengths: Int[Array, "B"],
    key: Key,
    *,
    temperature: float = 1.0,
) -> Shaped[Array, "B T ..."]:
    """Sequences drawn given the posterior's mean, running freely: nothing of x is read but by the encoder."""
    codes = encoded(model, params, x, lengths)
    return generated(model, params, codes, key, length=x.shape[1], temperature=temperature)


def interpolated(
    model: SequenceVAE,
    params: Params,
    ends: Shaped[Array, "2 T ..."],
    lengths: Int[Array, "2"],
    num_steps: int,
    key: Key,
    *,
    temperature: float = 1.0,
) -> Shaped[Array, "num_steps T ..."]:
    """Sequences along the straight line between two sequences' codes, both included, running freely.

    All are drawn with the same noise, so that they differ by their codes alone.
    """
    first, last = encoded(model, params, ends, lengths)
    weights = jnp.linspace(0, 1, num_steps)[:, None]
    line = (1 - weights) * first[None] + weights * last[None]
    same = jnp.zeros(num_steps, jnp.int32)
    return generated(model, params, line, key, length=ends.shape[1], temperature=temperature, index=same)


def functions(model: SequenceVAE) -> dict[str, Callable[..., Any]]:
    """What a run hands to an importer, each `(params, ...)`; sequences are in the form of `data.sequences`.

    encode `(x, lengths)`, sample `(key, num_examples, length, temperature)`, generate `(z, key, length=, temperature=)`
    and reconstruct `(x, lengths, key)`, interpolate `(ends, lengths, num_steps, key)`, as the functions above.
    """
    found = {
        "encode": encoded,
        "sample": sampled,
        "generate": generated,
        "reconstruct": reconstructed,
        "interpolate": interpolated,
    }
    return {name: functools.partial(function, model) for name, function in found.items()}
