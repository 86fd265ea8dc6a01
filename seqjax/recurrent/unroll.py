"""The reference: any recurrence over a sequence by one plain `lax.scan`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Int, PyTree

from seqjax.recurrent.sequence import require_like, sequence
from seqjax.recurrent.steps import Steps, select
from seqjax.types import Cell, Params


def unroll(
    cell: Cell | Callable[..., Any],
    params: Params,
    xs: PyTree[Array],
    carry: PyTree[Array] | None = None,
    *,
    lengths: Int[Array, " B"] | None = None,
    resets: Bool[Array, "..."] | None = None,
    reverse: bool = False,
    time_major: bool = False,
) -> tuple[PyTree[Array], PyTree[Array]]:
    """Runs a cell over `xs [B T D]` and returns `(last carry, ys [B T H])`; derivatives of any order, in both modes.

    cell: a `Cell`, or its `step(params, carry, x) -> (carry, y)` alone; then `carry` must be given. The leaves of
        `xs`, `carry` and `y` may have any axes after the batch's.
    carry: where to begin; default the cell's initial carry. Passing a part's last carry on continues the sequence.
    lengths: valid steps of each example, 0 to T. What follows is padding: it leaves the carry as it is, its outputs
        are zeros, and neither values nor gradients depend on what it holds, NaN included.
    resets: `[B T]`, true at the first step of each sequence packed into the row; there the cell's initial carry is
        taken instead of what was carried on, in either direction.
    reverse: from the last valid step to the first. Outputs stay at the step of their input, padding stays last.
    time_major: `xs`, `resets` and the outputs have time before batch.

    Raises `UsageError` on a wrong rank or shape, on lengths outside 0 to T (where they are not traced) and on a carry
    of another structure, shape or dtype than the step's.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import unroll
        >>> def leaky_sum(params, carry, x):
        ...     carry = params["kept"] * carry + x
        ...     return carry, carry
        >>> carry, ys = unroll(leaky_sum, {"kept": jnp.asarray(0.5)}, jnp.ones((1, 3, 1)), jnp.zeros((1, 1)))
        >>> print(ys[:, :, 0])
        [[1.   1.5  1.75]]
    """
    step = cell.step if isinstance(cell, Cell) else cell
    steps, carry, fresh = sequence(
        cell, params, xs, carry, lengths=lengths, resets=resets, reverse=reverse, time_major=time_major
    )

    def body(carry, now: Steps):
        if now.resets is not None:
            carry = select(now.resets, fresh, carry)
        advanced, y = step(params, carry, now.xs)
        require_like(carry, advanced)
        if now.valid is not None:
            advanced, y = select(now.valid, (advanced, y), (carry, jax.tree.map(jnp.zeros_like, y)))
        return advanced, y

    carry, ys = lax.scan(body, carry, steps, reverse=reverse)
    return carry, ys if time_major else jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), ys)
