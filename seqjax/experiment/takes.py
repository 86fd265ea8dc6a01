"""What a function of an experiment takes, where the test split does not say it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from seqjax.types import Split

Function = TypeVar("Function", bound=Callable[..., Any])


class Taken(NamedTuple):
    """fields: examples of arguments by name. axes: of those that are no rows, as `interop.exported` has them."""

    fields: dict[str, Any]
    axes: dict[str, str]


def takes(examples: Split, axes: Mapping[str, str] | None = None) -> Callable[[Function], Function]:
    """Says of a function `(params, ...)` that its arguments look as the fields of `examples` with their names do.

    Data are scaled, framed or made into features before they train; what importers hold are rows as they come. An
    export lowers the function for those, optional arguments with them. Other fields than its arguments do not matter.

    axes: of an argument that is no rows, such as `{"x": "T + 15, ..."}` for one series of 16 steps or more.
    """

    def told(function: Function) -> Function:
        function.takes = Taken(examples.fields, dict(axes or {}))
        return function

    return told
