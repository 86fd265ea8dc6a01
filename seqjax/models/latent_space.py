"""What one does with a trained VAE: pure functions of its parameters, with the noise from a key."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Shaped

from seqjax.data.batches import intensities
from seqjax.models.vae import VAE, Condition, Draws, standard_noise
from seqjax.types import Batch, Key, Params


def posterior_draws(
    model: VAE,
    params: Params,
    batch: Batch,
    key: Key,
    samples: Int[Array, "K"],
    *,
    condition: Condition = None,
    mask: Bool[Array, "B ..."] | None = None,
) -> Draws:
    """Draws number `samples` of the latents of each example of `batch["x"] [B ...]`, and what they cost.

    A draw depends on the key, the example's `batch["index"]` and its own number alone.
    mask: of the shape of x, the values whose likelihood counts.
    """
    epsilon = standard_noise(key, batch["index"], samples, model.latent_sizes)
    mask = None if mask is None else flat(mask)
    return model.apply(params, flat(batch["x"]), epsilon, condition, mask=mask)


def generated(model: VAE, params: Params, key: Key, num_examples: int, condition: Condition = None) -> Array:
    """The mean of the data `[N D]` given latents drawn from the prior, all layers down; row n from a key of its own."""
    draws = standard_noise(key, jnp.arange(num_examples), jnp.zeros(1, jnp.int32), model.latent_sizes)
    return model.apply(params, tuple(e[:, 0] for e in draws), condition, method="generate")


def reconstructed(model: VAE, params: Params, x: Float[Array, "B ..."], condition: Condition = None) -> Array:
    """The mean of the data `[B D]` given the posterior's mean."""
    code = model.apply(params, flat(x), condition, method="encode")
    return model.apply(params, code, condition, method="decode")


def interpolated(
    model: VAE,
    params: Params,
    first: Float[Array, "B ..."],
    last: Float[Array, "B ..."],
    num_steps: int,
    conditions: tuple[Float[Array, "B C"], Float[Array, "B C"]] | None = None,
) -> Float[Array, "B T D"]:
    """The mean of the data along the straight line between two examples' codes in the top layer, both ends included.

    conditions: of both ends; they are mixed as the codes are.
    """
    top = len(model.latent_sizes) - 1
    own = (None, None) if conditions is None else conditions
    codes = [
        model.apply(params, flat(x), c, method="encode", layer=top) for x, c in zip((first, last), own, strict=True)
    ]
    weights = jnp.linspace(0, 1, num_steps)[None, :, None]

    def mixed(ends: Sequence[Array]) -> Array:
        line = (1 - weights) * ends[0][:, None] + weights * ends[1][:, None]
        return line.reshape(-1, line.shape[-1])

    condition = None if conditions is None else mixed(conditions)
    rows = model.apply(params, mixed(codes), condition, method="decode", layer=top)
    return rows.reshape(first.shape[0], num_steps, -1)


def traversed(
    model: VAE,
    params: Params,
    x: Float[Array, "..."],
    units: Int[Array, "U"],
    values: Float[Array, "T"],
    condition: Float[Array, "C"] | None = None,
) -> Float[Array, "U T D"]:
    """The mean of the data as one unit of the top layer's code of `x` after the other takes each of the values.

    The prior of these units is the standard normal, of which -3 to 3 holds nearly all.
    """
    top = len(model.latent_sizes) - 1
    condition = None if condition is None else condition[None]
    code = model.apply(params, x.reshape(1, -1), condition, method="encode", layer=top)
    places = jnp.arange(code.shape[1])[None, None, :] == units[:, None, None]
    moved = jnp.where(places, values[None, :, None], code[:, None]).reshape(-1, code.shape[1])
    rows = len(moved)
    repeated = None if condition is None else jnp.broadcast_to(condition, (rows, condition.shape[1]))
    return model.apply(params, moved, repeated, method="decode", layer=top).reshape(len(units), len(values), -1)


def functions(model: VAE) -> dict[str, Callable[..., Any]]:
    """What a run hands to an importer, each `(params, ...)`; images may be uint8 and of any shape.

    encode `(x, condition)`, decode `(z, condition)`, reconstruct `(x, condition)`, sample `(key, num_examples,
    condition)`, and interpolate and traverse as `interpolated` and `traversed`. A condition `[B C]` may be left out
    where the model has none.
    """

    def seen(x: Any) -> Array:
        return flat(intensities(jnp.asarray(x)))

    return {
        "encode": lambda params, x, condition=None: model.apply(params, seen(x), condition, method="encode"),
        "decode": lambda params, z, condition=None: model.apply(params, z, condition, method="decode"),
        "reconstruct": lambda params, x, condition=None: reconstructed(model, params, seen(x), condition),
        "sample": partial(generated, model),
        "interpolate": lambda params, first, last, *rest: interpolated(model, params, seen(first), seen(last), *rest),
        "traverse": lambda params, x, *rest: traversed(model, params, seen(x[None])[0], *rest),
    }


def flat(x: Shaped[Array, "B ..."]) -> Shaped[Array, "B D"]:
    return x.reshape(x.shape[0], -1)
