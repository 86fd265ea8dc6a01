"""Folds of cross-validation: which examples are left out, as a traced scalar beside the same batches."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from seqjax.errors import require
from seqjax.types import Key


def fold_numbers(
    key: Key, num_examples: int, *, num_folds: int, labels: Int[ArrayLike, "N"] | None = None
) -> Int[Array, "N"]:
    """The fold of each example, 0 to `num_folds` - 1, in a shuffled order; sizes differ by one at most.

    labels: classes, of each of which the folds have equally many, to one.
    """
    require(2 <= num_folds <= num_examples, "folds", num_folds, f"2 to {num_examples}, the number of examples")
    order = jax.random.permutation(key, num_examples)
    if labels is not None:
        # class by class, so that dealing them out one by one deals out every class
        order = order[jnp.argsort(jnp.asarray(labels)[order], stable=True)]
    return jnp.zeros(num_examples, jnp.int32).at[order].set(jnp.arange(num_examples) % num_folds)


def kept_weights(kept: Bool[Array, "N"], index: Int[Array, "B"]) -> Float[Array, "B"]:
    """Weights of a batch's losses for training on some of the examples: 0 for the others, the same above 1 for these.

    Over a pass the weighted mean is the mean over the examples that are kept. `kept`, such as `folds != left_out`, may
    be traced.
    """
    return jnp.where(kept[index], len(kept) / kept.sum(), 0.0)
