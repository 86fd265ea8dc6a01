"""Values of a row read once by streams side by side, a piece at a time: bounded memory, the carry goes along."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import PyTree, Shaped

from seqjax.types import Batch, Split


def per_piece(
    function: Callable[[PyTree[Array], Batch], tuple[PyTree[Array], Shaped[Array, "K"]]],
    carry: PyTree[Array],
    split: Split,
    *,
    piece: int,
) -> Shaped[Array, "pieces K"]:
    """`function(carry, batch) -> (carry, values [K])` over the streams of a split, `piece` steps of time at once.

    The split's fields are `[K T]`, among them `mask`, false for what a filled-up last piece holds. Jittable.
    """

    def pieces(field: Array) -> Array:
        field = jnp.asarray(field)
        field = jnp.pad(field, ((0, 0), (0, -field.shape[1] % piece)))
        return jnp.swapaxes(field.reshape(field.shape[0], -1, piece), 0, 1)

    return lax.scan(function, carry, jax.tree.map(pieces, split.fields))[1]
