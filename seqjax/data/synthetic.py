"""Tasks made from a key: the adding problem, copying. An example is a pure function of its key.

Source: Hochreiter & Schmidhuber (1997) for both problems, Arjovsky, Shah & Bengio (2016) for their form here.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Int

from seqjax.data.prepared import content_sha256
from seqjax.errors import UsageError, require
from seqjax.types import Batch, Dataset, Key, Split

NUM_SYMBOLS = 8
REMEMBERED = 10
BLANK, DELIMITER = NUM_SYMBOLS, NUM_SYMBOLS + 1

Task = Callable[[Key], dict[str, Array]]

VALIDATION, TEST, LOOK = 1, 2, 3  # folded into the fixed key of the splits


def adding(key: Key, *, length: int) -> dict[str, Array]:
    """`x [T 2]`: values uniform in [0, 1), and marks, 1 at two places, else 0; `target []`: the marked values' sum.

    Any two places are equally likely. The best constant answer is 1 and costs 1/6, the variance of the sum.
    """
    require(length >= 2, "length", length, "at least 2 steps")
    value_key, first_key, second_key = jax.random.split(key, 3)
    values = jax.random.uniform(value_key, (length,))
    first = jax.random.randint(first_key, (), 0, length)
    second = (first + jax.random.randint(second_key, (), 1, length)) % length
    marks = jnp.zeros(length).at[jnp.stack([first, second])].set(1.0)
    return {"x": jnp.stack([values, marks], axis=1), "target": values[first] + values[second]}


def copying(key: Key, *, delay: int) -> dict[str, Array]:
    """`x [delay + 20]` and `target [delay + 20]`: ten symbols to be repeated, in order, after the delay.

    Symbols are 0 to 7, `BLANK` is 8, `DELIMITER` 9. Input: the symbols, `delay - 1` blanks, the delimiter, ten blanks.
    Target: `delay + 10` blanks, then the symbols. Whoever forgets them all and answers blanks otherwise pays at least
    10 log 8 / (delay + 20) nats a step.
    """
    require(delay >= 1, "delay", delay, "at least 1 step")
    symbols = jax.random.randint(key, (REMEMBERED,), 0, NUM_SYMBOLS)
    blanks = partial(jnp.full, fill_value=BLANK, dtype=symbols.dtype)
    x = jnp.concatenate([symbols, blanks(delay - 1), jnp.full(1, DELIMITER, symbols.dtype), blanks(REMEMBERED)])
    return {"x": x, "target": jnp.concatenate([blanks(delay + REMEMBERED), symbols])}


def blind_copying_cost(delay: int) -> float:
    """Nats a step of one who knows when to answer but not what: 10 log 8 / (delay + 20)."""
    return REMEMBERED * float(np.log(NUM_SYMBOLS)) / (delay + 2 * REMEMBERED)


def drawn(task: Task, key: Key, count: int) -> Split:
    """`count` examples, the i-th from `fold_in(key, i)`."""
    fields = jax.jit(jax.vmap(lambda i: task(jax.random.fold_in(key, i))))(jnp.arange(count))
    return Split({name: np.asarray(field) for name, field in fields.items()})


def fresh_batch_at(task: Task) -> Callable[..., Batch]:
    """A `Phase.batch_at` whose examples are made from (key, step) and never seen again; the split is not looked at.

    An example depends on its place in the global batch, not on how that is shared out. `index` is that place.
    """

    def batch_at(
        split: Split,
        key: Key,
        step: Int[ArrayLike, ""],
        *,
        batch_size: int,
        shard: Int[ArrayLike, ""] = 0,
        num_shards: int = 1,
    ) -> Batch:
        if batch_size < 1 or num_shards < 1 or batch_size % num_shards:
            raise UsageError(f"batch size {batch_size} cannot be shared out equally over {num_shards} shards")
        share = batch_size // num_shards
        index = jnp.asarray(shard, jnp.int32) * share + jnp.arange(share, dtype=jnp.int32)
        step_key = jax.random.fold_in(key, step)
        return {**jax.vmap(lambda i: task(jax.random.fold_in(step_key, i)))(index), "index": index}

    return batch_at


def synthetic_dataset(name: str, task: Task, *, validation_size: int, test_size: int, train_size: int = 100) -> Dataset:
    """Fixed validation and test splits, the same in every run, apart from each other and from all training batches.

    The training split is only a sample to look at: training makes its own batches, by `fresh_batch_at`.
    """
    # no key of a run is a child of this one: those come from key(seed) by fold_in of other numbers
    key = jax.random.fold_in(jax.random.key(0), np.uint32(0xF17ED))
    sizes = {"train": (LOOK, train_size), "validation": (VALIDATION, validation_size), "test": (TEST, test_size)}
    splits = {split: drawn(task, jax.random.fold_in(key, part), size) for split, (part, size) in sizes.items()}
    sha256 = content_sha256({split: rows.fields for split, rows in splits.items()})
    return Dataset(name, splits["train"], splits["validation"], splits["test"], sha256)
