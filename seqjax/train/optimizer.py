"""The optimisers and learning rates that configurations name; any other Optax transformation serves as well."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import PyTree

from seqjax.errors import require

NUM_STAGES = 8


class UniformlyFinite(optax.GradientTransformationExtraArgs):
    """A transformation that makes of finite gradients updates that are all finite, or none of them: any one array
    tells, and the others need not be written and read again to be looked at.

    Holds where an update is a learning rate, finite or not, times what is bounded. A single value may still overflow
    with rates or parameters above 1e30.
    """


def optimizer(
    method: Literal["adam", "adamw", "sgd", "rmsprop"],
    learning_rate: float | optax.Schedule,
    *,
    momentum: float = 0.9,
    second_momentum: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The four usual optimisers, after clipping by the global norm. Any other Optax transformation serves as well.

    momentum: first-moment decay of Adam and AdamW, momentum of SGD and RMSProp.
    second_momentum: second-moment decay of Adam and AdamW. weight_decay: AdamW only.
    eps: added to what Adam and AdamW divide by, and under the root that RMSProp divides by.
    """
    require(clip_norm is None or clip_norm > 0, "clip_norm", clip_norm, "a positive number")
    require(0 <= momentum < 1, "momentum", momentum, "a number in [0, 1)")
    require(0 <= second_momentum < 1, "second_momentum", second_momentum, "a number in [0, 1)")
    require(second_momentum <= 1 - 1e-6, "second_momentum", second_momentum, "at most 1 - 1e-6, by which it divides")
    require(eps >= 1e-12, "eps", eps, "at least 1e-12, by which it divides")
    require(weight_decay >= 0, "weight_decay", weight_decay, "a number of 0 or more")
    match method:
        case "adam":
            update = optax.adam(learning_rate, momentum, second_momentum, eps)
        case "adamw":
            update = optax.adamw(learning_rate, momentum, second_momentum, eps, weight_decay=weight_decay)
        case "sgd":
            update = optax.sgd(learning_rate, momentum=momentum or None)
        case "rmsprop":
            update = optax.rmsprop(learning_rate, eps=eps, momentum=momentum or None)
    if clip_norm is not None:
        update = optax.chain(optax.clip_by_global_norm(clip_norm), update)
    update = optax.with_extra_args_support(update)
    # the updates of plain descent are as large as its gradients
    return update if method == "sgd" else UniformlyFinite(*update)


def scaled_by_hyper(
    optimizer: optax.GradientTransformation, name: str = "learning_rate"
) -> optax.GradientTransformationExtraArgs:
    """`optimizer` with every update times `state.extra["hyper"][name]`, a scalar that no program is compiled for.

    Give `optimizer` a learning rate of 1, or a schedule with that peak.
    Raises UsageError where there is no such scalar.
    """
    inner = optax.with_extra_args_support(optimizer)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, *, hyper: dict[str, Array] | None = None, **others: PyTree
    ) -> tuple[PyTree, PyTree]:
        require(hyper is not None and name in hyper, "hyper", sorted(hyper or {}), f"{name} in state.extra['hyper']")
        updates, state = inner.update(grads, state, params, hyper=hyper, **others)
        return jax.tree.map(lambda change: (hyper[name] * change).astype(change.dtype), updates), state

    kind = UniformlyFinite if isinstance(inner, UniformlyFinite) else optax.GradientTransformationExtraArgs
    return kind(inner.init, update)


def schedule(
    kind: Literal["constant", "cosine", "staged"],
    peak: float,
    *,
    steps: int,
    epoch_steps: float | None = None,
    warmup_steps: int = 0,
) -> float | optax.Schedule:
    """A learning rate over `steps`: constant, half a cosine down to zero, or `staged`; after a linear warm-up.

    epoch_steps: of one pass over the data, for `staged` alone.
    """
    require(0 < peak < math.inf, "learning_rate", peak, "a positive finite number")
    require(warmup_steps >= 0, "warmup_steps", warmup_steps, "0 or more")
    if kind == "constant" and warmup_steps == 0:
        return peak
    left = max(1, steps - warmup_steps)
    match kind:
        case "constant":
            after = optax.constant_schedule(peak)
        case "cosine":
            after = optax.cosine_decay_schedule(peak, left)
        case "staged":
            require(epoch_steps is not None, "epoch_steps", epoch_steps, "the steps of a pass over the data")
            after = staged(peak, epoch_steps=epoch_steps)
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps])


def staged(peak: float, *, epoch_steps: float) -> optax.Schedule:
    """Eight constant rates from `peak` down to a tenth of it, each held three times as long as the one before.

    Source: Burda, Grosse & Salakhutdinov 2016, section 5: 3^i passes over the data at `peak * 10^(-i / 7)` for i from 0
    to 7, 3,280 passes in all; the last rate stays.
    """
    require(epoch_steps > 0, "epoch_steps", epoch_steps, "a positive number")
    ends = [round(epoch_steps * (3 ** (i + 1) - 1) / 2) for i in range(NUM_STAGES - 1)]
    rates = peak * 10.0 ** (-jnp.arange(NUM_STAGES) / (NUM_STAGES - 1))
    return lambda step: rates[jnp.searchsorted(jnp.asarray(ends), step, side="right")]
