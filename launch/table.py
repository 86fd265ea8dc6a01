"""Tables of plain text, one line a row."""

from collections.abc import Sequence
from typing import Any


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A plain table, one line a row, whatever the cells hold."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="")
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    for row in cells:
        table.add_row(*row)
    # wide enough for any path: a line that wraps cannot be searched; nothing in a name is markup
    width = 1 + sum(max(map(len, column)) + 2 for column in zip(columns, *cells, strict=True))
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def printable(text: str) -> str:
    """The text itself, or quoted with escapes where it holds what would break the line or drive the terminal."""
    return text if text.isprintable() else ascii(text)
