"""The autoencoder of plain rows under the interface of the encoders of sequences, so that one method serves both."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax import losses
from seqjax.models.autoencoder import Autoencoder, starting_at
from seqjax.models.latent_space import flat
from seqjax.models.sequence_encoders import SequenceEncoder
from seqjax.types import Batch, Key, Params


def row_autoencoder(model: Autoencoder, *, outputs: Float[Array, "D"] | None = None) -> SequenceEncoder:
    """`model` on `batch["x"] [B ...]` flattened; the term is `reconstruction`, the squared error summed over a row.

    outputs: what the decoder's biases start at, see `starting_at`; zeros without.
    """

    def init(key: Key, batch: Batch) -> Params:
        params = model.init(key, flat(batch["x"]))
        return params if outputs is None else starting_at(params, outputs)

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        error = losses.squared_error(model.apply(params, flat(batch["x"]))[0], flat(batch["x"]))
        return error, {"reconstruction": error}

    def encode(params: Params, batch: Batch) -> Float[Array, "B Z"]:
        return model.apply(params, flat(batch["x"]), method="encode")

    def reconstruct(params: Params, batch: Batch) -> Float[Array, "B ..."]:
        return model.apply(params, flat(batch["x"]))[0].reshape(jnp.shape(batch["x"]))

    return SequenceEncoder(init, loss, encode, reconstruct)
