"""Stacked and bidirectional recurrences as a Flax module."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, PyTree

from seqjax import noise
from seqjax.errors import UsageError, require
from seqjax.recurrent import sweep, unroll
from seqjax.recurrent.bptt import Residuals
from seqjax.types import Cell, Key, Params

Carries = Sequence[Sequence[PyTree[Array]]]  # [layer][direction], the forward direction first
LOOPED = 3  # layers above the first: so many are a loop, compiled once; a step then takes 1 to 5 % longer


class RNN(nn.Module):
    """A stack of recurrent layers; each layer reads the outputs of the one below, both directions side by side.

        model = RNN(lstm, 128, num_layers=2, bidirectional=True)
        outputs = model.apply(variables, inputs, seq_lengths=lengths)

    cell: `hidden_size -> Cell`, such as `lstm`, or `functools.partial(lstm, projection_size=64)`.
    dropout: rate at which outputs of all layers but the last are dropped, when a call is given a `key`.
    variational: one mask for all steps of an example, as of Gal & Ghahramani (2016) between layers, instead of one a
        step. States are never dropped within a layer.
    residuals: what `sweep` keeps for the backward pass; `None` to use `unroll`, as for forward-mode derivatives. Cells
        without a hand-written rule are unrolled anyway.
    time_major, return_carry, reverse, keep_order: defaults of the arguments of the same names.

    Called as `flax.linen.RNN` is, with batches `[B T D]`; carries differ: here `carry[layer][direction]`, and of
    an LSTM `(h, c)`.

    Params: for each layer and direction the cell's own, under `layer_0_forward`, `layer_0_backward`, ...

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import RNN, lstm
        >>> model, xs = RNN(lstm, 5, num_layers=2, bidirectional=True), jnp.ones((2, 4, 3))
        >>> params = jax.jit(model.init)(jax.random.key(0), xs)
        >>> print(jax.jit(model.apply)(params, xs, seq_lengths=jnp.asarray([4, 2])).shape)
        (2, 4, 10)
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    variational: bool = False
    residuals: Residuals | None = "full"
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "..."],
        *,
        initial_carry: Carries | None = None,
        seq_lengths: Int[Array, " B"] | None = None,
        resets: Bool[Array, "..."] | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        key: Key | None = None,
        index: Int[Array, " B"] | None = None,
    ) -> Any:
        """Outputs `[B T H]` (`[B T 2H]` in both directions), or `(carries, outputs)` with `return_carry`.

        initial_carry: `[layer][direction]`, as returned; default the cells' own.
        seq_lengths, resets: as `lengths` and `resets` of `unroll`; outputs past the length are zeros.
        reverse: runs from the last valid step to the first and puts outputs out in that order, padding last;
            with `keep_order` in the order of the inputs.
        key, index: for dropout in training, the step's key and the global index of each example: an example's mask is
            the same however the batch is shared out. Without a key nothing is dropped.

        Raises `UsageError` as `unroll`, on a carry that lacks a layer or direction, on a key without an index, on no
        layers, on a rate of dropout outside [0, 1), and for a cell without `init`.
        """
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        if reverse and self.bidirectional:
            raise UsageError("reverse: found True, expected False with bidirectional=True, which runs both ways")
        if key is not None and self.dropout and index is None:
            raise UsageError("index: found None, expected the global index [B] of each example, with key and dropout")
        require(self.num_layers >= 1, "num_layers", self.num_layers, "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "a rate from 0 to below 1")
        cell = self.cell(self.hidden_size)
        if cell.init is None:
            raise UsageError("cell: found one with init=None, expected `init(key, input_size) -> params`")
        directions = ("forward", "backward") if self.bidirectional else ("forward",)
        require_carries(initial_carry, self.num_layers, len(directions))

        options = {"lengths": seq_lengths, "resets": resets, "time_major": time_major}

        def weights_of(number: int, input_size: int) -> tuple[Params, ...]:
            return tuple(self.param(f"layer_{number}_{way}", cell.init, input_size) for way in directions)

        def layer(xs: Array, weights: tuple[Params, ...], begin: Any) -> tuple[Array, tuple]:
            ends, outputs = [], []
            for k, direction in enumerate(directions):
                there = options | {"reverse": reverse or direction == "backward"}
                start = None if begin is None else begin[k]
                if self.residuals is None or cell.sweep is None:
                    end, ys = unroll(cell, weights[k], xs, start, **there)
                else:
                    end, ys = sweep(cell, weights[k], xs, start, residuals=self.residuals, **there)
                ends.append(end)
                outputs.append(ys)
            return (jnp.concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]), tuple(ends)

        def upper_layer(xs: Array, now: tuple[int | Array, tuple[Params, ...], Any]) -> tuple[Array, tuple]:
            if self.dropout and key is not None:
                of_layer = jax.random.fold_in(key, now[0])
                xs = xs * dropout_masks(of_layer, index, xs, self.dropout, self.variational, time_major)
            return layer(xs, *now[1:])

        begins = [None] * self.num_layers if initial_carry is None else initial_carry
        xs, ends = layer(inputs, weights_of(0, inputs.shape[-1]), begins[0])
        carries = [ends]
        upper = [(n, weights_of(n, xs.shape[-1]), begins[n]) for n in range(1, self.num_layers)]
        if len(upper) >= LOOPED and are_alike(upper, xs.dtype):
            # one program for all of them, however many
            xs, ends = lax.scan(upper_layer, xs, jax.tree.map(lambda *parts: jnp.stack(parts), *upper))
            carries += [jax.tree.map(lambda leaf, n=n: leaf[n], ends) for n in range(len(upper))]
        else:
            for now in upper:
                xs, ends = upper_layer(xs, now)
                carries.append(ends)

        if reverse and not (self.keep_order if keep_order is None else keep_order):
            xs = reversed_within(xs, seq_lengths, time_major=time_major)
        return (tuple(carries), xs) if (self.return_carry if return_carry is None else return_carry) else xs


def require_carries(carries: Carries | None, num_layers: int, num_directions: int) -> None:
    if carries is None:
        return
    # an LSTM's carry is a tuple too
    layers = carries if type(carries) in (tuple, list) else ()
    found = [len(layer) if isinstance(layer, tuple | list) else 0 for layer in layers]
    if found != [num_directions] * num_layers:
        raise UsageError(
            f"initial_carry: found {len(found)} layers with {found} directions, "
            f"expected carry[layer][direction] with {num_layers} layers of {num_directions}"
        )


def are_alike(layers: Sequence[tuple[int, PyTree[Array], PyTree[Array]]], dtype: DTypeLike) -> bool:
    """Whether weights and carries of all layers have the same shapes, and everything has this dtype."""
    first, *others = [
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (weights, begin)) for _, weights, begin in layers
    ]
    leaves = jax.tree.leaves([(weights, begin) for _, weights, begin in layers])
    return all(other == first for other in others) and {leaf.dtype for leaf in leaves} == {jnp.dtype(dtype)}


def dropout_masks(
    key: Key, index: Int[Array, " B"], xs: Float[Array, "..."], rate: float, constant: bool, time_major: bool
) -> Float[Array, "..."]:
    """0 or `1 / (1 - rate)` for each value of `xs`, drawn from the example's own key; `constant` over time."""
    shape = (1 if constant else xs.shape[0 if time_major else 1], xs.shape[-1])
    kept = noise.per_example(lambda example_key: jax.random.bernoulli(example_key, 1 - rate, shape), key, index)
    masks = jnp.where(kept, 1 / (1 - rate), 0).astype(xs.dtype)
    return jnp.swapaxes(masks, 0, 1) if time_major else masks


def reversed_within(
    xs: Float[Array, "..."], lengths: Int[Array, " B"] | None, *, time_major: bool = False
) -> Float[Array, "..."]:
    """Each example's valid steps in reverse order, its padding left where it is."""
    if lengths is None:
        return jnp.flip(xs, axis=0 if time_major else 1)
    xs = jnp.swapaxes(xs, 0, 1) if time_major else xs
    steps = jnp.arange(xs.shape[1])[None, :]
    source = jnp.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    xs = jnp.take_along_axis(xs, source[:, :, None], axis=1)
    return jnp.swapaxes(xs, 0, 1) if time_major else xs
