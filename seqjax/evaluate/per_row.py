"""Values for each row of what importers hand over, whose number an export does not know."""

from collections.abc import Callable

from jax import Array
from jaxtyping import PyTree

from seqjax.data.batches import whole
from seqjax.evaluate.per_example import per_example
from seqjax.types import Batch, Split


def per_row(function: Callable[[Batch], PyTree[Array]], split: Split, *, chunk: int = 1000) -> PyTree[Array]:
    """`per_example`; of a symbolic number of rows `function(batch)` of all at once: there are no chunks to count."""
    if isinstance(split.num_examples, int):
        return per_example(function, split, chunk=chunk)
    return function(whole(split))
