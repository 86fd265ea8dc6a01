"""Tables whose columns a reader can sort."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from results.report.markup import Markup, element


class Cell(NamedTuple):
    """What a cell shows, and the number it is sorted by where that is not its text."""

    content: str
    value: float | None = None


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> Markup:
    """A table that scrolls in its own box. The first cell of a row is its name."""
    header = (
        element("th", element("button", column, type="button"), scope="col", aria_sort="none") for column in columns
    )
    lines = [element("tr", *(_cell(part, is_name=place == 0) for place, part in enumerate(row))) for row in rows]
    content = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *header)),
        element("tbody", *lines),
    )
    return element("div", content, class_="scroll", role="region", tabindex=0, aria_label=caption)


def _cell(part: str | Cell, *, is_name: bool) -> Markup:
    cell = part if isinstance(part, Cell) else Cell(part)
    # a number that is none is sorted with the texts, after all numbers
    sorted_by = None if cell.value is None or math.isnan(cell.value) else repr(float(cell.value))
    attributes = {
        "data_value": sorted_by and sorted_by.replace("inf", "Infinity"),
        "class_": None if cell.value is None else "number",
    }
    return (
        element("th", cell.content, scope="row", **attributes) if is_name else element("td", cell.content, **attributes)
    )
