"""Metrics as tables: means with 95 % intervals, and the value of each seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from results.report.markup import Markup, element, left_out
from results.report.table import Cell, table
from seqjax.receipt import interval_text

MOST_ROWS, MOST_COLUMNS, MOST_SEEDS = 60, 24, 20
Measures = Mapping[str, Mapping[str, Any]]
"""By name, `row/measure`."""


def _cell(metrics: Measures, name: str) -> Cell:
    return Cell(interval_text(metrics[name]), metrics[name]["mean"]) if name in metrics else Cell("")


def intervals(metrics: Measures, *, of: str) -> Markup:
    """Models by measures, each cell the mean over seeds with its interval."""
    pairs = [name.split("/", 1) for name in metrics]
    models, measures = (list(dict.fromkeys(column)) for column in zip(*pairs, strict=True))
    rows = [
        [model, *(_cell(metrics, f"{model}/{measure}") for measure in measures[:MOST_COLUMNS])]
        for model in models[:MOST_ROWS]
    ]
    seeds = max(measure["n"] for measure in metrics.values())
    kind = f"mean ± 95 % interval over {seeds} training seeds" if seeds > 1 else "one training seed, so no interval"
    content = table(f"{of}: {kind}", ["model", *measures[:MOST_COLUMNS]], rows)
    more = left_out(len(models) - MOST_ROWS, "models") + left_out(len(measures) - MOST_COLUMNS, "measures")
    return Markup(content + more)


def values_of_seeds(metrics: Measures, seeds: Sequence[int]) -> Markup:
    """A line for each metric, with the value of each seed that its interval is made of."""
    columns = ["metric", *(f"seed {seed}" for seed in seeds[:MOST_SEEDS])]
    rows = [
        [name, *(Cell(f"{value:.6g}", value) for value in _filled(measure["per_seed"], len(columns) - 1))]
        for name, measure in list(metrics.items())[: 2 * MOST_ROWS]
    ]
    content = table("Values of the seeds", columns, rows)
    more = left_out(len(metrics) - 2 * MOST_ROWS, "metrics") + left_out(len(seeds) - MOST_SEEDS, "seeds")
    return Markup(content + more)


def _filled(values: Sequence[float], count: int) -> list[float]:
    """So many values; of a seed that has none, NaN."""
    return [*values[:count], *[float("nan")] * (count - len(values))]


def beside(labels: Sequence[str], found: Sequence[Measures]) -> Markup:
    """Metrics that two runs or more have, a column for each run that has one of them; empty where there is none."""
    names = dict.fromkeys(name for metrics in found for name in metrics)
    shared = [name for name in names if sum(name in metrics for metrics in found) > 1]
    if not shared:
        return Markup()
    alone = [not any(name in metrics for name in shared) for metrics in found]
    columns = [metrics for metrics, is_alone in zip(found, alone, strict=True) if not is_alone]
    head = ["metric", *(label for label, is_alone in zip(labels, alone, strict=True) if not is_alone)]
    rows = [[name, *(_cell(metrics, name) for metrics in columns)] for name in shared[:MOST_ROWS]]
    content = table("Metrics of the runs: mean ± 95 % interval over training seeds", head, rows)
    others = ", ".join(label for label, is_alone in zip(labels, alone, strict=True) if is_alone)
    note = element("p", f"No metric in common with another run: {others}.", class_="note") if others else Markup()
    return Markup(content + left_out(len(shared) - MOST_ROWS, "metrics") + note)
