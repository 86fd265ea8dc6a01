"""Learners, and the chapter: many training steps in one dispatch, with seeds as an axis."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Float, Int, PyTree

from seqjax.errors import UsageError, require
from seqjax.types import Batch, Key, Learner, Metrics, Params, TrainState


class Aux(NamedTuple):
    """What a loss reports beside its value.

    terms: each named term of the loss, one value per example.
    extra: entries of `state.extra` that this step replaces (a recurrent carry, batch statistics).
    """

    terms: dict[str, Float[Array, "B"]]
    extra: dict[str, PyTree[Array]] = {}  # noqa: RUF012 - never mutated


Loss = Callable[[Params, Batch, Key, TrainState], tuple[Float[Array, "B"], Aux]]


def optimizer(
    method: Literal["adam", "adamw", "sgd", "rmsprop"],
    learning_rate: float | optax.Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """The four usual optimisers, after clipping by the global norm. Any other Optax transformation serves as well.

    momentum: first-moment decay of Adam and AdamW, momentum of SGD and RMSProp. weight_decay: AdamW only.
    """
    require(clip_norm is None or clip_norm > 0, "clip_norm", clip_norm, "a positive number")
    require(0 <= momentum < 1, "momentum", momentum, "a number in [0, 1)")
    require(weight_decay >= 0, "weight_decay", weight_decay, "a number of 0 or more")
    match method:
        case "adam":
            update = optax.adam(learning_rate, b1=momentum)
        case "adamw":
            update = optax.adamw(learning_rate, b1=momentum, weight_decay=weight_decay)
        case "sgd":
            update = optax.sgd(learning_rate, momentum=momentum or None)
        case "rmsprop":
            update = optax.rmsprop(learning_rate, momentum=momentum or None)
    return update if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), update)


def schedule(
    kind: Literal["constant", "cosine"], peak: float, *, steps: int, warmup_steps: int = 0
) -> float | optax.Schedule:
    """A learning rate over `steps`: constant, or half a cosine down to zero; both after a linear warm-up."""
    require(0 < peak < math.inf, "learning_rate", peak, "a positive finite number")
    require(warmup_steps >= 0, "warmup_steps", warmup_steps, "0 or more")
    if kind == "constant" and warmup_steps == 0:
        return peak
    if kind == "constant":
        return optax.warmup_constant_schedule(0.0, peak, warmup_steps)
    if warmup_steps == 0:
        return optax.cosine_decay_schedule(peak, max(1, steps))
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, max(steps, warmup_steps + 1))


def minimise(
    loss: Loss,
    init: Callable[[Key], Params],
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    ema_decay: float | None = None,
    extra: Callable[[Params], dict[str, PyTree[Array]]] | None = None,
) -> Learner:
    """A learner that moves all parameters down the gradient of one loss.

    loss: `(params, batch, key, state) -> (values [B], Aux)`; the learner takes the mean over the batch.
    init: `key -> params`.
    accumulate: micro-batches whose gradients are averaged before one update; they divide the batch.
    ema_decay: keeps a moving average of the parameters as `state.extra["ema"]` (see `averaged`).
    extra: `params -> entries of state.extra` at the start.

    A step whose loss or gradient is not finite leaves everything but the step count as it was, and is counted in
    `state.extra["skipped"]`: in all, in a row, and in the longest row.
    """

    require(accumulate >= 1, "accumulate", accumulate, "at least 1")
    require(ema_decay is None or 0 < ema_decay < 1, "ema_decay", ema_decay, "a number in (0, 1)")

    none_skipped = {"total": 0, "in_a_row": 0, "longest": 0}

    def init_state(key: Key) -> TrainState:
        init_key, step_key = jax.random.split(key)
        params = init(init_key)
        start = {"skipped": jax.tree.map(jnp.int32, none_skipped)}
        if extra is not None:
            start |= extra(params)
        if ema_decay is not None:
            start["ema"] = jax.tree.map(jnp.copy, params)
        return TrainState(params, optimizer.init(params), jnp.int32(0), step_key, start)

    def mean_loss(params: Params, batch: Batch, key: Key, state: TrainState) -> tuple[Array, tuple[Metrics, dict]]:
        values, aux = loss(params, batch, key, state)
        terms = {name: jnp.mean(term) for name, term in aux.terms.items()}
        return jnp.mean(values), ({"loss": jnp.mean(values), **terms}, aux.extra)

    def gradients(state: TrainState, batch: Batch, key: Key) -> tuple[Params, Metrics, dict]:
        gradient = jax.grad(mean_loss, has_aux=True)
        if accumulate == 1:
            grads, (metrics, new_extra) = gradient(state.params, batch, key, state)
            return grads, metrics, new_extra

        def micro_batch(rows: Array) -> Array:
            if rows.shape[0] % accumulate:
                raise UsageError(f"a batch of {rows.shape[0]} does not divide into accumulate={accumulate} parts")
            return rows.reshape(accumulate, rows.shape[0] // accumulate, *rows.shape[1:])

        def add(total: PyTree, part: Batch) -> tuple[PyTree, None]:
            grads, (metrics, new_extra) = gradient(state.params, part, key, state)
            if new_extra:
                raise UsageError(
                    f"accumulate={accumulate} needs a loss without state, this one returns {list(new_extra)}"
                )
            return jax.tree.map(jnp.add, total, (grads, metrics)), None

        parts = jax.tree.map(micro_batch, batch)
        shapes = jax.eval_shape(
            lambda part: gradient(state.params, part, key, state), jax.tree.map(lambda p: p[0], parts)
        )
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes[0], shapes[1][0]))
        total, _ = lax.scan(add, zeros, parts)
        grads, metrics = jax.tree.map(lambda t: t / accumulate, total)
        return grads, metrics, {}

    def step(state: TrainState, batch: Batch, *, axis_name: str | None = None) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        grads, metrics, new_extra = gradients(state, batch, key)
        if axis_name is not None:
            shared = {name: value for name, value in new_extra.items() if name != "carry"}
            # local gradients first, then their mean: the gradient of a mean taken inside would be N times too large
            grads, metrics, shared = lax.pmean((grads, metrics, shared), axis_name)
            new_extra |= shared
        metrics["gradient_norm"] = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new_extra = state.extra | new_extra
        if ema_decay is not None:
            new_extra["ema"] = optax.incremental_update(params, state.extra["ema"], 1.0 - ema_decay)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        params, opt_state, new_extra = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (params, opt_state, new_extra),
            (state.params, state.opt_state, state.extra),
        )
        skipped = state.extra["skipped"]
        in_a_row = jnp.where(finite, 0, skipped["in_a_row"] + 1)
        new_extra["skipped"] = {
            "total": skipped["total"] + jnp.where(finite, 0, 1),
            "in_a_row": in_a_row,
            "longest": jnp.maximum(skipped["longest"], in_a_row),
        }
        return TrainState(params, opt_state, state.step + 1, state.key, new_extra), metrics

    return Learner(init_state, step)


def averaged(state: TrainState) -> TrainState:
    """The state with the moving average in place of the parameters, where there is one."""
    return state._replace(params=state.extra.get("ema", state.params))


def make_train_step(learner: Learner) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The learner's step on its own, jitted, the state donated."""
    return jax.jit(learner.step, donate_argnums=0)


Fetch = Callable[[Any, TrainState, Array, Array, Array], Batch]
SeedPlan = Literal["map", "vmap"]


def make_chapter(
    learner: Learner, fetch: Fetch, *, length: int, seed_plan: SeedPlan = "map", axis_name: str | None = None
) -> Callable[..., tuple[TrainState, Metrics]]:
    """`(states [S], active [S], count, shard, source) -> (states [S], metrics [S, length])`: `count` <= `length` steps.

    fetch: `(source, state, seed, position, shard) -> batch`, for one seed's step at `position` of this chapter.
    active: seeds that train; the others are returned as they came. Rows past `count`, and of inactive seeds, are zero.
    The length is fixed and the tail masked, so that no chapter after the first compiles.
    seed_plan: `map` runs seeds one after another and gives each the bits of a run alone; `vmap` runs them together.
    """

    def chapter(
        states: TrainState, active: Bool[Array, "S"], count: Int[Array, ""], shard: Int[Array, ""], source: Any
    ) -> tuple[TrainState, Metrics]:
        def one_seed(inputs: tuple) -> tuple[TrainState, Metrics]:
            state, is_active, seed = inputs

            def train(state: TrainState, position: Array) -> tuple[TrainState, Metrics]:
                return learner.step(state, fetch(source, state, seed, position, shard), axis_name=axis_name)

            def skip(state: TrainState, position: Array) -> tuple[TrainState, Metrics]:
                shapes = jax.eval_shape(train, state, position)[1]
                return state, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

            def body(state: TrainState, position: Array) -> tuple[TrainState, Metrics]:
                return lax.cond(is_active & (position < count), train, skip, state, position)

            return lax.scan(body, state, jnp.arange(length))

        inputs = (states, active, jnp.arange(active.shape[0]))
        return lax.map(one_seed, inputs) if seed_plan == "map" else jax.vmap(one_seed)(inputs)

    return chapter
