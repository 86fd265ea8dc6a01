"""Networks that are trained in order to measure: all steps in one dispatch, several keys as a batch axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Shaped

from seqjax import parallel, train
from seqjax.types import Batch, Key, Params, TrainState


def fitted(
    loss: Callable[[Params, Batch], jax.Array],
    init: Callable[[Key], Params],
    batch_at: Callable[[Any, Key, jax.Array], Batch],
    source: Any,
    keys: Shaped[Key, "R"],
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> Params:
    """The parameters [R ...] after `steps` steps from each of the keys [R]. Jittable.

    loss: `(params, batch) -> [B]`. batch_at: `(source, key, step) -> batch`; a key's batches are its own.
    """
    learner = train.minimise(lambda params, batch, key, state: (loss(params, batch), train.Aux({})), init, optimizer)

    def fetch(source: Any, state: TrainState, seed: jax.Array, position: jax.Array, shard: jax.Array) -> Batch:
        return batch_at(source, jax.random.fold_in(state.key, jnp.uint32(2**32 - 1)), state.step)

    plan = parallel.seed_plan(jax.default_backend())
    chapter = train.make_chapter(learner, fetch, length=steps, seed_plan=plan)
    states = jax.lax.map(learner.init, keys)
    active = jnp.ones(len(keys), bool)
    return chapter(states, active, jnp.int32(steps), jnp.int32(0), source)[0].params
