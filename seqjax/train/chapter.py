"""The chapter: many training steps in one dispatch, with seeds as an axis."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Int

from seqjax.types import Batch, Learner, Metrics, TrainState

Fetch = Callable[[Any, TrainState, Array, Array, Array], Batch]
SeedPlan = Literal["map", "vmap"]


def make_chapter(
    learner: Learner,
    fetch: Fetch,
    *,
    length: int,
    seed_plan: SeedPlan = "map",
    axis_name: str | None = None,
    shards: int | None = None,
    most_skipped: int | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """`(states [S], active [S], count, shard, source) -> (states [S], metrics [S, length])`: `count` <= `length` steps.

    fetch: `(source, state, seed, position, shard) -> batch`, for one seed's step at `position` of this chapter.
    active: seeds that train; the others are returned as they came. Rows past `count`, and of inactive seeds, are zero.
    The length is fixed and the tail masked, so that no chapter after the first compiles.
    most_skipped: a seed that has skipped so many steps in a row stands still, so that what led there can be looked at.
    seed_plan: `map` runs seeds one after another and gives each the bits of a run alone; `vmap` runs them together.
    axis_name, shards: as of the learner's step. A carry in `extra`, which has the rows of a batch first, is whole
        before and after; between, each device has the part of its own rows.
    """

    def own_carry(state: TrainState, shard: Array) -> TrainState:
        def own(rows: Array) -> Array:
            size = rows.shape[0] // lax.axis_size(axis_name)
            return lax.dynamic_slice_in_dim(rows, shard * size, size)

        return _with_carry(state, lambda carry: jax.tree.map(own, carry))

    def whole_carry(state: TrainState) -> TrainState:
        return _with_carry(state, lambda carry: lax.all_gather(carry, axis_name, tiled=True))

    def chapter(
        states: TrainState, active: Bool[Array, "S"], count: Int[Array, ""], shard: Int[Array, ""], source: Any
    ) -> tuple[TrainState, Metrics]:
        def one_seed(inputs: tuple) -> tuple[TrainState, Metrics]:
            state, is_active, seed = inputs

            def train(state: TrainState, position: Array) -> tuple[TrainState, Metrics]:
                return learner.step(
                    state, fetch(source, state, seed, position, shard), axis_name=axis_name, shards=shards
                )

            def skip(state: TrainState, position: Array) -> tuple[TrainState, Metrics]:
                shapes = jax.eval_shape(train, state, position)[1]
                return state, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

            def body(state: TrainState, position: Array) -> tuple[TrainState, Metrics]:
                trains = is_active & (position < count)
                if most_skipped is not None:
                    trains &= state.extra["skipped"]["in_a_row"] < most_skipped
                return lax.cond(trains, train, skip, state, position)

            if axis_name is None:
                return lax.scan(body, state, jnp.arange(length))
            state, metrics = lax.scan(body, own_carry(state, shard), jnp.arange(length))
            return whole_carry(state), metrics

        inputs = (states, active, jnp.arange(active.shape[0]))
        return lax.map(one_seed, inputs) if seed_plan == "map" else jax.vmap(one_seed)(inputs)

    return chapter


def _with_carry(state: TrainState, function: Callable[[Any], Any]) -> TrainState:
    if "carry" not in state.extra:
        return state
    return state._replace(extra=state.extra | {"carry": function(state.extra["carry"])})
