"""What a computation costs, counted instead of timed: the same number on every machine."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from seqjax.errors import UsageError
from seqjax.types import Params


def num_parameters(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """Multiplications with an addition in all matrix products of `function(*args)`, of which nothing is computed.

    Products in a scan count as often as it runs, of branches the dearest one counts; what is done value by value does
    not. Raises UsageError for products in a `while_loop`, which may run any number of times.
    """
    return _in_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def _in_jaxpr(jaxpr: Any) -> int:
    return sum(_in_equation(equation) for equation in jaxpr.eqns)


def _in_equation(equation: Any) -> int:
    match equation.primitive.name:
        case "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            return equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        case "scan":
            return equation.params["length"] * _in_jaxpr(equation.params["jaxpr"].jaxpr)
        case "cond":
            return max(map(_in_jaxpr, _jaxprs(equation.params)))
        case "while":
            if any(map(_in_jaxpr, _jaxprs(equation.params))):
                raise UsageError(
                    "multiply_adds: found products in a while_loop, expected scans, whose length is known."
                )
            return 0
    return sum(map(_in_jaxpr, _jaxprs(equation.params)))


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """The programs that an equation runs, whatever it calls them."""
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(one, "jaxpr", one)
            if hasattr(inner, "eqns"):
                yield inner
