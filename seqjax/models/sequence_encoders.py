"""One interface under which every encoder of sequences is used, so that any encoder meets any task.

A batch has `x [B T D]` (standardised: 0 stands for the mean), `length [B]`, perhaps `mask [B T D]` (observed values),
and `index [B]`. Sizes are read from the batch. What lies past a length, or was not observed, does not matter.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from seqjax import losses
from seqjax.models import latent_space, sequence_latents
from seqjax.models.autoencoder import Autoencoder
from seqjax.models.mlp import Activation
from seqjax.models.recurrent import RNN
from seqjax.models.sequence import SequenceModel
from seqjax.models.sequence_autoencoder import (
    Order,
    Pooling,
    Reading,
    SequenceAutoencoder,
    observed,
    pooled,
    reconstruction_errors,
)
from seqjax.models.sequence_vae import SequenceVAE, StepLikelihood
from seqjax.models.vae import VAE
from seqjax.types import Batch, Cell, Key, Params

CellOf = Callable[[int], Cell]


class SequenceEncoder(NamedTuple):
    """What makes one vector of each sequence, learned without labels.

    init: `(key, batch) -> params`; the batch gives the shapes.
    loss: `(params, batch, key) -> (values [B], {term: values [B]})`, what it is trained on, summed over the values of
        each sequence that count: squared errors, or nats where it is a bound.
    encode: `(params, batch) -> [B Z]`, without noise.
    reconstruct: `(params, batch) -> [B T D]`, from the code alone, zeros past the length; or `None`.
    predict: `(params, batch) -> [B T D]`, what step t+1 is said to be from the steps up to t; or `None`.
    """

    init: Callable[[Key, Batch], Params]
    loss: Callable[[Params, Batch, Key], tuple[Array, dict[str, Array]]]
    encode: Callable[[Params, Batch], Array]
    reconstruct: Callable[[Params, Batch], Array] | None = None
    predict: Callable[[Params, Batch], Array] | None = None


def recurrent_autoencoder(
    cell: CellOf,
    hidden_size: int,
    latent_size: int,
    *,
    num_layers: int = 1,
    encoder_size: int | None = None,
    bidirectional: bool = True,
    pooling: Pooling = "last",
    order: Order = "forward",
    reading: Reading = "latent",
    horizon: int = 0,
    future_weight: float | Float[Array, ""] = 1.0,
) -> SequenceEncoder:
    """`SequenceAutoencoder`; the terms are those of `reconstruction_errors`.

    encoder_size: units of the encoder in each direction, default those of the decoder.
    """
    sizes = (hidden_size, hidden_size if encoder_size is None else encoder_size, latent_size)

    def model(batch: Batch) -> SequenceAutoencoder:
        num_values = batch["x"].shape[2]
        return SequenceAutoencoder(
            cell, num_values, *sizes, num_layers, bidirectional, pooling, order, reading, horizon
        )

    def init(key: Key, batch: Batch) -> Params:
        return model(batch).init(key, batch["x"], batch["length"])

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        terms = reconstruction_errors(model(batch), params, batch)
        return terms["reconstruction"] + (future_weight * terms["future"] if horizon else 0), terms

    def encode(params: Params, batch: Batch) -> Float[Array, "B Z"]:
        return model(batch).apply(params, batch["x"], batch["length"], batch.get("mask"), method="encode")

    def reconstruct(params: Params, batch: Batch) -> Float[Array, "B T D"]:
        code, num_steps = encode(params, batch), batch["x"].shape[1]
        return model(batch).apply(params, code, batch["length"], num_steps, method="decode")

    return SequenceEncoder(init, loss, encode, reconstruct)


def mlp_autoencoder(
    hidden: tuple[int, ...], latent_size: int, *, activation: Activation = "elu", tied: bool = False
) -> SequenceEncoder:
    """`Autoencoder` of the padded series as one row of T D values; the term is `reconstruction`."""

    def model(batch: Batch) -> Autoencoder:
        return Autoencoder((num_values(batch), *hidden, latent_size), activation, tied=tied)

    def init(key: Key, batch: Batch) -> Params:
        return model(batch).init(key, flat(batch))

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        outputs, _ = model(batch).apply(params, flat(batch))
        error = losses.squared_error(outputs, flat(batch), mask=latent_space.flat(counts(batch)))
        return error, {"reconstruction": error}

    def encode(params: Params, batch: Batch) -> Float[Array, "B Z"]:
        return model(batch).apply(params, flat(batch), method="encode")

    def reconstruct(params: Params, batch: Batch) -> Float[Array, "B T D"]:
        return within(batch, model(batch).apply(params, flat(batch))[0])

    return SequenceEncoder(init, loss, encode, reconstruct)


def vae(
    hidden: tuple[int, ...],
    latent_size: int,
    *,
    activation: Activation = "tanh",
    beta: float | Float[Array, ""] = 1.0,
) -> SequenceEncoder:
    """`VAE` of the padded series as one row, Gaussian with one learned scale; the loss is its negative ELBO.

    The code is the mean of the posterior; terms `reconstruction` (-log p(x | z)) and `kl`. beta: weight of the latter.
    """

    def model(batch: Batch) -> VAE:
        return VAE(num_values(batch), (hidden,), (latent_size,), activation, likelihood="gaussian")

    def init(key: Key, batch: Batch) -> Params:
        return model(batch).init(key, flat(batch), (jnp.zeros((len(batch["x"]), 1, latent_size)),))

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        rows = batch | {"x": filled(batch)}
        draws = latent_space.posterior_draws(model(batch), params, rows, key, jnp.arange(1), mask=counts(batch))
        return negative_elbo(draws.log_likelihood, draws.kl_of_units, beta)

    def encode(params: Params, batch: Batch) -> Float[Array, "B Z"]:
        return model(batch).apply(params, flat(batch), method="encode")

    def reconstruct(params: Params, batch: Batch) -> Float[Array, "B T D"]:
        return within(batch, latent_space.reconstructed(model(batch), params, flat(batch)))

    return SequenceEncoder(init, loss, encode, reconstruct)


def sequence_vae(
    cell: CellOf,
    hidden_size: int,
    latent_size: int,
    *,
    num_layers: int = 1,
    encoder_size: int | None = None,
    bidirectional: bool = True,
    frame_dropout: float = 0.0,
    beta: float | Float[Array, ""] = 1.0,
) -> SequenceEncoder:
    """`SequenceVAE` with Gaussian steps; loss, terms and code as of `vae`.

    encoder_size: as of `recurrent_autoencoder`.
    """

    def model(batch: Batch) -> SequenceVAE:
        steps = StepLikelihood("gaussian", batch["x"].shape[2])
        sizes = (hidden_size, hidden_size if encoder_size is None else encoder_size, latent_size)
        return SequenceVAE(cell, steps, *sizes, num_layers, bidirectional, frame_dropout=frame_dropout)

    def init(key: Key, batch: Batch) -> Params:
        return model(batch).init(key, batch["x"], batch["length"], jnp.zeros((len(batch["x"]), 1, latent_size)))

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        draws_key, dropout_key = jax.random.split(key)
        rows = batch | {"x": filled(batch)}
        draws = sequence_latents.posterior_draws(
            model(batch), params, rows, draws_key, jnp.arange(1), dropout_key=dropout_key
        )
        return negative_elbo(draws.log_likelihood, draws.kl_of_units, beta)

    def encode(params: Params, batch: Batch) -> Float[Array, "B Z"]:
        return model(batch).apply(params, filled(batch), batch["length"], method="encode").mean

    def reconstruct(params: Params, batch: Batch) -> Float[Array, "B T D"]:
        # at temperature 0 the key does not matter
        x = sequence_latents.generated(
            model(batch),
            params,
            encode(params, batch),
            jax.random.key(0),
            length=batch["x"].shape[1],
            temperature=0.0,
        )
        return within(batch, x)

    return SequenceEncoder(init, loss, encode, reconstruct)


def next_step(
    cell: CellOf, hidden_size: int, *, num_layers: int = 1, dropout: float = 0.0, pooling: Pooling = "last"
) -> SequenceEncoder:
    """`SequenceModel` that says each step from those before it; the term is `prediction`, from the second step on.

    The code is what `pooled` makes of its recurrence, of `hidden_size` units (twice that for an LSTM's last state).
    """

    def model(batch: Batch) -> SequenceModel:
        return SequenceModel(cell, hidden_size, batch["x"].shape[2], num_layers, dropout)

    def init(key: Key, batch: Batch) -> Params:
        return model(batch).init(key, batch["x"])

    def outputs(params: Params, batch: Batch, key: Key | None = None) -> Float[Array, "B T D"]:
        options = {} if key is None else {"key": key, "index": batch["index"]}
        return model(batch).apply(params, filled(batch), lengths=batch["length"], **options)

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        predictions = outputs(params, batch, key if dropout else None)[:, :-1]
        error = losses.squared_error(predictions, filled(batch)[:, 1:], mask=counts(batch)[:, 1:])
        return error, {"prediction": error}

    def encode(params: Params, batch: Batch) -> Float[Array, "B Z"]:
        recurrence = {"params": params["params"]["recurrence"]}
        read = functools.partial(RNN(cell, hidden_size, num_layers).apply, return_carry=True)
        carries, hs = read(recurrence, filled(batch), seq_lengths=batch["length"])
        return pooled(carries, hs, batch["length"], pooling)

    def predict(params: Params, batch: Batch) -> Float[Array, "B T D"]:
        return within(batch, outputs(params, batch))

    return SequenceEncoder(init, loss, encode, None, predict)


def told_errors(encoder: SequenceEncoder, params: Params, batch: Batch) -> tuple[Float[Array, "B"], Int[Array, "B"]]:
    """Squared error of each sequence told from its code alone, summed over its values that count, and their number."""
    return _errors(encoder.reconstruct(params, batch), batch, counts(batch))


def predicted_errors(
    encoder: SequenceEncoder, params: Params, batch: Batch, *, last: bool = False
) -> tuple[Float[Array, "B"], Int[Array, "B"]]:
    """As `told_errors`, of all steps but the first, each said from those before it; with `last`, of the last step."""
    # what is said last is about a step that is not there
    said = jnp.roll(encoder.predict(params, batch), 1, axis=1)
    return _errors(said, batch, predictable(batch, last=last))


def predictable(batch: Batch, *, last: bool = False) -> Bool[Array, "B T D"]:
    """The values that count and have a step before them; with `last`, those of them in the last step."""
    steps = jnp.arange(batch["x"].shape[1])[None, :]
    asked = (steps > 0) & ((steps == batch["length"][:, None] - 1) | (not last))
    return counts(batch) & asked[:, :, None]


def _errors(said: Float[Array, "B T D"], batch: Batch, counted: Bool[Array, "B T D"]) -> tuple[Array, Array]:
    return losses.squared_error(said, filled(batch), mask=counted), counted.sum(axis=(1, 2))


def negative_elbo(
    log_likelihood: Float[Array, "B K"], kl: Float[Array, "B Z"], beta: float | Float[Array, ""]
) -> tuple[Array, dict[str, Array]]:
    terms = {"reconstruction": -log_likelihood.mean(axis=1), "kl": kl.sum(axis=1)}
    return terms["reconstruction"] + beta * terms["kl"], terms


def counts(batch: Batch) -> Bool[Array, "B T D"]:
    return observed(batch["x"], batch["length"], batch.get("mask"))


def filled(batch: Batch) -> Float[Array, "B T D"]:
    """`x` with 0 in place of what does not count."""
    return jnp.where(counts(batch), batch["x"], 0)


def flat(batch: Batch) -> Float[Array, "B TD"]:
    return latent_space.flat(filled(batch))


def num_values(batch: Batch) -> int:
    return batch["x"].shape[1] * batch["x"].shape[2]


def within(batch: Batch, values: Float[Array, "B ..."]) -> Float[Array, "B T D"]:
    """`values` of the shape of x, zeros past the lengths."""
    values = values.reshape(batch["x"].shape)
    return jnp.where(observed(values, batch["length"]), values, 0)
