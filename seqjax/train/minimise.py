"""One loss, minimised: the learner of autoencoders, predictors and variational bounds."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, PyTree

from seqjax.errors import UsageError, require
from seqjax.train.learner import (
    Aux,
    Gradients,
    Moved,
    all_sound,
    gradient_norm,
    means,
    none_skipped,
    over_shards,
    stepped,
)
from seqjax.train.optimizer import UniformlyFinite
from seqjax.types import Batch, Key, Learner, Metrics, Params, TrainState

Loss = Callable[[Params, Batch, Key, TrainState], tuple[Float[Array, "B"], Aux]]


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
    extra: `params -> entries of state.extra` at the start. `hyper`, scalars by name, is where a loss finds weights that
        no program is compiled for; the optimiser is handed it too (see `scaled_by_hyper`, and `grid` for many values).

    A step whose loss or gradient is not finite leaves everything but the step count as it was, and is counted in
    `state.extra["skipped"]`: in all, in a row, and in the longest row. One whose update alone is not finite leaves the
    parameters, and is counted, too. Single values that overflow in the update of a `UniformlyFinite` optimiser are not
    made, and not counted.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from seqjax import Aux, make_train_step, minimise, squared_error
        >>> def loss(params, batch, key, state):
        ...     return squared_error(batch["x"] * params["w"], batch["y"]), Aux({})
        >>> learner = minimise(loss, lambda key: {"w": jnp.zeros(())}, optax.sgd(0.1))
        >>> state, step = learner.init(jax.random.key(0)), make_train_step(learner)
        >>> batch = {"x": jnp.ones((4, 1)), "y": jnp.full((4, 1), 3.0), "index": jnp.arange(4)}
        >>> for _ in range(50):
        ...     state, metrics = step(state, batch)
        >>> print(f"{state.params['w']:.3f}", sorted(metrics))
        3.000 ['gradient_norm', 'loss']
    """

    require(accumulate >= 1, "accumulate", accumulate, "at least 1")
    require(ema_decay is None or 0 < ema_decay < 1, "ema_decay", ema_decay, "a number in (0, 1)")
    optimizer = optax.with_extra_args_support(optimizer)

    def init_state(key: Key) -> TrainState:
        init_key, step_key = jax.random.split(key)
        params = init(init_key)
        start = {"skipped": none_skipped()}
        if extra is not None:
            start |= extra(params)
        if ema_decay is not None:
            start["ema"] = jax.tree.map(jnp.copy, params)
        return TrainState(params, optimizer.init(params), jnp.int32(0), step_key, start)

    def mean_loss(params: Params, batch: Batch, key: Key, state: TrainState) -> tuple[Array, tuple[Metrics, dict]]:
        return means(*loss(params, batch, key, state))

    def gradients(state: TrainState, batch: Batch, key: Key) -> Gradients:
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

    def step(
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
        shards: int | None = None,
        guarded: bool = True,
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)

        def compute(state: TrainState, batch: Batch, axis_name: str | None) -> Gradients:
            return gradients(state, batch, key)

        grads, metrics, new_extra = over_shards(compute, state, batch, axis_name=axis_name, shards=shards)
        metrics["gradient_norm"] = gradient_norm(grads)

        def moved() -> Moved:
            scalars = {"hyper": state.extra["hyper"]} if "hyper" in state.extra else {}
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params, **scalars)
            # what too large a step, or a division by nothing, makes of a gradient that is finite
            sound = all_sound(optimizer, updates)
            if not guarded:
                params = optax.apply_updates(state.params, updates)
            elif isinstance(optimizer, UniformlyFinite):
                # in the pass that makes the updates; minus zero leaves every number as it is
                updates = jax.tree.map(lambda u: jnp.where(sound & jnp.isfinite(u), u, -0.0), updates)
                params = optax.apply_updates(state.params, updates)
            else:
                params = lax.cond(sound, lambda: optax.apply_updates(state.params, updates), lambda: state.params)
            extra = state.extra | new_extra
            if ema_decay is not None:
                extra["ema"] = optax.incremental_update(params, state.extra["ema"], 1.0 - ema_decay)
            return params, opt_state, extra, sound

        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        return stepped(finite, state, moved, guarded=guarded), metrics

    return Learner(init_state, step)
