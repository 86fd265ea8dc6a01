"""Learning curves of `metrics.jsonl`: the mean over seeds, and a band from the least to the greatest."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.report.chart import Line, Point, chart
from results.report.markup import Markup, element, left_out

MOST_CHARTS = 18
LARGEST = 1e100  # what has grown past it has diverged, and would leave nothing else to be seen
BAND = "mean with a band from the least to the greatest of the seeds"


def curves_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """The points of each metric, in the order of the steps; the phases of a run follow each other.

    Values that are missing or not finite are left out, and so is a metric that has no others.
    """
    starts = _starts(rows)
    found: dict[str, list[Point]] = {}
    for row in rows:
        step = starts[row["phase"]] + row["step"]
        for name, values in row.items():
            if isinstance(values, list) and name != "skipped":
                numbers = [float(value) for value in values if _is_drawable(value)]
                if numbers and 0 <= step < LARGEST:
                    mean = math.fsum(numbers) / len(numbers)
                    found.setdefault(name, []).append(Point(float(step), mean, min(numbers), max(numbers)))
    return {name: sorted(points) for name, points in found.items()}


def _starts(rows: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """The steps before each phase."""
    ends: dict[int, int] = {}
    for row in rows:
        ends[row["phase"]] = max(ends.get(row["phase"], 0), row["step"])
    starts, before = {}, 0
    for phase in sorted(ends):
        starts[phase], before = before, before + ends[phase]
    return starts


def _is_drawable(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < LARGEST


def groups_of(curves: Mapping[str, Sequence[Point]]) -> list[list[str]]:
    """The metrics that belong in one chart: loss beside validation, and the norms of the gradients.

    A term that is the whole loss is left out.
    """
    norms = [name for name in curves if name.endswith("gradient_norm")]
    first = [name for name in ("loss", "validation") if name in curves]
    terms = [name for name in curves if name not in (*first, *norms) and curves[name] != curves.get("loss")]
    return [group for group in (first, *([name] for name in terms), norms) if group]


def curves_of_run(curves: Mapping[str, Sequence[Point]]) -> Markup:
    """The charts of one run."""
    groups = groups_of(curves)
    charts = [
        chart(
            "gradient norm" if group[0].endswith("gradient_norm") else " and ".join(map(_spoken, group)),
            [Line(_spoken(name), curves[name], colour) for colour, name in enumerate(group[:MOST_CHARTS])],
            band=BAND,
        )
        for group in groups[:MOST_CHARTS]
    ]
    return Markup(element("div", *charts, class_="figures") + left_out(len(groups) - MOST_CHARTS, "curves"))


def curves_of_runs(runs: Mapping[str, Mapping[str, Sequence[Point]]]) -> Markup:
    """A chart for each metric that two runs or more have, with a line for each of them; empty where there is none."""
    names = dict.fromkeys(name for curves in runs.values() for name in curves)
    shared = [name for name in names if sum(name in curves for curves in runs.values()) > 1]
    if not shared:
        return Markup()
    charts = [
        chart(
            _spoken(name),
            [Line(run, curves[name], colour) for colour, (run, curves) in enumerate(runs.items()) if name in curves],
            band=BAND,
        )
        for name in shared[:MOST_CHARTS]
    ]
    return Markup(element("div", *charts, class_="figures") + left_out(len(shared) - MOST_CHARTS, "curves"))


def _spoken(name: str) -> str:
    return name.replace("_", " ")
