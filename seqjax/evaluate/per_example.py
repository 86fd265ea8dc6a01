"""Values for each example of a split, in chunks of one shape: one compilation, bounded memory, exact at the end."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from seqjax.data.batches import whole
from seqjax.types import Batch, Split


def per_example(function: Callable[[Batch], PyTree[Array]], split: Split, *, chunk: int = 1000) -> PyTree[Array]:
    """`function(batch)` over the whole split; each array it returns has the batch axis first, and then [N ...].

    Jittable. The last chunk is filled up with repeated rows, which are dropped again. Within `jax.set_mesh` the rows of
    a chunk are shared out over all devices of the mesh; within `pmap` or `shard_map` each device computes all of them.
    """
    num_examples = split.num_examples
    mesh = jax.sharding.get_abstract_mesh()
    shared = not mesh.empty and all(kind == AxisType.Auto for kind in mesh.axis_types)
    devices = mesh.size if shared else 1
    size = -(-min(chunk, num_examples) // devices) * devices
    count = -(-num_examples // size)
    rows = jnp.minimum(jnp.arange(count * size, dtype=jnp.int32), num_examples - 1).reshape(count, size)
    fields = jax.tree.map(jnp.asarray, split)

    def values(rows: Array) -> PyTree[Array]:
        if shared:
            rows = lax.with_sharding_constraint(rows, P(mesh.axis_names))
        batch = whole(Split({name: field[rows] for name, field in fields.fields.items()}))
        return function({**batch, "index": rows})

    return jax.tree.map(lambda v: v.reshape(count * size, *v.shape[2:])[:num_examples], lax.map(values, rows))
