"""What a type checker sees of the public names: read by `make types`, never run."""

from typing import assert_type

import jax
import jax.numpy as jnp
import optax
from jax import Array

import seqjax
from seqjax.experiment.loading import Loaded
from seqjax.interop.export import Model, Program, Streaming
from seqjax.types import Batch, Cell, Key, Learner, Params, TrainState


def loss(params: Params, batch: Batch, key: Key, state: TrainState) -> tuple[Array, seqjax.Aux]:
    error = seqjax.squared_error(batch["x"] @ params["w"], batch["y"])
    assert_type(error, Array)
    return error, seqjax.Aux({"error": error})


x = jnp.ones((2, 3))
assert_type(seqjax.minimise(loss, lambda key: {"w": jnp.ones((3, 1))}, optax.adam(1e-3)), Learner)
assert_type(seqjax.lstm(4), Cell)
assert_type(seqjax.importance_weighted_bound(x), Array)
assert_type(seqjax.sweep(seqjax.lstm(4), {}, x)[1], Array)
assert_type(seqjax.Autoencoder((3, 2)), seqjax.Autoencoder)
assert_type(seqjax.clustering_scores(x.__array__(), x.__array__()), dict[str, float])
assert_type(seqjax.bits_per_dimension(1.0, 2), float)
assert_type(seqjax.load("run"), Loaded)
assert_type(seqjax.exported(lambda params, x: x, {}, {"x": x}), Program)
assert_type(seqjax.streaming(lambda params, xs: xs), Streaming)
assert_type(seqjax.named_weights({}), dict[str, Array])
assert_type(seqjax.read_export("folder"), Model)
assert_type(seqjax.batch_at(seqjax.Split({"x": x}), jax.random.key(0), 0, batch_size=1)["x"], Array)
seqjax.squared_error("no array", x)  # pyright: ignore[reportArgumentType]
seqjax.nosuch  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
