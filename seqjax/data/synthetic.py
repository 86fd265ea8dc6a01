"""Tasks made from a key: adding, copying, chords, sines, events. An example is a pure function of its key.

Source: Hochreiter & Schmidhuber (1997) for both problems, Arjovsky, Shah & Bengio (2016) for their form here; Yoon,
Jarrett & van der Schaar, "Time-series generative adversarial networks" (2019) for the sines.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Int

from seqjax.data.prepared import content_sha256
from seqjax.data.splits import rows_of
from seqjax.errors import UsageError, require
from seqjax.types import Batch, Dataset, Key, Split

NUM_SYMBOLS = 8
REMEMBERED = 10
BLANK, DELIMITER = NUM_SYMBOLS, NUM_SYMBOLS + 1

Task = Callable[[Key], dict[str, Array]]


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


def chord_walk(key: Key, *, shortest: int = 16, longest: int = 32) -> dict[str, Array]:
    """A made-up piano roll `x [T 88]` bool of `length []` frames, T = `longest`: a triad that walks up by fifths.

    Each frame holds the chord with probability 1/4 and else goes a fifth up; the first root is any of twelve. What a
    model of independent keys can learn beside how often each sounds, it has to learn from the frame before.
    """
    length_key, root_key, step_key = jax.random.split(key, 3)
    length = jax.random.randint(length_key, (), shortest, longest + 1)
    moves = jax.random.bernoulli(step_key, 0.75, (longest,)).at[0].set(False)
    roots = (jax.random.randint(root_key, (), 0, 12) + 7 * jnp.cumsum(moves)) % 12
    keys = jnp.stack([roots + 15, roots + 39, (roots + 4) % 12 + 39, (roots + 7) % 12 + 39], axis=1)
    x = jax.nn.one_hot(keys, 88, dtype=bool).any(axis=1)
    return {"x": x & (jnp.arange(longest) < length)[:, None], "length": length}


def chord_walk_cost(length: ArrayLike) -> Any:
    """Entropy in nats of a `chord_walk` of that many frames: one of twelve roots, then held or moved in each frame."""
    held = 0.25
    entropy = -(held * np.log(held) + (1 - held) * np.log(1 - held))
    return np.log(12) + (np.asarray(length) - 1) * entropy


def seasons(num_steps: int = 6000, *, noise: float = 0.3) -> dict[str, np.ndarray]:
    """A made-up series `x [T 4]` and what it would be without its noise, `clean [T 4]`.

    Two clocks: the day of 24 steps times pulses and waves, the week of 168 sets how high they are, whether they come at
    all, and by how much they come late. What follows is known from the time on both, but is no linear function of what
    was before. White noise of `noise` times each channel's standard deviation is what no forecast can foresee.
    """
    day, week = (2 * np.pi * np.arange(num_steps) / period for period in (24, 168))
    morning, evening = np.exp(4 * np.cos(day) - 4), np.exp(8 * np.cos(day - 2.5) - 8)
    swell = np.tanh(4 * np.sin(week))
    pulses, waves = morning + (1 + np.cos(week)) * evening, np.sin(day + np.sin(week))
    clean = np.stack([pulses, swell + np.sin(day), morning * swell, waves], axis=1)
    # a legacy generator because it is frozen for good
    errors = np.random.RandomState(0).standard_normal(clean.shape)
    return {"x": clean + noise * clean.std(axis=0) * errors, "clean": clean}


def sines(key: Key, *, length: int = 24, num_features: int = 5) -> dict[str, Array]:
    """`x [T D]` in [0, 1]: `(sin(f t + p) + 1) / 2`, t = 0 to T - 1, with f and p uniform in [0, 0.1) for each feature.

    Ranges of f and p as in the code published with the paper. The features are independent: whatever predicts one from
    the others can do no better than its median at each step.
    """
    require(length >= 1, "length", length, "at least 1 step")
    require(num_features >= 1, "num_features", num_features, "at least 1")
    frequency, phase = jax.random.uniform(key, (2, num_features), maxval=0.1)
    angles = jnp.arange(length)[:, None] * frequency[None, :] + phase[None, :]
    return {"x": (jnp.sin(angles) + 1) / 2}


NUM_EVENTS = 5


def events(key: Key, *, shortest: int = 48, longest: int = 96, noise: float = 0.3) -> dict[str, Array]:
    """Made-up series `x [T 2]` of `length []` steps, each with one event out of `NUM_EVENTS` kinds, its `label []`.

    Events begin anywhere in the first half, take a quarter to a half of the length, and are stretched unevenly. Both
    channels rise above white noise of `noise` times the event's height: together, one after the other, or alternating.
    T is `longest`. Two events of a kind are seldom at the same steps: what is equal is what happens, not when.
    """
    length_key, label_key, place_key, noise_key = jax.random.split(key, 4)
    length = jax.random.randint(length_key, (), shortest, longest + 1)
    label = jax.random.randint(label_key, (), 0, NUM_EVENTS)
    begin, duration, uneven, height = jax.random.uniform(place_key, (4,))
    begin, duration = length * begin / 2, length * (1 + duration) / 4
    # from 0 to 1 over the event
    place = jnp.clip((jnp.arange(longest) - begin) / duration, 0, 1) ** (2 ** (2 * uneven - 1))
    inside = (place > 0) & (place < 1)
    kinds = jnp.stack(
        [
            jnp.ones((2, longest)),
            jnp.stack([place, 1 - place]),
            jnp.stack([1 - place, place]),
            jnp.stack([1.0 * (place < 0.5), 1.0 * (place >= 0.5)]),
            jnp.stack([jnp.abs(2 * place - 1), 1 - jnp.abs(2 * place - 1)]),
        ]
    )
    errors = noise * jax.random.normal(noise_key, (longest, 2))
    x = (0.75 + height / 2) * jnp.where(inside[:, None], kinds[label].T, 0) + errors
    return {"x": jnp.where((jnp.arange(longest) < length)[:, None], x, 0), "length": length, "label": label}


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

    With `fresh_batch_at` training makes its own batches, and the training split is only a sample to look at.
    """
    require(validation_size >= 0, "validation_size", validation_size, "0 or more")
    # no key of a run is a child of this one: those come from key(seed) by fold_in of other numbers
    key = jax.random.fold_in(jax.random.key(0), np.uint32(0xF17ED))
    sizes = (train_size, validation_size, test_size)
    every = drawn(task, key, sum(sizes))
    ends = np.cumsum(sizes)
    parts = [rows_of(every.fields, slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    sha256 = content_sha256(dict(zip(("train", "validation", "test"), parts, strict=True)))
    return Dataset(name, *map(Split, parts), sha256)
