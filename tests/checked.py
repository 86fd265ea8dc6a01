"""Run-time checks of types and shapes, made once for each signature.

A function within a function is defined anew at each call of the outer one, and making its check takes longer than the
check itself.
"""

from collections.abc import Callable
from typing import Any

from beartype import beartype

made: dict[Any, Callable] = {}


def once(function: Callable) -> Callable:
    """`beartype(function)` of the stand-ins that jaxtyping makes of functions, which are a signature and no more."""
    code = function.__code__
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    key = (function.__module__, function.__qualname__, code.co_varnames, counts, *function.__annotations__.items())
    if key not in made:
        made[key] = beartype(function)
    return made[key]
