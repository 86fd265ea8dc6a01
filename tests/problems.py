"""A small least-squares problem, shared by the tests of training: compiled once, solved in closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, noise, train
from seqjax.data.batches import batch_at
from seqjax.types import Split

ROWS, FEATURES, TARGETS = 96, 5, 3


def split(dtype=jnp.float32) -> Split:
    keys = jax.random.split(jax.random.key(7), 3)
    x = jax.random.normal(keys[0], (ROWS, FEATURES), dtype)
    weights = jax.random.normal(keys[1], (FEATURES, TARGETS), dtype)
    y = x @ weights + 0.1 * jax.random.normal(keys[2], (ROWS, TARGETS), dtype)
    return Split({"x": x, "y": y})


def init(key):
    return {"w": 0.1 * jax.random.normal(key, (FEATURES, TARGETS)), "b": jnp.zeros(TARGETS)}


def predictions(params, x):
    return x @ params["w"] + params["b"][None, :]


def loss(params, batch, key, state):
    x = noise.gaussian(batch["x"], key, batch["index"], stddev=0.01)
    fit = losses.squared_error(predictions(params, x), batch["y"])
    size = jnp.full_like(fit, 1e-4 * jnp.square(params["w"]).sum())
    return fit + size, train.Aux({"fit": fit, "size": size})


def solution(split: Split):
    x = np.c_[np.asarray(split.fields["x"], np.float64), np.ones(ROWS)]
    return np.linalg.lstsq(x, np.asarray(split.fields["y"], np.float64), rcond=None)[0]


def fetch_of(split: Split, batch_size: int, num_shards: int = 1):
    def fetch(source, state, seed, position, shard):
        return batch_at(source, state.key, state.step, batch_size=batch_size, shard=shard, num_shards=num_shards)

    return fetch
