"""The recurrent autoencoder: one latent vector for each sequence, from which a recurrent decoder tells it again.

Beside the reconstruction a second decoder may predict, from the same vector, the steps after those that were encoded
(the composite model of Srivastava, Mansimov & Salakhutdinov, "Unsupervised learning of video representations using
LSTMs", 2015). Sources also: Cho et al. 2014; Sutskever, Vinyals & Le 2014 (reversed order).

A value counts where its step lies within the sequence's length and, where there is a `mask`, it was observed. What the
others hold does not matter, neither to values nor to gradients: the encoder reads them as 0.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from seqjax import losses
from seqjax.errors import require
from seqjax.models.recurrent import RNN, Carries, reversed_within
from seqjax.models.sequence_vae import Decoder, shifted
from seqjax.models.vae import dense
from seqjax.types import Batch, Cell, Params

Pooling = Literal["last", "mean"]
Order = Literal["forward", "reversed"]
Reading = Literal["latent", "truth", "output"]
Mask = Bool[Array, "B T D"] | None


class Told(NamedTuple):
    """What is said about a batch of sequences, zeros at steps that are none.

    code `[B Z]`; reconstruction `[B T D]`, of the steps that the encoder saw; future `[B F D]`, of the `horizon` steps
    after them.
    """

    code: Array
    reconstruction: Array
    future: Array


class Targets(NamedTuple):
    """What should have been said: the same steps, which of their values count, and how many the encoder sees `[B]`."""

    reconstruction: Array
    counts: Array
    future: Array
    future_counts: Array
    seen: Array


def observed(x: Float[Array, "B T D"], lengths: Int[Array, "B"], mask: Mask = None) -> Bool[Array, "B T D"]:
    """The values that count: within the length, and under the mask if there is one."""
    valid = (jnp.arange(x.shape[1])[None, :] < lengths[:, None])[:, :, None]
    return jnp.broadcast_to(valid, x.shape) if mask is None else mask & valid


def pooled(
    carries: Carries, outputs: Float[Array, "B T H"], lengths: Int[Array, "B"], pooling: Pooling
) -> Float[Array, "B _"]:
    """What an `RNN` makes of a whole sequence: the last state of its top layer (both of an LSTM's parts, and both
    directions), or the mean of its outputs over the steps within the length."""
    if pooling == "mean":
        return outputs.sum(axis=1) / jnp.maximum(lengths, 1)[:, None]
    return jnp.concatenate(jax.tree.leaves(carries[-1]), axis=-1)


class Coder(nn.Module):
    """A code that is linear in what `pooled` makes of a recurrence over the sequence.

    Params: `RNN`'s own under `recurrence`; `code`.
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    latent_size: int
    num_layers: int = 1
    bidirectional: bool = True
    pooling: Pooling = "last"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], lengths: Int[Array, "B"]) -> Float[Array, "B Z"]:
        rnn = RNN(self.cell, self.hidden_size, self.num_layers, bidirectional=self.bidirectional, name="recurrence")
        carries, outputs = rnn(x, seq_lengths=lengths, return_carry=True)
        return dense(self.latent_size, "code")(pooled(carries, outputs, lengths, self.pooling))


class SequenceAutoencoder(nn.Module):
    """A `Coder`, and a `Decoder` that begins from a state which the code gives and reads the code at every step.

    num_values: D, of a step.
    encoder_size: units of a layer of the encoder, in each direction; hidden_size: of the decoders.
    num_layers: of each.
    pooling: what the code is linear in, see `pooled`.
    order: in which the decoder tells the sequence; `reversed` from the last step within the length to the first.
    reading: what the decoder reads beside the code in training: nothing more (`latent`), the true step before
        (`truth`, teacher forcing), or what it has just said itself (`output`, step by step and so slower to train).
        Wherever a sequence is told from its code alone, `truth` reads what it has said too.
    horizon: steps that the future decoder predicts. In training they are the last ones of each sequence, and encoder
        and decoder see those before; sequences that have no more steps than these are only reconstructed.

    Params: `encoder`, `decoder`, and with a horizon `future`.
    """

    cell: Callable[[int], Cell]
    num_values: int
    hidden_size: int
    encoder_size: int
    latent_size: int
    num_layers: int = 1
    bidirectional: bool = True
    pooling: Pooling = "last"
    order: Order = "forward"
    reading: Reading = "latent"
    horizon: int = 0

    def __post_init__(self) -> None:
        for name in ("num_values", "hidden_size", "encoder_size", "latent_size", "num_layers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name, known in (("pooling", Pooling), ("order", Order), ("reading", Reading)):
            value = getattr(self, name)
            require(value in get_args(known), name, value, " or ".join(get_args(known)))
        require(self.horizon >= 0, "horizon", self.horizon, "a number of steps, 0 or more")
        super().__post_init__()

    def setup(self) -> None:
        self.encoder = Coder(
            self.cell, self.encoder_size, self.latent_size, self.num_layers, self.bidirectional, self.pooling
        )
        sizes = (self.cell, self.hidden_size, self.num_values, self.num_layers)
        self.decoder = Decoder(*sizes)
        if self.horizon:
            self.future = Decoder(*sizes)

    def __call__(self, x: Float[Array, "B T D"], lengths: Int[Array, "B"], mask: Mask = None) -> Told:
        """What is said in training, to be held against `targets` of the same arguments."""
        return self.told(self.targets(x, lengths, mask))

    def told(self, targets: Targets) -> Told:
        code = self.encoder(targets.reconstruction, targets.seen)
        reconstruction = self._decoded(code, targets.seen, targets.reconstruction)
        if not self.horizon:
            return Told(code, reconstruction, targets.future)
        future = _run(self.future, code, targets.future, self.reading)
        return Told(code, reconstruction, jnp.where(targets.future_counts.any(axis=2, keepdims=True), future, 0))

    def targets(self, x: Float[Array, "B T D"], lengths: Int[Array, "B"], mask: Mask = None) -> Targets:
        """The steps that are encoded and reconstructed, and the `horizon` steps after them; 0 where a value is none."""
        counts = observed(x, lengths, mask)
        x = jnp.where(counts, x, 0)
        long = lengths > self.horizon
        seen = jnp.where(long, lengths - self.horizon, lengths)
        if not self.horizon:
            return Targets(x, counts, x[:, :0], counts[:, :0], seen)
        steps = seen[:, None] + jnp.arange(self.horizon)[None, :]
        places = jnp.minimum(steps, x.shape[1] - 1)[:, :, None]
        future_counts = jnp.take_along_axis(counts, places, axis=1) & long[:, None, None]
        future = jnp.where(future_counts, jnp.take_along_axis(x, places, axis=1), 0)
        past = counts & (jnp.arange(x.shape[1])[None, :] < seen[:, None])[:, :, None]
        return Targets(jnp.where(past, x, 0), past, future, future_counts, seen)

    def encode(self, x: Float[Array, "B T D"], lengths: Int[Array, "B"], mask: Mask = None) -> Float[Array, "B Z"]:
        """The code of whole sequences."""
        return self.encoder(jnp.where(observed(x, lengths, mask), x, 0), lengths)

    def decode(self, code: Float[Array, "B Z"], lengths: Int[Array, "B"], num_steps: int) -> Float[Array, "B T D"]:
        """The sequences told from their codes alone, padded to `num_steps` with zeros."""
        return self._decoded(
            code, lengths, jnp.zeros((code.shape[0], num_steps, self.num_values), code.dtype), alone=True
        )

    def continue_from(self, code: Float[Array, "B Z"]) -> Float[Array, "B F D"]:
        """The `horizon` steps after the last, told from the codes alone."""
        return _run(
            self.future, code, jnp.zeros((code.shape[0], self.horizon, self.num_values), code.dtype), self._alone
        )

    @property
    def _alone(self) -> Reading:
        return "output" if self.reading == "truth" else self.reading

    def _decoded(self, code: Array, lengths: Array, truth: Array, *, alone: bool = False) -> Float[Array, "B T D"]:
        reading = self._alone if alone else self.reading
        if self.order == "reversed":
            outputs = reversed_within(_run(self.decoder, code, reversed_within(truth, lengths), reading), lengths)
        else:
            outputs = _run(self.decoder, code, truth, reading)
        return jnp.where(observed(outputs, lengths), outputs, 0)


def _run(
    decoder: Decoder, code: Float[Array, "B Z"], truth: Float[Array, "B T D"], reading: Reading
) -> Float[Array, "B T D"]:
    """What the decoder says at each step; `truth` is read for teacher forcing alone, and else gives the shape."""
    if reading == "truth":
        return decoder(shifted(truth), code)[1]
    if reading == "latent":
        return decoder(truth[:, :, :0], code)[1]

    def step(decoder: Decoder, state: tuple[Any, Array], _: None) -> tuple[tuple[Any, Array], Array]:
        carry, outputs = decoder(state[1], code, carry=state[0])
        return (carry, outputs), outputs[:, 0]

    # the first step makes the params, which a scan cannot
    first = decoder(jnp.zeros_like(truth[:, :1]), code)
    scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, length=truth.shape[1] - 1)
    _, rest = scan(decoder, first, None)
    return jnp.concatenate([first[1], jnp.swapaxes(rest, 0, 1)], axis=1)


def reconstruction_errors(model: SequenceAutoencoder, params: Params, batch: Batch) -> dict[str, Float[Array, "B"]]:
    """Squared errors of each sequence of `batch` (`x`, `length`, perhaps `mask`), summed over the values that count.

    `reconstruction`, and with a horizon `future`.
    """
    arguments = (batch["x"], batch["length"], batch.get("mask"))
    targets = model.apply(params, *arguments, method="targets")
    told = model.apply(params, targets, method="told")
    errors = {"reconstruction": losses.squared_error(told.reconstruction, targets.reconstruction, mask=targets.counts)}
    if model.horizon:
        errors["future"] = losses.squared_error(told.future, targets.future, mask=targets.future_counts)
    return errors


def told_from_codes(model: SequenceAutoencoder, params: Params, batch: Batch) -> Told:
    """What is told from codes alone: whole sequences from theirs, the future from that of the steps before it."""
    x, length, mask = batch["x"], batch["length"], batch.get("mask")
    code = model.apply(params, x, length, mask, method="encode")
    reconstruction = model.apply(params, code, length, x.shape[1], method="decode")
    targets = model.apply(params, x, length, mask, method="targets")
    if not model.horizon:
        return Told(code, reconstruction, targets.future)
    past = model.apply(params, targets.reconstruction, targets.seen, method="encode")
    future = model.apply(params, past, method="continue_from")
    return Told(code, reconstruction, jnp.where(targets.future_counts.any(axis=2, keepdims=True), future, 0))


def errors_from_codes(model: SequenceAutoencoder, params: Params, batch: Batch) -> dict[str, Float[Array, "B"]]:
    """As `reconstruction_errors`, of what is told from codes alone, and of whole sequences."""
    x, length, mask = batch["x"], batch["length"], batch.get("mask")
    told = told_from_codes(model, params, batch)
    counts = observed(x, length, mask)
    errors = {"reconstruction": losses.squared_error(told.reconstruction, jnp.where(counts, x, 0), mask=counts)}
    if model.horizon:
        targets = model.apply(params, x, length, mask, method="targets")
        errors["future"] = losses.squared_error(told.future, targets.future, mask=targets.future_counts)
    return errors
