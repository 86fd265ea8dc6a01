"""A function of whole sequences as a scan body, `(carry, x) -> (carry, y)`, for values that come one at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax import Array
from jaxtyping import Float, PyTree, Shaped

from seqjax.errors import UsageError
from seqjax.models.recurrent import RNN
from seqjax.types import Params


class Streaming(NamedTuple):
    """start `(params, x [B ...]) -> carry` before anything was read; `x` says the number of rows alone.

    step `(params, carry, x [B ...]) -> (carry, y [B ...])`. The carry is `{"layer_0": that of the cell, ...}`.
    """

    start: Callable[[Params, Array], PyTree[Array]]
    step: Callable[[Params, PyTree[Array], Array], tuple[PyTree[Array], PyTree[Array]]]


def streaming(function: Callable[[Params, Array], Float[Array, "B T ..."]]) -> Streaming:
    """`function(params, xs [B T ...]) -> ys [B T ...]` step by step: `step` scanned from `start` says the same.

    function: applies one `models.RNN`, alone or as part of a model such as `SequenceModel`, and beside it treats each
        step apart. That it does so cannot be seen from outside: one that shifts its inputs, or normalises over time,
        streams to other values. Compare the two on a sequence, as the export of a run does.

    Raises `UsageError`, when called, unless the function has one recurrence, which runs forward.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from seqjax import RNN, gru, streaming
        >>> model = RNN(gru, 4)
        >>> xs = jnp.ones((2, 5, 3))
        >>> params = jax.jit(model.init)(jax.random.key(0), xs)
        >>> start, step = map(jax.jit, streaming(model.apply))
        >>> carry = start(params, xs[:, 0])
        >>> for t in range(5):
        ...     carry, y = step(params, carry, xs[:, t])
        >>> bool(jnp.allclose(y, model.apply(params, xs)[:, -1], atol=1e-6))
        True
    """

    def start(params: Params, x: Shaped[Array, "B ..."]) -> PyTree[Array]:
        return _one_step(function, params, None, x)[0]

    def step(params: Params, carry: PyTree[Array], x: Shaped[Array, "B ..."]) -> tuple[PyTree[Array], PyTree[Array]]:
        return _one_step(function, params, carry, x)[1:]

    return Streaming(start, step)


def _one_step(
    function: Callable[..., Any], params: Params, carry: PyTree[Array] | None, x: Array
) -> tuple[Any, Any, Any]:
    """The carry before the step, the carry after it, and what the function says."""
    before, after = [], []

    def with_carry(run: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
        module = context.module
        if not isinstance(module, RNN) or context.method_name != "__call__":
            return run(*args, **kwargs)
        backward = module.reverse or kwargs.get("reverse")
        if module.bidirectional or backward or module.time_major or kwargs.get("time_major"):
            raise UsageError("streaming: found a recurrence that runs backward or has time first, expected one forward")
        given = kwargs.get("initial_carry") if carry is None else _of_layers(carry)
        begin = _fresh(module, args[0].shape[0]) if given is None else given
        carries, outputs = run(*args, **(kwargs | {"initial_carry": begin, "return_carry": True}))
        before.append(_by_layer(begin))
        after.append(_by_layer(carries))
        asked = kwargs.get("return_carry")
        return (carries, outputs) if (module.return_carry if asked is None else asked) else outputs

    # a function that was compiled before would not be run again, and one compiled here would keep what is only here
    with jax.disable_jit(), nn.intercept_methods(with_carry):
        outputs = function(params, x[:, None])
    if len(after) != 1:
        raise UsageError(f"streaming: found {len(after)} recurrences in the function, expected one `models.RNN`")
    return before[0], after[0], jax.tree.map(lambda y: y[:, 0], outputs)


def _by_layer(carries: Any) -> dict[str, PyTree[Array]]:
    return {f"layer_{layer}": own for layer, (own,) in enumerate(carries)}


def _of_layers(carry: Any) -> tuple[tuple[PyTree[Array]], ...]:
    # by number: JAX sorts the names of a dict, layer_10 before layer_2
    return tuple((carry[f"layer_{layer}"],) for layer in range(len(carry)))


def _fresh(module: RNN, batch_size: Any) -> tuple[tuple[PyTree[Array]], ...]:
    cell = module.cell(module.hidden_size)
    if cell.initial_carry is None:
        raise UsageError("streaming: found a cell with initial_carry=None, expected one that says how it begins")
    return tuple(
        (cell.initial_carry(module.get_variable("params", f"layer_{layer}_forward"), batch_size),)
        for layer in range(module.num_layers)
    )
