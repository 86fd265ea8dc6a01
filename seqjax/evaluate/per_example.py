"""Values for each example of a split, in chunks of one shape: one compilation, bounded memory, exact at the end."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import PyTree

from seqjax.data.batches import whole
from seqjax.types import Batch, Split


def per_example(function: Callable[[Batch], PyTree[Array]], split: Split, *, chunk: int = 1000) -> PyTree[Array]:
    """`function(batch)` over the whole split; each array it returns has the batch axis first, and then [N ...].

    Jittable. The last chunk is filled up with repeated rows, which are dropped again.
    """
    num_examples = split.num_examples
    size = min(chunk, num_examples)
    count = -(-num_examples // size)
    rows = jnp.minimum(jnp.arange(count * size, dtype=jnp.int32), num_examples - 1).reshape(count, size)
    fields = jax.tree.map(jnp.asarray, split)

    def values(rows: Array) -> PyTree[Array]:
        batch = whole(Split({name: field[rows] for name, field in fields.fields.items()}))
        return function({**batch, "index": rows})

    return jax.tree.map(lambda v: v.reshape(count * size, *v.shape[2:])[:num_examples], lax.map(values, rows))
