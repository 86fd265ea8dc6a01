"""The fast path: the values of `unroll` with back-propagation through time written by hand."""

from typing import get_args

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, PyTree

from seqjax.errors import UsageError
from seqjax.recurrent.bptt import Residuals
from seqjax.recurrent.sequence import sequence
from seqjax.types import Cell, Params


def sweep(
    cell: Cell,
    params: Params,
    xs: Float[Array, "..."],
    carry: PyTree[Array] | None = None,
    *,
    lengths: Int[Array, " B"] | None = None,
    resets: Bool[Array, "..."] | None = None,
    reverse: bool = False,
    time_major: bool = False,
    residuals: Residuals = "full",
) -> tuple[PyTree[Array], Float[Array, "..."]]:
    """Runs `elman`, `lstm` or `gru` over `xs [B T D]`: arguments, values and errors of `unroll`, faster to train.

    Reverse mode only, to any order; forward mode raises. `vmap` is for seeds (over `params`): over examples it would
    keep a weight gradient for each of them.

    residuals: what is kept for the backward pass. `full`: states and gates. `lean`: states only, gates are rebuilt by
        one product. `segments`: one state every sqrt(T) steps, everything else is computed a second time; memory
        beside inputs and outputs grows with sqrt(T).

    Raises `UsageError` also for a cell without a hand-written rule, and in forward mode.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import lstm, sweep
        >>> cell = lstm(5)
        >>> params = cell.init(jax.random.key(0), 3)
        >>> carry, ys = sweep(cell, params, jnp.ones((2, 4, 3)), lengths=jnp.asarray([4, 1]))
        >>> print(ys.shape, jnp.abs(ys[1, 1:]).sum())
        (2, 4, 5) 0.0
    """
    if not isinstance(cell, Cell) or cell.sweep is None:
        raise UsageError("cell: found one without a hand-written `sweep`, expected elman, lstm or gru; use `unroll`")
    if residuals not in get_args(Residuals):
        raise UsageError(f"residuals: found {residuals!r}, expected one of {', '.join(get_args(Residuals))}")
    if jnp.ndim(xs) != 3:
        raise UsageError(f"xs: found shape {jnp.shape(xs)}, expected {'[T B D]' if time_major else '[B T D]'}")
    steps, carry, fresh = sequence(
        cell, params, xs, carry, lengths=lengths, resets=resets, reverse=reverse, time_major=time_major
    )
    carry, ys = cell.sweep(params, carry, fresh, steps, reverse=reverse, residuals=residuals)
    return carry, ys if time_major else jnp.swapaxes(ys, 0, 1)
