"""One learner at many values of its traced scalars, in one compiled program: learning rates, loss weights, folds."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Int

from seqjax.errors import UsageError, require
from seqjax.train.chapter import SeedPlan
from seqjax.types import Batch, Key, Learner, Metrics, TrainState


def grid(
    learner: Learner,
    hyper: Mapping[str, ArrayLike],
    *,
    plan: SeedPlan = "map",
    labels: Sequence[str] | None = None,
) -> Learner:
    """A learner whose state holds G states of `learner`, point g with `hyper[name][g]` among its traced scalars.

    All points start from the same weights, see the same batches and draw the same noise: each is trained as `learner`
    alone would be that started with those scalars. `params` and `opt_state` have a leading axis [G]; `extra["points"]`
    holds the points' own entries, [G] as well, `hyper` among them; `at_point` takes one out.

    hyper: values [G] by name, of entries that `learner` starts with in `state.extra["hyper"]`; others stay as they are.
    plan: `map` runs points one after another, `vmap` together; either way a point differs from its run alone by how
        two programs round.
    labels: names of the points; `LABEL_METRIC` is reported beside the mean over all points. Points that share a label
        are averaged.

    A point with a loss or gradient that is not finite stands still in that step, the others go on; what
    `state.extra["skipped"]` counts is what no point was spared.
    Raises UsageError for scalars that the learner does not have.
    """
    sizes = {name: jnp.shape(values) for name, values in hyper.items()}
    require(
        len(set(sizes.values())) == 1 and all(len(shape) == 1 and shape[0] >= 1 for shape in sizes.values()),
        "hyper",
        sizes,
        "one or more entries, all of one length [G] of at least 1",
    )
    ((num_points,),) = set(sizes.values())
    names = list(dict.fromkeys(labels or ()))
    require(labels is None or len(labels) == num_points, "labels", labels, f"{num_points}, one for each point")
    # [L G] bool: which points a label stands for
    labelled = jnp.asarray([[label == name for label in labels or ()] for name in names])

    def init(key: Key) -> TrainState:
        one = learner.init(key)
        own = one.extra.get("hyper", {})
        unknown = [name for name in hyper if name not in own]
        if unknown:
            raise UsageError(f"hyper {unknown[0]}: no traced scalar of the learner, which has {list(own)}.")
        params, opt_state, points = jax.tree.map(
            lambda leaf: jnp.repeat(leaf[None], num_points, axis=0), (one.params, one.opt_state, one.extra)
        )
        points["hyper"] |= {name: jnp.asarray(values, own[name].dtype) for name, values in hyper.items()}
        return one._replace(
            params=params, opt_state=opt_state, extra={"points": points, "skipped": one.extra["skipped"]}
        )

    def step(
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
        shards: int | None = None,
        guarded: bool = True,
    ) -> tuple[TrainState, Metrics]:
        def one_point(point: tuple) -> tuple[tuple, Metrics]:
            params, opt_state, own = point
            after, metrics = learner.step(
                TrainState(params, opt_state, state.step, state.key, own),
                batch,
                axis_name=axis_name,
                shards=shards,
                guarded=guarded,
            )
            return (after.params, after.opt_state, after.extra), metrics

        before = (state.params, state.opt_state, state.extra["points"])
        stepped = lax.map if plan == "map" else lambda function, points: jax.vmap(function)(points)
        (params, opt_state, points), metrics = stepped(one_point, before)
        reported = {metric: values.mean() for metric, values in metrics.items()}
        for name, own in zip(names, labelled, strict=True):
            reported |= {f"{name}_{metric}": jnp.mean(values, where=own) for metric, values in metrics.items()}
        skipped = jax.tree.map(jnp.min, points["skipped"])
        extras = state.extra | {"points": points, "skipped": skipped}
        return TrainState(params, opt_state, state.step + 1, state.key, extras), reported

    return Learner(init, step)


def at_point(state: TrainState, point: int | Int[Array, ""]) -> TrainState:
    """The state of one point of a grid's state, as its learner alone would have it."""
    params, opt_state, extra = jax.tree.map(
        lambda leaf: leaf[point], (state.params, state.opt_state, state.extra["points"])
    )
    return state._replace(params=params, opt_state=opt_state, extra=extra)
