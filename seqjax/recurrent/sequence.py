"""The arguments of `unroll` and `sweep`, checked and brought into the form that a loop over time reads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import PyTree

from seqjax.errors import UsageError
from seqjax.recurrent.steps import Steps
from seqjax.types import Cell, Params


class Sequence(NamedTuple):
    """Time-major steps, the carry to begin with, and the carry that a reset goes back to (`None` without resets)."""

    steps: Steps
    carry: PyTree[Array]
    fresh: PyTree[Array] | None


def sequence(
    cell: Cell | Callable[..., Any],
    params: Params,
    xs: PyTree[Array],
    carry: PyTree[Array] | None,
    *,
    lengths: Array | None,
    resets: Array | None,
    reverse: bool,
    time_major: bool,
) -> Sequence:
    """Raises `UsageError` naming the argument, what was found and what was expected."""
    axes = "[T B ...]" if time_major else "[B T ...]"
    shapes = {jnp.shape(x)[:2] for x in jax.tree.leaves(xs)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        found = [jnp.shape(x) for x in jax.tree.leaves(xs)]
        raise UsageError(f"xs: found shape {', '.join(map(str, found)) or 'of no array'}, expected {axes}")
    (first, second) = shapes.pop()
    num_steps, batch_size = (first, second) if time_major else (second, first)

    fresh = initial_carry(cell, params, batch_size) if carry is None or resets is not None else None
    if carry is None:
        carry = fresh
    elif isinstance(cell, Cell) and cell.initial_carry is not None:
        require_like(carry, jax.eval_shape(lambda params: cell.initial_carry(params, batch_size), params))

    valid = None
    if lengths is not None:
        require_lengths(lengths, num_steps, batch_size)
        valid = jnp.arange(num_steps)[:, None] < jnp.asarray(lengths)[None, :]
    if not time_major:
        xs = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), xs)
    if valid is not None:
        # the loop never sees what the padding holds: 0 * NaN would reach the gradients
        xs = jax.tree.map(
            lambda x: jnp.where(jnp.expand_dims(valid, tuple(range(2, x.ndim))), x, jnp.zeros_like(x)), xs
        )
    if resets is not None:
        resets = first_steps(resets, num_steps, batch_size, reverse=reverse, time_major=time_major)
        resets = resets if valid is None else resets & valid
    return Sequence(Steps(xs, valid, resets), carry, fresh if resets is not None else None)


def initial_carry(cell: Cell | Callable[..., Any], params: Params, batch_size: int) -> PyTree[Array]:
    if not isinstance(cell, Cell) or cell.initial_carry is None:
        raise UsageError("carry: found None or resets, expected a cell with `initial_carry`, or a carry and no resets")
    return cell.initial_carry(params, batch_size)


def first_steps(resets: Array, num_steps: int, batch_size: int, *, reverse: bool, time_major: bool) -> Array:
    """Marks `[T B]` of the steps before which the loop resets, from the marks of each packed sequence's first step."""
    expected = (num_steps, batch_size) if time_major else (batch_size, num_steps)
    if jnp.shape(resets) != expected:
        raise UsageError(f"resets: found shape {jnp.shape(resets)}, expected {expected}")
    resets = jnp.asarray(resets, bool)
    resets = resets if time_major else resets.T
    if not reverse:
        return resets
    # going back, a sequence is entered at its last step: the one before the next sequence's first
    return jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])


def require_lengths(lengths: Array, num_steps: int, batch_size: int) -> None:
    if not hasattr(lengths, "dtype"):
        raise UsageError(f"lengths: found a {type(lengths).__name__}, expected an array of integers")
    if jnp.shape(lengths) != (batch_size,):
        raise UsageError(f"lengths: found shape {jnp.shape(lengths)}, expected {(batch_size,)}")
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise UsageError(f"lengths: found dtype {lengths.dtype}, expected integers")
    if isinstance(lengths, jax.core.Tracer) or not getattr(lengths, "is_fully_addressable", True):
        return
    lengths = np.asarray(lengths)  # a constant under jit: a reduction by jax would be traced
    low, high = int(np.min(lengths, initial=0)), int(np.max(lengths, initial=0))
    if low < 0 or high > num_steps:
        raise UsageError(f"lengths: found values from {low} to {high}, expected 0 to {num_steps}, the number of steps")


def require_like(carry: PyTree[Array], expected: PyTree[Any], name: str = "carry") -> None:
    """Raises `UsageError` unless `carry` has the structure, shapes and dtypes of `expected`."""

    def described(tree):
        return jax.tree.map(
            lambda leaf: f"{getattr(leaf, 'dtype', None) or jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree
        )

    if described(carry) != described(expected) or jax.tree.structure(carry) != jax.tree.structure(expected):
        raise UsageError(f"{name}: found {described(carry)}, expected {described(expected)}")
