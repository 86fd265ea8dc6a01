"""What all learners share: what a loss reports, moving averages, and the guard against values that are not finite."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Float, PyTree

from seqjax.errors import UsageError
from seqjax.train.optimizer import UniformlyFinite
from seqjax.types import Batch, Learner, Metrics, Params, TrainState


class Aux(NamedTuple):
    """What a loss reports beside its value.

    terms: each named term of the loss, one value per example.
    extra: entries of `state.extra` that this step replaces (a recurrent carry, batch statistics).

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import Aux, squared_error
        >>> def loss(params, batch, key, state):
        ...     error = squared_error(batch["x"] @ params["w"], batch["y"])
        ...     return error, Aux({"error": error})
        >>> batch = {"x": jnp.ones((2, 3)), "y": jnp.zeros((2, 1))}
        >>> values, aux = loss({"w": jnp.ones((3, 1))}, batch, None, None)
        >>> print(values, sorted(aux.terms))
        [9. 9.] ['error']
    """

    terms: dict[str, Float[Array, "B"]]
    extra: dict[str, PyTree[Array]] = {}  # noqa: RUF012 - never mutated


def means(values: Float[Array, "B"], aux: Aux) -> tuple[Array, tuple[Metrics, dict[str, PyTree[Array]]]]:
    """The loss to differentiate, and beside it what to report, `loss` and each term, and the entries to replace."""
    terms = {name: jnp.mean(term) for name, term in aux.terms.items()}
    return jnp.mean(values), ({"loss": jnp.mean(values), **terms}, aux.extra)


def none_skipped() -> dict[str, Array]:
    """The start of `state.extra["skipped"]`."""
    return jax.tree.map(jnp.int32, {"total": 0, "in_a_row": 0, "longest": 0})


Gradients = tuple[Params, Metrics, dict[str, PyTree[Array]]]


def over_shards(
    compute: Callable[[TrainState, Batch, str | None], Gradients],
    state: TrainState,
    batch: Batch,
    *,
    axis_name: str | None,
    shards: int | None,
) -> Gradients:
    """The means of gradients, metrics and entries over all shards of a batch; a `carry` stays with its examples.

    compute: `(state, batch, axis_name) -> (gradients, metrics, entries)` of one shard.
    shards: `None` for this device's batch as one shard, and a mean in any order over `axis_name`. A number for that
        many one after another, whose values are added in an order that depends on nothing but their number on all
        devices: a fixed tree. Statistics of a batch, for which there is no axis then, are those of a shard.

    Local gradients come first, then their mean: the gradient of a mean taken inside would be N times too large.
    """
    if shards is None:
        grads, metrics, entries = compute(state, batch, axis_name)
        if axis_name is None:
            return grads, metrics, entries
        carried, shared = _carried(entries)
        grads, metrics, shared = lax.pmean((grads, metrics, shared), axis_name)
        return grads, metrics, shared | carried

    def parts(tree: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda rows: _in_parts(rows, shards), tree)

    def one(part: tuple[Batch, dict]) -> tuple[PyTree, dict]:
        own_batch, own_carry = part
        grads, metrics, entries = compute(state._replace(extra=state.extra | own_carry), own_batch, None)
        carried, shared = _carried(entries)
        return (grads, metrics, shared), carried

    values, carried = lax.map(one, (parts(batch), parts(_carried(state.extra)[0])))
    if axis_name is not None:
        values = lax.all_gather(values, axis_name, tiled=True)
    # behind a barrier, so that what follows is compiled alike however many devices there are
    grads, metrics, shared = jax.tree.map(_tree_mean, lax.optimization_barrier(values))
    return grads, metrics, shared | jax.tree.map(lambda rows: lax.collapse(rows, 0, 2), carried)


def _carried(entries: dict[str, PyTree[Array]]) -> tuple[dict, dict]:
    """The entries that belong to the examples of a batch, and the others."""
    carried = {name: value for name, value in entries.items() if name == "carry"}
    return carried, {name: value for name, value in entries.items() if name != "carry"}


def _in_parts(rows: Array, count: int) -> Array:
    if rows.shape[0] % count:
        raise UsageError(f"a batch of {rows.shape[0]} on this device does not divide into {count} virtual shards")
    return rows.reshape(count, rows.shape[0] // count, *rows.shape[1:])


def _tree_mean(values: Array) -> Array:
    """The mean over the first axis, neighbours added first; its size is a power of 2."""
    count = values.shape[0]
    while values.shape[0] > 1:
        values = values[0::2] + values[1::2]
    return values[0] / count


Moved = tuple[Params, PyTree[Array], dict[str, PyTree[Array]], Bool[Array, ""]]


def all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether there is neither NaN nor infinity in any array."""
    # of the greatest value, and not of each: one pass that keeps nothing; a NaN is the greatest
    greatest = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree) if leaf.size]
    return jnp.isfinite(jnp.stack(greatest)).all() if greatest else jnp.bool(True)


def gradient_norm(grads: Params) -> Float[Array, ""]:
    """The Euclidean norm of all gradients together."""
    # behind a barrier: an optimiser's squares of them, shared with these, would be written and read again
    return optax.tree.norm(lax.optimization_barrier(grads))


def all_sound(optimizer: optax.GradientTransformation, updates: Params) -> Bool[Array, ""]:
    """Whether the updates that an optimiser makes of finite gradients are finite."""
    leaves = [leaf for leaf in jax.tree.leaves(updates) if leaf.size]
    # what is bounded in numbers as large as those of float32 may not be in float16
    as_large = all(jnp.finfo(leaf.dtype).maxexp >= 128 for leaf in leaves)
    if isinstance(optimizer, UniformlyFinite) and leaves and as_large:
        leaves = [min(leaves, key=lambda leaf: leaf.size)]
    return all_finite(leaves)


def stepped(finite: Bool[Array, ""], state: TrainState, moved: Callable[[], Moved], *, guarded: bool) -> TrainState:
    """The state one step on: parameters, optimiser and entries as `moved` where the step is finite, else the old ones
    and one more skipped step.

    moved: gives also whether the update itself was finite, and has not made it where not; such a step is skipped, too.
    guarded: `False` takes whatever `moved` gives, to look at.
    """
    if guarded:
        # a branch and no selection: an optimiser in `moved` works in place, without the old arrays beside the new ones
        kept = (state.params, state.opt_state, dict(state.extra), jnp.bool(False))
        params, opt_state, extra, taken = lax.cond(finite, moved, lambda: kept)
    else:
        params, opt_state, extra, taken = moved()
    skipped = state.extra["skipped"]
    in_a_row = jnp.where(taken, 0, skipped["in_a_row"] + 1)
    extra["skipped"] = {
        "total": skipped["total"] + jnp.where(taken, 0, 1),
        "in_a_row": in_a_row,
        "longest": jnp.maximum(skipped["longest"], in_a_row),
    }
    return TrainState(params, opt_state, state.step + 1, state.key, extra)


def averaged(state: TrainState) -> TrainState:
    """The state with the moving average in place of the parameters, where there is one.

    Where it covers some players alone, the parameters of the others stay what they are.
    """
    ema = state.extra.get("ema")
    if ema is None:
        return state
    return state._replace(params={**state.params, **ema} if isinstance(ema, dict) else ema)


def make_train_step(learner: Learner) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The learner's step on its own, jitted, the state donated.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from seqjax import Aux, make_train_step, minimise, squared_error
        >>> def loss(params, batch, key, state):
        ...     return squared_error(batch["x"] * params["w"], batch["y"]), Aux({})
        >>> learner = minimise(loss, lambda key: {"w": jnp.zeros(())}, optax.sgd(0.1))
        >>> step = make_train_step(learner)
        >>> batch = {"x": jnp.ones((4, 1)), "y": jnp.full((4, 1), 3.0), "index": jnp.arange(4)}
        >>> state, metrics = step(learner.init(jax.random.key(0)), batch)
        >>> print(int(state.step), metrics["loss"])
        1 9.0
    """
    return jax.jit(learner.step, donate_argnums=0)
