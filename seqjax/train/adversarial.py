"""Several losses, each minimised by a player of its own: the learner of generative adversarial networks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Float, PyTree

from seqjax.errors import UsageError, require
from seqjax.train.learner import (
    Aux,
    Gradients,
    Moved,
    all_finite,
    all_sound,
    gradient_norm,
    means,
    none_skipped,
    over_shards,
    stepped,
)
from seqjax.train.optimizer import UniformlyFinite
from seqjax.types import Batch, Key, Learner, Metrics, Params, TrainState

AdversarialLoss = Callable[..., tuple[Float[Array, "B"], Aux]]


class Player(NamedTuple):
    """One side of the game: its loss, and how it goes down it.

    loss: `(params, batch, key, state, *, axis_name) -> (values [B], Aux)`. `params` are the player's own, and all that
        is differentiated; the others' are in `state.params`. What is computed over the whole batch, such as batch
        statistics, averages over `axis_name` (`None`: no device axis); all else is of each example alone.
    init: `key -> params`.
    updates: how many it makes in a step.
    project: `params -> params`, after each update; the clipping of a Wasserstein critic's weights.
    ema_decay: keeps a moving average of its parameters, one step at a time (see `averaged`).

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from seqjax import Aux, Player
        >>> def loss(params, batch, key, state, *, axis_name):
        ...     return batch["x"] * params * state.params["critic"], Aux({})
        >>> Player(loss, lambda key: jnp.ones(()), optax.sgd(0.1), updates=2).updates
        2
    """

    loss: AdversarialLoss
    init: Callable[[Key], Params]
    optimizer: optax.GradientTransformation
    updates: int = 1
    project: Callable[[Params], Params] | None = None
    ema_decay: float | None = None


def adversarial(
    players: Mapping[str, Player],
    *,
    simultaneous: bool = False,
    extra: Callable[[dict[str, Params]], dict[str, PyTree[Array]]] | None = None,
) -> Learner:
    """A learner whose players move in the order given, each down the gradient of its own loss.

    `state.params`, `state.opt_state` and, of players that have one, `state.extra["ema"]` hold an entry for each player.
    A step's metrics are `PLAYER_loss`, `PLAYER_gradient_norm` and `PLAYER_TERM`, averaged over the player's updates.

    The rows of a batch are dealt out into as many parts as the busiest player has updates, row i to part i modulo
    their number, so that however many devices share the batch the parts are the same. Update k of every player sees
    part k: a critic with five updates sees fresh rows at each, a fifth of the batch; the generator with its one sees
    as many. Players and updates have keys of their own.

    simultaneous: all players move from where the step began, with one key, so that they see the same noise; each then
        makes one update a step.
    extra: `params -> entries of state.extra` at the start.

    A step in which any player's loss, gradient, update or projected parameters are not finite leaves all players as
    they were, and is counted in `state.extra["skipped"]`. Raises UsageError for players that cannot play, and for a
    batch that cannot be dealt out.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from seqjax import Aux, Player, adversarial
        >>> def player(other, sign):
        ...     def loss(params, batch, key, state, *, axis_name):
        ...         return sign * batch["x"] * params * state.params[other], Aux({})
        ...
        ...     return Player(loss, lambda key: jnp.ones(()), optax.sgd(0.5))
        >>> learner = adversarial({"critic": player("generator", -1), "generator": player("critic", 1)})
        >>> state, metrics = learner.step(learner.init(jax.random.key(0)), {"x": jnp.ones(4), "index": jnp.arange(4)})
        >>> print(state.params["critic"], state.params["generator"])  # 1 + 0.5, and then 1 - 0.5 * 1.5
        1.5 0.25
    """
    require(len(players) >= 1, "players", list(players), "at least one")
    for name, player in players.items():
        require(player.updates >= 1, f"{name} updates", player.updates, "at least 1")
        require(
            player.updates == 1 or not simultaneous,
            f"{name} updates",
            player.updates,
            "1 where all move at the same time",
        )
        decay = player.ema_decay
        require(decay is None or 0 < decay < 1, f"{name} ema_decay", decay, "a number in (0, 1)")
    num_parts = max(player.updates for player in players.values())
    with_average = {name: player.ema_decay for name, player in players.items() if player.ema_decay is not None}

    def init_state(key: Key) -> TrainState:
        init_key, step_key = jax.random.split(key)
        init_keys = jax.random.split(init_key, len(players))
        params = {name: player.init(k) for (name, player), k in zip(players.items(), init_keys, strict=True)}
        opt_state = {name: player.optimizer.init(params[name]) for name, player in players.items()}
        start = {"skipped": none_skipped()}
        if extra is not None:
            start |= extra(params)
        if with_average:
            start["ema"] = {name: jax.tree.map(jnp.copy, params[name]) for name in with_average}
        return TrainState(params, opt_state, jnp.int32(0), step_key, start)

    def gradients(
        name: str, now: TrainState, seen: TrainState, batch: Batch, key: Key, shared: dict[str, Any]
    ) -> Gradients:
        """Those of a player's loss, who sees the others as they are in `seen`."""

        def compute(seen: TrainState, batch: Batch, axis_name: str | None) -> Gradients:
            def mean_loss(params: Params) -> tuple[Array, tuple[Metrics, dict]]:
                return means(*players[name].loss(params, batch, key, seen, axis_name=axis_name))

            grads, (metrics, new_extra) = jax.grad(mean_loss, has_aux=True)(now.params[name])
            return grads, metrics, new_extra

        grads, metrics, new_extra = over_shards(compute, seen, batch, **shared)
        return grads, metrics | {"gradient_norm": gradient_norm(grads)}, new_extra

    def updated(
        name: str, now: TrainState, grads: Params, new_extra: dict[str, PyTree[Array]]
    ) -> tuple[TrainState, Bool[Array, ""]]:
        """`now` after one update of a player, and whether that is finite."""
        player = players[name]
        updates, opt_state = player.optimizer.update(grads, now.opt_state[name], now.params[name])
        sound = all_sound(player.optimizer, updates)
        params = optax.apply_updates(now.params[name], updates)
        if player.project is not None:
            params = player.project(params)
            sound &= all_finite(params)
        after = now._replace(
            params=now.params | {name: params},
            opt_state=now.opt_state | {name: opt_state},
            extra=now.extra | new_extra,
        )
        return after, sound

    def moved(
        name: str,
        now: TrainState,
        seen: TrainState | None,
        parts: Batch,
        key: Key,
        shared: dict[str, Any],
    ) -> tuple[Callable[[], TrainState], Metrics, Bool[Array, ""]]:
        """All updates of a player, each on its own part: what makes `now` the state after them, what they report, and
        whether they are finite. seen: `None` for the newest state there is.
        """

        def one(now: TrainState, part: Batch, number: int | Array) -> tuple[Callable, Metrics, Array]:
            own_key = jax.random.fold_in(key, number)
            grads, metrics, new_extra = gradients(name, now, now if seen is None else seen, part, own_key, shared)
            after, sound = updated(name, now, grads, new_extra)
            if isinstance(players[name].optimizer, UniformlyFinite):
                # made anew where it is called for; of this one nothing is left then but what tells whether it is sound
                return lambda: updated(name, now, grads, new_extra)[0], metrics, sound
            return lambda: after, metrics, sound

        def update(now: TrainState, inputs: tuple[Batch, Array]) -> tuple[TrainState, tuple[Metrics, Array]]:
            make, metrics, sound = one(now, *inputs)
            return make(), (metrics, sound)

        count = players[name].updates
        if count == 1:
            return one(now, jax.tree.map(lambda rows: rows[0], parts), 0)
        own = jax.tree.map(lambda rows: rows[:count], parts)
        now, (metrics, sound) = lax.scan(update, now, (own, jnp.arange(count)))
        return lambda: now, jax.tree.map(lambda values: jnp.mean(values, axis=0), metrics), sound.all()

    def step(
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
        shards: int | None = None,
        guarded: bool = True,
    ) -> tuple[TrainState, Metrics]:
        shared = {"axis_name": axis_name, "shards": shards}
        key = jax.random.fold_in(state.key, state.step)
        parts = jax.tree.map(lambda rows: dealt(rows, num_parts), batch)
        make, metrics, finite = (lambda: state), {}, jnp.bool(True)
        for position, name in enumerate(players):
            own_key = jax.random.fold_in(key, 0 if simultaneous else position)
            seen = state if simultaneous else None
            make, own, sound = moved(name, make(), seen, parts, own_key, shared)
            finite &= sound & jnp.isfinite(own["loss"]) & jnp.isfinite(own["gradient_norm"])
            metrics |= {f"{name}_{metric}": value for metric, value in own.items()}

        def moved_on() -> Moved:
            # the last player moves in here, in place; what moved before had to stand beside what it may go back to
            now = make()
            new_extra = dict(now.extra)
            if with_average:
                new_extra["ema"] = {
                    name: optax.incremental_update(now.params[name], state.extra["ema"][name], 1.0 - decay)
                    for name, decay in with_average.items()
                }
            return now.params, now.opt_state, new_extra, jnp.bool(True)

        return stepped(finite, state, moved_on, guarded=guarded), metrics

    return Learner(init_state, step)


def dealt(rows: Array, num_parts: int) -> Array:
    """Rows `[B ...]` as `[num_parts, B / num_parts, ...]`, row i in part i modulo `num_parts`."""
    if rows.shape[0] % num_parts:
        raise UsageError(f"a batch of {rows.shape[0]} rows cannot be dealt out to {num_parts} updates of a step")
    return jnp.swapaxes(rows.reshape(rows.shape[0] // num_parts, num_parts, *rows.shape[1:]), 0, 1)
