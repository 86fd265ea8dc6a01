"""What a loop over time reads, and how it is masked, padded and cut into segments. Time-major throughout."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, PyTree


class Steps(NamedTuple):
    """What a loop reads at each step; a mask is `None` where every step is valid, or no step a reset.

    xs: `[T B D]`, zeros at invalid steps.
    valid: `[T B]`; an invalid step leaves the carry as it is and puts out zeros.
    resets: `[T B]`, where the carry is replaced by a fresh one before the step; False at invalid steps.
    """

    xs: PyTree[Array]
    valid: Array | None
    resets: Array | None


def select(mask: Bool[Array, " B"], yes: PyTree[Array], no: PyTree[Array]) -> PyTree[Array]:
    """`yes` for the examples where `mask` holds, else `no`; leaves are `[B ...]`."""

    def leaf(yes, no):
        return jnp.where(mask.reshape(mask.shape + (1,) * (yes.ndim - mask.ndim)), yes, no)

    return jax.tree.map(leaf, yes, no)


def segment_length(num_steps: int) -> int:
    """The divisor of `num_steps` nearest to its square root in ratio; the root itself where none is within twice."""
    root = max(1, math.isqrt(num_steps))
    near = [n for n in range(max(1, root // 2), 2 * root + 1) if num_steps and num_steps % n == 0]
    return min(near, key=lambda n: abs(math.log(n * n / num_steps)), default=root)


def padded_time(tree: PyTree[Array], multiple: int) -> PyTree[Array]:
    """Zeros appended to the time axis until it is a multiple."""

    def pad(a):
        extra = -a.shape[0] % multiple
        return jnp.pad(a, [(0, extra)] + [(0, 0)] * (a.ndim - 1)) if extra else a

    return jax.tree.map(pad, tree)


def padded_steps(steps: Steps, multiple: int) -> Steps:
    """Invalid steps appended until their number is a multiple."""
    num_steps, batch_size = steps.xs.shape[:2]
    if num_steps % multiple and steps.valid is None:
        steps = steps._replace(valid=jnp.ones((num_steps, batch_size), bool))
    return padded_time(steps, multiple)


def split_time(tree: PyTree[Array], length: int) -> PyTree[Array]:
    """`[T ...]` to `[T/length length ...]`."""
    return jax.tree.map(lambda a: a.reshape(a.shape[0] // length, length, *a.shape[1:]), tree)


def join_time(tree: PyTree[Array]) -> PyTree[Array]:
    """`[segments length ...]` to `[T ...]`."""
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), tree)
