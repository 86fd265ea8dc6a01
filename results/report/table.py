"""Tables whose columns a reader can sort."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from results.report.markup import Markup, element

MOST_ON_PAPER = 8  # columns: the cells of a wider table are printed below each other, each with its column's name
LONG = 40  # characters of a text that is to have room for more than a word in a line


class Cell(NamedTuple):
    """What a cell shows, and the number it is sorted by where that is not its text."""

    content: str
    value: float | None = None


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> Markup:
    """A table that scrolls in its own box. The first cell of a row is its name."""
    is_wide = len(columns) > MOST_ON_PAPER
    header = (
        element("th", element("button", column, type="button"), scope="col", aria_sort="none") for column in columns
    )
    lines = [
        element(
            "tr",
            _name(name),
            *(_cell(part, column if is_wide else None) for column, part in zip(columns[1:], others, strict=True)),
        )
        for name, *others in rows
    ]
    content = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *header)),
        element("tbody", *lines),
        class_="wide" if is_wide else None,
    )
    return element("div", content, class_="scroll", role="region", tabindex=0, aria_label=caption)


def _name(part: str | Cell) -> Markup:
    content, attributes = _parts(part)
    return element("th", content, scope="row", **attributes)


def _cell(part: str | Cell, column: str | None) -> Markup:
    content, attributes = _parts(part)
    if attributes["class_"] is None and len(content) > LONG and not isinstance(content, Markup):
        attributes["class_"] = "long"
    return element("td", content, data_column=column, **attributes)


def _parts(part: str | Cell) -> tuple[str, dict[str, str | None]]:
    cell = part if isinstance(part, Cell) else Cell(part)
    # a number that is none is sorted with the texts, after all numbers
    sorted_by = None if cell.value is None or math.isnan(cell.value) else repr(float(cell.value))
    return cell.content, {
        "data_value": sorted_by and sorted_by.replace("inf", "Infinity"),
        "class_": None if cell.value is None else "number",
    }
