"""What all learners share: what a loss reports, moving averages, and the guard against values that are not finite."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, PyTree

from seqjax.types import Batch, Learner, Metrics, Params, TrainState


class Aux(NamedTuple):
    """What a loss reports beside its value.

    terms: each named term of the loss, one value per example.
    extra: entries of `state.extra` that this step replaces (a recurrent carry, batch statistics).
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


def over_devices(
    grads: Params, metrics: Metrics, extra: dict[str, PyTree[Array]], axis_name: str | None
) -> tuple[Params, Metrics, dict[str, PyTree[Array]]]:
    """Their means over the device axis, but for a `carry`, which belongs to the examples of a batch.

    Local gradients come first, then their mean: the gradient of a mean taken inside would be N times too large.
    """
    if axis_name is None:
        return grads, metrics, extra
    shared = {name: value for name, value in extra.items() if name != "carry"}
    grads, metrics, shared = lax.pmean((grads, metrics, shared), axis_name)
    return grads, metrics, extra | shared


def stepped(
    finite: Bool[Array, ""],
    state: TrainState,
    moved: Callable[[], tuple[Params, PyTree[Array], dict[str, PyTree[Array]]]],
) -> TrainState:
    """The state one step on: parameters, optimiser and entries as `moved` where the step is finite, else the old ones
    and one more skipped step.
    """
    # a branch and no selection: an optimiser in `moved` works in place, without the old arrays beside the new ones
    params, opt_state, extra = lax.cond(finite, moved, lambda: (state.params, state.opt_state, dict(state.extra)))
    skipped = state.extra["skipped"]
    in_a_row = jnp.where(finite, 0, skipped["in_a_row"] + 1)
    extra["skipped"] = {
        "total": skipped["total"] + jnp.where(finite, 0, 1),
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
    """The learner's step on its own, jitted, the state donated."""
    return jax.jit(learner.step, donate_argnums=0)
