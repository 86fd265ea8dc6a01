"""Back-propagation through time written by hand.

Reverse-mode differentiation of a scan adds to every weight gradient at every step. Here the backward loop carries the
gradient of the carry alone and emits the gradients of the pre-activations; each weight gradient is then one matrix
product over all steps and examples: the same sum in another order.

Everything here is time-major; layout, lengths and default carries are the business of `sweep`. The backward pass is
made of differentiable operations, so reverse mode applies to it again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree

from seqjax.recurrent.reverse_only import reverse_only
from seqjax.recurrent.steps import Steps, join_time, padded_steps, padded_time, segment_length, select, split_time
from seqjax.recurrent.weights import require_weights
from seqjax.types import Params

Residuals = Literal["full", "lean", "segments"]


class Rule(NamedTuple):
    """One cell's step forward and backward, as pure functions. `...` stands for `B` in a loop and for `T B` outside.

    weight_shapes: `input_size -> {name: shape}`; names that begin with `initial_` are a learned carry, not read here.
    fuse: `(params, rows) -> fused`, the weights in the form that the loops want, made once for so many steps of
        examples.
    project: `(fused, xs [... D]) -> xs`, what of the inputs' part is done for all steps at once, before the loop.
    activate: `(fused, carry [... H], projected x) -> gates`, all else that takes a product with a kernel.
    advance: `(fused, carry, gates) -> (carry, y)`.
    keep: `gates -> gates`, those of them that the way back reads.
    retreat: `(fused, carry_prev, kept gates, d_carry, d_y) -> (d_carry_prev, deltas)`, the derivative of one step; the
        deltas are the gradients of the pre-activations.
    products: `(params, carries_prev, xs, kept gates, deltas) -> (d_params, d_xs)`, for all steps at once.
    """

    weight_shapes: Callable[[int], dict[str, tuple[int, ...]]]
    fuse: Callable[[Params, int], PyTree[Array]]
    project: Callable[[PyTree[Array], Array], Array]
    activate: Callable[..., PyTree[Array]]
    advance: Callable[..., tuple[PyTree[Array], Array]]
    keep: Callable[[PyTree[Array]], PyTree[Array]]
    retreat: Callable[..., tuple[PyTree[Array], PyTree[Array]]]
    products: Callable[..., tuple[Params, Array]]


class Plan(NamedTuple):
    """What a sweep is compiled for."""

    rule: Rule
    residuals: Residuals
    reverse: bool


def hand_written(rule: Rule) -> Callable[..., tuple[PyTree[Array], Array]]:
    """The `sweep` of a cell: `(params, carry, fresh, steps, *, reverse, residuals) -> (carry, ys [T B H])`.

    fresh: the carry that a reset starts from; `None` without resets.
    """

    def sweep(params, carry, fresh, steps: Steps, *, reverse: bool, residuals: Residuals):
        require_weights(params, rule.weight_shapes(steps.xs.shape[-1]))
        weights = {name: value for name, value in params.items() if not name.startswith("initial_")}
        weights, carry, fresh, xs = reverse_only((weights, carry, fresh, steps.xs))
        return swept(Plan(rule, residuals, reverse), weights, carry, fresh, steps._replace(xs=xs))

    return sweep


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def swept(plan: Plan, params, carry, fresh, steps: Steps):
    carry, (ys, _) = forward_scan(plan, fuse(plan, params, steps), carry, fresh, steps, lambda carry, gates: None)
    return carry, ys


def forward(plan: Plan, params, carry, fresh, steps):
    params, carry, fresh, steps = jax.tree.map(lambda p: p.value, (params, carry, fresh, steps), is_leaf=is_primal)
    fused = fuse(plan, params, steps)
    if plan.residuals == "full":
        carry, (ys, kept) = forward_scan(plan, fused, carry, fresh, steps, lambda carry, gates: (carry, gates))
    elif plan.residuals == "lean":
        carry, (ys, kept) = forward_scan(plan, fused, carry, fresh, steps, lambda carry, gates: carry)
    else:
        carry, ys, kept = segmented_forward(plan, fused, carry, fresh, steps)
    return (carry, ys), (params, fresh, steps, kept)


def backward(plan: Plan, residuals, cotangents):
    params, fresh, steps, kept = residuals
    d_carry, d_ys = cotangents
    d_carry = jax.tree.map(lambda d: jnp.zeros(d.shape, d.dtype) if isinstance(d, SymbolicZero) else d, d_carry)
    if plan.residuals == "full":
        fused = fuse(plan, params, steps)
        d_carry, d_fresh, deltas = backward_scan(plan, fused, *kept, steps, d_carry, zeros_like(fresh), d_ys)
        carries, gates = kept
        d_params, d_xs = plan.rule.products(params, carries, steps.xs, gates, deltas)
    else:
        d_params, d_carry, d_fresh, d_xs = segmented_backward(plan, params, fresh, steps, kept, d_carry, d_ys)
    return d_params, d_carry, d_fresh, Steps(d_xs.astype(steps.xs.dtype), None, None)


# symbolic zeros: with a loss on the last carry alone no [T B H] of zeros is made
swept.defvjp(forward, backward, symbolic_zeros=True)


def fuse(plan: Plan, params: Params, steps: Steps) -> PyTree[Array]:
    num_steps, batch_size = steps.xs.shape[:2]
    return plan.rule.fuse(params, num_steps * batch_size)


def is_primal(node: Any) -> bool:
    return hasattr(node, "perturbed")


def zeros_like(tree: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(jnp.zeros_like, tree)


def forward_scan(plan, fused, carry, fresh, steps: Steps, keep):
    """Returns the last carry and, per step, `(y, keep(carry before the step, kept gates))`."""

    def body(carry, now: Steps):
        if now.resets is not None:
            carry = select(now.resets, fresh, carry)
        gates = plan.rule.activate(fused, carry, now.xs)
        advanced, y = plan.rule.advance(fused, carry, gates)
        if now.valid is not None:
            advanced, y = select(now.valid, (advanced, y), (carry, jnp.zeros_like(y)))
        return advanced, (y, keep(carry, plan.rule.keep(gates)))

    projected = steps._replace(xs=plan.rule.project(fused, steps.xs))
    return lax.scan(body, carry, projected, reverse=plan.reverse)


def backward_scan(plan, fused, carries, gates, steps: Steps, d_carry, d_fresh, d_ys):
    """Returns the gradients to the first carry and to the fresh one, and the deltas of every step."""
    silent = isinstance(d_ys, SymbolicZero)

    def body(gradients, now):
        d_carry, d_fresh = gradients
        carry_prev, gates, d_y, (_, valid, resets) = now
        if silent:
            d_y = jnp.zeros(d_ys.shape[1:], d_ys.dtype)
        d_out = d_carry
        if valid is not None:
            d_out, d_y = select(valid, (d_carry, d_y), zeros_like((d_carry, d_y)))
        d_prev, deltas = plan.rule.retreat(fused, carry_prev, gates, d_out, d_y)
        if valid is not None:
            d_prev = select(valid, d_prev, d_carry)
        if resets is not None:
            none = zeros_like(d_prev)
            d_fresh = jax.tree.map(jnp.add, d_fresh, select(resets, d_prev, none))
            d_prev = select(resets, none, d_prev)
        return (d_prev, d_fresh), deltas

    masks = steps._replace(xs=None)
    over = (carries, gates, None if silent else d_ys, masks)
    (d_carry, d_fresh), deltas = lax.scan(body, (d_carry, d_fresh), over, reverse=not plan.reverse)
    return d_carry, d_fresh, deltas


def segmented_forward(plan, fused, carry, fresh, steps: Steps):
    """Returns the last carry, the outputs, and the carry at the start of each segment."""
    num_steps = steps.xs.shape[0]
    length = segment_length(num_steps)

    def segment(carry, steps):
        end, (ys, _) = forward_scan(plan, fused, carry, fresh, steps, lambda carry, gates: None)
        return end, (ys, carry)

    segments = split_time(padded_steps(steps, length), length)
    carry, (ys, starts) = lax.scan(segment, carry, segments, reverse=plan.reverse)
    return carry, join_time(ys)[:num_steps], starts


def segmented_backward(plan, params, fresh, steps: Steps, kept, d_carry, d_ys):
    """Goes back through one segment at a time, so that the gates and deltas of one only exist at once.

    kept: the carry before every step, from which one product makes the gates of a segment (`lean`), or the carry before
        each segment, which is then run again (`segments`).
    """
    fused = fuse(plan, params, steps)
    num_steps = steps.xs.shape[0]
    length = segment_length(num_steps)
    silent = isinstance(d_ys, SymbolicZero)
    lean = plan.residuals == "lean"

    def recalled(kept, steps):
        if lean:
            return kept, plan.rule.keep(plan.rule.activate(fused, kept, plan.rule.project(fused, steps.xs)))
        _, (_, (carries, gates)) = forward_scan(plan, fused, kept, fresh, steps, lambda carry, gates: (carry, gates))
        return carries, gates

    def segment(gradients, now):
        d_params, d_carry, d_fresh = gradients
        kept, steps, d_ys_here = now
        carries, gates = recalled(kept, steps)
        d_ys_here = d_ys if silent else d_ys_here
        d_carry, d_fresh, deltas = backward_scan(plan, fused, carries, gates, steps, d_carry, d_fresh, d_ys_here)
        d_params_here, d_xs = plan.rule.products(params, carries, steps.xs, gates, deltas)
        return (jax.tree.map(jnp.add, d_params, d_params_here), d_carry, d_fresh), d_xs

    def segments(tree):
        return split_time(padded_time(tree, length), length)

    over = (
        segments(kept) if lean else kept,
        split_time(padded_steps(steps, length), length),
        None if silent else segments(d_ys),
    )
    zero = (zeros_like(params), d_carry, zeros_like(fresh))
    (d_params, d_carry, d_fresh), d_xs = lax.scan(segment, zero, over, reverse=not plan.reverse)
    return d_params, d_carry, d_fresh, join_time(d_xs)[:num_steps]
