"""Methods side by side: the table of a run as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seqjax import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(metrics: Mapping[str, dict[str, Any]], columns: Sequence[str]) -> Figure:
    """A panel for each column of the table, with a bar for each row that has it, and its interval over the seeds.

    metrics: summarised, `row/column` with `mean` and `ci95`. Columns that no row has are left out.
    """
    found = {
        column: {name.removesuffix(f"/{column}"): one for name, one in metrics.items() if name.endswith(f"/{column}")}
        for column in columns
    }
    found = {column: rows for column, rows in found.items() if rows}
    names = list(dict.fromkeys(name for rows in found.values() for name in rows))
    figure, (axes,) = plots.subplots((2.5 * len(found) + 1.2, 0.32 * len(names) + 1.0), 1, len(found), sharey=True)
    for (column, rows), axis in zip(found.items(), axes, strict=True):
        places = [names.index(name) for name in rows]
        halves = [one["ci95"] or 0.0 for one in rows.values()]
        axis.barh(places, [one["mean"] for one in rows.values()], xerr=halves, color="C0", alpha=0.8, height=0.7)
        axis.set_title(column.replace("_", " "))
    axes[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes[0].invert_yaxis()
    return figure
