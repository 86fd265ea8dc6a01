"""The variational autoencoder of sequences: one latent vector for each, a recurrent encoder and a recurrent decoder.

    z ~ N(0, 1)
    p(x | z) = prod_t p(x_t | x_1 ... x_{t-1}, z)

The decoder begins from a state that z gives and reads z beside the step before at every step. Training feeds it the
true steps before (teacher forcing); running freely it reads what it has drawn itself.
Sources: Bowman et al., "Generating sentences from a continuous space" (2016); Fabius & van Amersfoort, "Variational
recurrent auto-encoders" (2015).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Shaped

from seqjax import losses, noise
from seqjax.data.sequences import Likelihood
from seqjax.densities import LOG_SQRT_2_PI, floored, gaussian_kl_of_values, gaussian_negative_log_likelihood
from seqjax.errors import require
from seqjax.models.recurrent import RNN, Carries, dropout_masks
from seqjax.models.sequence import SequenceModel
from seqjax.models.vae import Draws, Gaussian, dense
from seqjax.types import Cell, Key, Params

Sequence = Shaped[Array, "B T ..."]  # symbols `[B T]` or features `[B T D]`


@dataclasses.dataclass(frozen=True)
class StepLikelihood:
    """What a step of a sequence looks like to a recurrence, and what its readout says about the next one.

    num_values: V symbols, or D features.
    min_stddev: of a Gaussian, whose learned scales stay above it.
    """

    likelihood: Likelihood
    num_values: int
    min_stddev: float = 0.01

    @property
    def output_size(self) -> int:
        """Logits of each symbol or feature; of a Gaussian the means, then the logarithms of the scales."""
        return 2 * self.num_values if self.likelihood == "gaussian" else self.num_values

    def seen(self, x: Sequence) -> Float[Array, "B T D"]:
        """Symbols one-hot, features as floating-point numbers."""
        if self.likelihood == "categorical":
            return jax.nn.one_hot(x, self.num_values)
        return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)

    def gaussian(self, outputs: Float[Array, "*B O"]) -> Gaussian:
        mean, log_stddev = jnp.split(outputs, 2, axis=-1)
        return Gaussian(mean, floored(log_stddev, math.log(self.min_stddev)))

    def negative_log_likelihood(
        self,
        outputs: Float[Array, "B T O"],
        x: Sequence,
        lengths: Int[Array, "B"],
        *,
        mask: Bool[Array, "B T ..."] | None = None,
    ) -> Float[Array, "B"]:
        """-log p(x) in nats, summed over the steps within each length; what is past it does not matter.

        mask: the values of x that count besides.
        """
        valid = jnp.arange(x.shape[1])[None, :] < lengths[:, None]
        if mask is not None:
            valid = mask & valid.reshape(valid.shape + (1,) * (mask.ndim - 2))
        match self.likelihood:
            case "bernoulli":
                return losses.bernoulli_cross_entropy(outputs, x.astype(outputs.dtype), mask=valid)
            case "categorical":
                return losses.categorical_cross_entropy(outputs, x, mask=valid)
        means, log_stddev = self.gaussian(outputs)
        return gaussian_negative_log_likelihood(means, x, log_stddev=log_stddev, mask=valid)

    def drawn(
        self, outputs: Float[Array, "B O"], key: Key, index: Int[Array, "B"], temperature: float | Float[Array, ""]
    ) -> Shaped[Array, "B ..."]:
        """A step from what the readout says: as it says at temperature 1, the most likely one at 0."""

        def of_each(sample: Callable[..., Array]) -> Array:
            shape = (self.num_values,)
            return temperature * noise.per_example(lambda k: sample(k, shape, outputs.dtype), key, index)

        match self.likelihood:
            case "bernoulli":
                return outputs + of_each(jax.random.logistic) > 0
            case "categorical":
                return jnp.argmax(outputs + of_each(jax.random.gumbel), axis=-1).astype(jnp.int32)
        return self.gaussian(outputs).at(of_each(jax.random.normal))


class Decoder(nn.Module):
    """What follows each step, from the steps before it and a latent vector; without one a plain recurrent model.

    dropout: rate at which the outputs of each layer are dropped when a call is given a `key`; input_dropout: the same
        for the values of the steps that are read; frame_dropout: rate at which whole steps are blanked (Bowman et al.'s
        word dropout), so that what they held has to come from the latents.

    Params: `SequenceModel`'s own under `model`; with latents `carry_LAYER_PART`, which make the state to begin with.
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    output_size: int
    num_layers: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0
    frame_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        before: Float[Array, "B T D"],
        z: Float[Array, "B Z"] | None = None,
        *,
        lengths: Int[Array, "B"] | None = None,
        carry: Carries | None = None,
        key: Key | None = None,
        index: Int[Array, "B"] | None = None,
    ) -> tuple[Carries, Float[Array, "B T O"]]:
        """State after the last step, and outputs. before: the step before each, zeros before the first.

        carry: where to go on from; default what z gives, or the cells' own where there is none.
        """
        if key is not None and self.input_dropout:
            # the model below folds in 1 to num_layers
            masks = dropout_masks(jax.random.fold_in(key, 0), index, before, self.input_dropout, False, False)
            before = before * masks
        if key is not None and self.frame_dropout:
            frame_key, shape = jax.random.fold_in(key, self.num_layers + 1), (before.shape[1], 1)
            kept = noise.per_example(lambda k: jax.random.bernoulli(k, 1 - self.frame_dropout, shape), frame_key, index)
            before = jnp.where(kept, before, 0)
        if z is not None:
            if carry is None:
                carry = self.begun(z)
            beside = jnp.broadcast_to(z[:, None], (*before.shape[:2], z.shape[1]))
            before = jnp.concatenate([before, beside], axis=-1)
        model = SequenceModel(
            self.cell, self.hidden_size, self.output_size, self.num_layers, self.dropout, name="model"
        )
        return model(before, lengths=lengths, initial_carry=carry, return_carry=True, key=key, index=index)

    def begun(self, z: Float[Array, "B Z"]) -> Carries:
        """`[layer][direction]`: each part of each layer's state is the tanh of what is linear in z."""
        cell = self.cell(self.hidden_size)
        like = jax.eval_shape(lambda k: cell.initial_carry(cell.init(k, 1), 1), jax.random.key(0))
        leaves, structure = jax.tree.flatten(like)
        return tuple(
            (
                jax.tree.unflatten(
                    structure,
                    [jnp.tanh(dense(leaf.shape[-1], f"carry_{layer}_{part}")(z)) for part, leaf in enumerate(leaves)],
                ),
            )
            for layer in range(self.num_layers)
        )


class Encoder(nn.Module):
    """q(z | x): a Gaussian that is linear in the last state of a recurrence over the sequence, in both directions.

    Params: `RNN`'s own under `recurrence`; `mean` and `log_stddev`.
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    latent_size: int
    num_layers: int = 1
    bidirectional: bool = True

    @nn.compact
    def __call__(self, seen: Float[Array, "B T D"], lengths: Int[Array, "B"]) -> Gaussian:
        rnn = RNN(self.cell, self.hidden_size, self.num_layers, bidirectional=self.bidirectional, name="recurrence")
        carries, _ = rnn(seen, seq_lengths=lengths, return_carry=True)
        last = jnp.concatenate(jax.tree.leaves(carries[-1]), axis=-1)
        return Gaussian(dense(self.latent_size, "mean")(last), dense(self.latent_size, "log_stddev")(last))


class SequenceVAE(nn.Module):
    """An `Encoder` and a `Decoder` of the same cell, under the likelihood of a `StepLikelihood`.

    latent_size: of the one vector that stands for the whole sequence.
    encoder_size: units of a layer of the encoder, in each direction; hidden_size: of the decoder.

    Params: `encoder`, `decoder`.
    """

    cell: Callable[[int], Cell]
    steps: StepLikelihood
    hidden_size: int
    encoder_size: int
    latent_size: int
    num_layers: int = 1
    bidirectional: bool = True
    dropout: float = 0.0
    input_dropout: float = 0.0
    frame_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hidden_size", "encoder_size", "latent_size", "num_layers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("dropout", "input_dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "a rate from 0 to below 1")
        require(0 <= self.frame_dropout <= 1, "frame_dropout", self.frame_dropout, "a rate from 0 to 1")
        super().__post_init__()

    def setup(self) -> None:
        self.encoder = Encoder(
            self.cell, self.encoder_size, self.latent_size, self.num_layers, bidirectional=self.bidirectional
        )
        self.decoder = Decoder(
            self.cell,
            self.hidden_size,
            self.steps.output_size,
            self.num_layers,
            self.dropout,
            self.input_dropout,
            self.frame_dropout,
        )

    def __call__(
        self,
        x: Sequence,
        lengths: Int[Array, "B"],
        epsilon: Float[Array, "B K Z"],
        *,
        mask: Bool[Array, "B T ..."] | None = None,
        key: Key | None = None,
        index: Int[Array, "B"] | None = None,
    ) -> Draws:
        """The draws that lie `epsilon` standard deviations from the mean; log p(x | z) with the true steps before.

        mask: the values whose likelihood counts; what the others hold is read nevertheless.
        key, index: for the decoder's dropout in training, one mask for all draws of an example.
        """
        posterior = self.encoder(self.steps.seen(x), lengths)
        posterior = Gaussian(posterior.mean[:, None], posterior.log_stddev[:, None])
        z = posterior.at(epsilon)
        count = epsilon.shape[1]

        def repeated(rows: Array) -> Array:
            return jnp.repeat(rows, count, axis=0)

        x, lengths = repeated(x), repeated(lengths)
        index, mask = (None if rows is None else repeated(rows) for rows in (index, mask))
        outputs = self.outputs(x, z.reshape(-1, self.latent_size), lengths, key=key, index=index)
        nats = self.steps.negative_log_likelihood(outputs, x, lengths, mask=mask)
        log_prior = (-0.5 * jnp.square(z) - LOG_SQRT_2_PI).sum(axis=-1)
        log_posterior = (-0.5 * jnp.square(epsilon) - posterior.log_stddev - LOG_SQRT_2_PI).sum(axis=-1)
        kl = gaussian_kl_of_values(*posterior)
        return Draws((z,), (posterior,), -nats.reshape(-1, count), log_prior, log_posterior, (kl,))

    def encode(self, x: Sequence, lengths: Int[Array, "B"]) -> Gaussian:
        """q(z | x): mean and logarithmic scale `[B Z]`."""
        return self.encoder(self.steps.seen(x), lengths)

    def outputs(self, x: Sequence, z: Float[Array, "B Z"], lengths: Int[Array, "B"], **dropout: Any) -> Array:
        """What the decoder says `[B T O]` about each step of x from the true ones before it."""
        return self.decoder(shifted(self.steps.seen(x)), z, lengths=lengths, **dropout)[1]

    def begin(self, z: Float[Array, "B Z"]) -> tuple[Carries, Float[Array, "B O"]]:
        """The decoder's state after it has read nothing, and what it says about the first step."""
        return self.advance(None, jnp.zeros((z.shape[0], self.steps.num_values), z.dtype), z)

    def advance(
        self, carry: Carries | None, seen: Float[Array, "B D"], z: Float[Array, "B Z"]
    ) -> tuple[Carries, Float[Array, "B O"]]:
        """The state after one more step was read, and what it says about the next one."""
        carry, outputs = self.decoder(seen[:, None], z, carry=carry)
        return carry, outputs[:, 0]


def shifted(seen: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """The step before each, zeros before the first."""
    return jnp.pad(seen[:, :-1], ((0, 0), (1, 0), (0, 0)))


def with_readout_bias(params: Params, bias: Float[Array, "O"], *, path: tuple[str, ...]) -> Params:
    """The params with the bias of the readout of the `Decoder` at `path` in place of the one there is.

    So that the first steps of training are not spent on learning how often each symbol comes, or each key sounds.
    """
    if path:
        first, *rest = path
        return params | {first: with_readout_bias(params[first], bias, path=tuple(rest))}
    readout = params["model"]["readout"]
    readout = readout | {"bias": jnp.asarray(bias, readout["bias"].dtype)}
    return params | {"model": params["model"] | {"readout": readout}}
