"""Does a recurrence carry gradients through time: their norm by lag, and how many units are saturated.

Source: Bengio, Simard & Frasconi (1994) and Pascanu, Mikolov & Bengio (2013) for the norms; Karpathy, Johnson & Li
(2015) for saturation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PyTree

from seqjax.errors import UsageError
from seqjax.models.sequence import CellName, SequenceModel, stacked
from seqjax.recurrent import output_head, unroll
from seqjax.recurrent.sequence import initial_carry
from seqjax.types import Cell, Params

SATURATED_SLOPE = 0.36
"""Share of its steepest slope below which a unit counts as saturated: a sigmoid below 0.1 or above 0.9."""


class Saturation(NamedTuple):
    """Share of valid steps at which each unit `[H]` is saturated at the lower end of its range, and at the upper."""

    low: Array
    high: Array


def gradient_norms(
    cell: Cell | Callable[..., Any],
    params: Params,
    xs: Float[Array, "B T D"],
    loss: Callable[[PyTree[Array], PyTree[Array]], Float[Array, " B"]],
    carry: PyTree[Array] | None = None,
    *,
    lengths: Int[Array, " B"] | None = None,
) -> Float[Array, "B T"]:
    """Norm of the loss's gradient to the state at each lag, for each example, in the loss's units a unit of state.

    Column k is for the state that enters the step k steps before the example's last valid one: column 0 for h_{T-1},
    column T-1 for the initial state; lags longer than the example are 0. The state is the whole carry (h and c of an
    LSTM). A straight line on a logarithmic axis is a gradient that vanishes, or explodes, at a steady rate.

    cell: a `Cell`, or its `step` alone; then `carry` must be given.
    loss: `(last carry, outputs) -> [B]`, one value per example, of that example alone.

    Raises `UsageError` as `unroll`.
    """
    step = cell.step if isinstance(cell, Cell) else cell
    if jnp.ndim(xs) < 2:
        raise UsageError(f"xs: found shape {jnp.shape(xs)}, expected [B T D]")
    batch_size, num_steps = xs.shape[:2]
    carry = initial_carry(cell, params, batch_size) if carry is None else carry

    def nudged_step(params, carry, now):
        x, nudge = now
        return step(params, jax.tree.map(jnp.add, carry, nudge), x)

    def total(nudges):
        return loss(*unroll(nudged_step, params, (xs, nudges), carry, lengths=lengths)).sum()

    still = jax.tree.map(lambda a: jnp.zeros((batch_size, num_steps, *a.shape[1:]), a.dtype), carry)
    slopes = jax.tree.leaves(jax.grad(total)(still))
    norms = jnp.sqrt(sum(jnp.square(s).sum(axis=tuple(range(2, s.ndim))) for s in slopes))

    last = jnp.full((batch_size, 1), num_steps - 1) if lengths is None else lengths[:, None] - 1
    steps = last - jnp.arange(num_steps)[None, :]
    return jnp.where(steps >= 0, jnp.take_along_axis(norms, jnp.maximum(steps, 0), axis=1), 0)


def gate_saturation(
    cell: Cell,
    params: Params,
    xs: Float[Array, "B T D"],
    carry: PyTree[Array] | None = None,
    *,
    lengths: Int[Array, " B"] | None = None,
) -> dict[str, Saturation]:
    """How often each unit of each gate is saturated, by the gate's name, over all examples and valid steps.

    A forget gate saturated high is a memory that keeps; a candidate or state saturated at either end passes no
    gradient. A rectified unit that is off counts as low.

    Raises `UsageError` as `unroll`, and for a cell that does not show its `gates`.
    """
    if not isinstance(cell, Cell) or cell.gates is None:
        raise UsageError("cell: found one without `gates`, expected `gates(params, carry, x) -> {name: Gate}`")

    def watched_step(params, carry, x):
        flags = {}
        for name, gate in cell.gates(params, carry, x).items():
            saturated = jnp.abs(gate.slope) < SATURATED_SLOPE
            flags[name] = Saturation(saturated & (gate.value <= gate.centre), saturated & (gate.value > gate.centre))
        return cell.step(params, carry, x)[0], flags

    carry = initial_carry(cell, params, xs.shape[0]) if carry is None else carry
    _, flags = unroll(watched_step, params, xs, carry, lengths=lengths)
    count = xs.shape[0] * xs.shape[1] if lengths is None else jnp.maximum(lengths.sum(), 1)
    return jax.tree.map(lambda flag: flag.sum(axis=(0, 1)) / count, flags)


def model_flow(
    model: SequenceModel,
    params: Params,
    xs: Float[Array, "B T D"],
    loss: Callable[[Float[Array, "B V"]], Float[Array, " B"]],
) -> tuple[Float[Array, "B T"], dict[str, Saturation]]:
    """`gradient_norms` and `gate_saturation` of a model's stack of layers.

    loss: of the outputs at the last step, one value per example, of that example alone.
    """
    cell = stacked(model.cell(model.hidden_size), model.num_layers)
    weights, readout = params["params"]["recurrence"], params["params"]["readout"]
    answer = output_head(model.output_size).apply
    norms = gradient_norms(cell, weights, xs, lambda carry, ys: loss(answer(readout, ys[:, -1])))
    return norms, gate_saturation(cell, weights, xs)


def flow_curves(
    flow: Callable[[Params, CellName], tuple[Float[Array, "B T"], dict[str, Saturation]]],
    cell: CellName,
    trained: Params,
    untrained: Callable[[CellName], Params],
) -> dict[str, Float[np.ndarray, "T"]]:
    """Mean norm by lag of the trained cell, and of all three untrained, by the names that a figure shows."""
    curves = {f"{cell}, trained": flow(trained, cell)[0]}
    curves |= {f"{other}, untrained": flow(untrained(other), other)[0] for other in get_args(CellName)}
    return {name: np.asarray(norms.mean(axis=0)) for name, norms in curves.items()}


def flow_measures(row: str, norms: Float[Array, "B T"], saturation: dict[str, Saturation]) -> dict[str, float]:
    """Numbers for a receipt: how much of the gradient is left at the longest lag, and how saturated each gate is.

    `row/gradient_kept`: mean norm at the longest lag, over that at lag 0. `row_GATE/saturated_low` and `_high`: share
    of steps, averaged over units.
    """
    mean = np.asarray(norms, np.float64).mean(axis=0)
    found = {f"{row}/gradient_kept": float(mean[-1] / mean[0]) if mean[0] > 0 else 0.0}
    for gate, share in saturation.items():
        found[f"{row}_{gate}/saturated_low"] = float(np.mean(share.low))
        found[f"{row}_{gate}/saturated_high"] = float(np.mean(share.high))
    return found
