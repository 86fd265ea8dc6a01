"""Training as `fit` wants it: from arrays to arrays in one dispatch, whose program other fits share."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int, PyTree, Shaped
from sklearn.base import clone
from sklearn.utils import check_random_state

from seqjax import train
from seqjax.errors import NonFiniteError, require
from seqjax.train import Loss
from seqjax.types import Batch, Key, Params, TrainState

MAX_SKIPPED_IN_A_ROW = 10
# below which sizes are not told apart, so that small data share programs
SMALLEST_SIZE = 256
SMALLEST_BATCH = 32

Fields = dict[str, Shaped[np.ndarray, "N ..."]]


class Model(NamedTuple):
    """What is trained: `init(key, one, start) -> params`, and the loss that `train.minimise` takes.

    one: a batch of one row, for the shapes. start: what was computed of all rows beforehand, such as their mean.
    clip_norm: of gradients.
    Functions that make a model are cached by its hyperparameters, so that equal estimators share compiled programs.
    """

    init: Callable[[Key, Batch, PyTree[Array]], Params]
    loss: Loss
    clip_norm: float | None = None


def drawn_key(random: np.random.RandomState) -> Key:
    return jax.random.key(int(random.randint(2**31 - 1)))


def fitted_copy(estimator: Any, X: Any, random: np.random.RandomState) -> Any:
    """A copy of an estimator, fitted to X; a `random_state` that is `None` becomes a seed drawn from `random`."""
    copy = clone(estimator)
    seed = int(random.randint(2**31 - 1))
    if copy.get_params().get("random_state", 0) is None:
        copy.set_params(random_state=seed)
    return copy.fit(X)


def shuffled_rows(
    random: np.random.RandomState, num_rows: int, *, steps: int, batch_size: int
) -> Int[np.ndarray, "S B"]:
    """The rows of each step: epochs of all rows in an order of their own, one after the other."""
    epochs = -(-steps * batch_size // num_rows)
    stream = np.concatenate([random.permutation(num_rows) for _ in range(epochs)])
    return stream[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)


def trained(
    model: Model,
    fields: Fields,
    start: PyTree[np.ndarray],
    random_state: Any,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> PyTree[np.ndarray]:
    """The parameters after so many steps of Adam, its rate going down to zero by half a cosine.

    random_state: an integer, a `RandomState`, or `None`: of weights, batches and noise.
    Where there are fewer rows than `batch_size`, a batch has some of them several times. Arrays are padded to a
    power of two of rows, so that fits of equal models to data of about one size share a program. Raises NonFiniteError
    where losses or gradients stay infinite or NaN.
    """
    require(steps >= 1, "steps", steps, "at least 1")
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    require(0 < learning_rate < np.inf, "learning_rate", learning_rate, "a positive finite number")
    random = check_random_state(random_state)
    key, num_rows = drawn_key(random), len(next(iter(fields.values())))
    doubled = 1 << (num_rows - 1).bit_length()
    rows = shuffled_rows(random, num_rows, steps=steps, batch_size=min(batch_size, max(doubled, SMALLEST_BATCH)))
    padded = {
        name: np.pad(field, [(0, max(doubled, SMALLEST_SIZE) - num_rows), *[(0, 0)] * (field.ndim - 1)])
        for name, field in fields.items()
    }
    params, longest = _minimised(model, padded, start, rows, key, jnp.float32(learning_rate))
    if longest >= min(steps, MAX_SKIPPED_IN_A_ROW):
        raise NonFiniteError(
            f"loss or gradient not finite in {longest} steps in a row.\n"
            f"Scale the features, or lower learning_rate={learning_rate}."
        )
    return jax.tree.map(np.asarray, params)


@functools.partial(jax.jit, static_argnames="model")
def _minimised(
    model: Model, fields: Batch, start: PyTree[Array], rows: Int[Array, "S B"], key: Key, learning_rate: Array
) -> tuple[Params, Int[Array, ""]]:
    falling = train.schedule("cosine", 1.0, steps=len(rows))
    one = {name: field[:1] for name, field in fields.items()}
    learner = train.minimise(
        model.loss,
        lambda key: model.init(key, one, start),
        train.optimizer("adam", lambda count: learning_rate * falling(count), clip_norm=model.clip_norm),
    )

    def step(state: TrainState, rows: Int[Array, "B"]) -> tuple[TrainState, None]:
        batch = {name: field[rows] for name, field in fields.items()} | {"index": rows}
        return learner.step(state, batch)[0], None

    state, _ = lax.scan(step, learner.init(key), rows)
    return state.params, state.extra["skipped"]["longest"]
