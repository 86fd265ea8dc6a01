"""What a person sees of a run: a bar on a terminal, plain lines elsewhere, and the table at the end."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from seqjax.receipt import table

# called after each chapter with the steps done, their number in all, and the newest values to show
Reporter = Callable[[int, int, dict[str, float]], None]


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def progress(title: str, start: int) -> Iterator[Reporter]:
    """A reporter of one phase that starts at step `start`."""
    if sys.stdout.isatty():
        with _bar(title, start) as reporter:
            yield reporter
    else:
        yield _lines(title, start)


@contextmanager
def silent(title: str, start: int) -> Iterator[Reporter]:
    """A reporter that shows nothing."""
    yield lambda done, total, values: None


def _shown(values: dict[str, float]) -> str:
    first = [name for name in ("loss", "validation") if name in values]
    # a term that is the whole loss is not said twice
    order = first + [name for name in values if name not in first and values[name] != values.get("loss")]
    return "  ".join(f"{name} {values[name]:.5g}" for name in order)


def _lines(title: str, start: int) -> Reporter:
    begin = last = time.monotonic()

    def report(done: int, total: int, values: dict[str, float]) -> None:
        nonlocal last
        now = time.monotonic()
        # a line every few seconds and one at the end: a log stays short however many chapters there are
        if done < total and now - last < 5.0:
            return
        last = now
        rate = (done - start) / max(now - begin, 1e-9)
        left = (total - done) / max(rate, 1e-9)
        say(f"{title}  step {done}/{total}  {rate:.0f} steps/s  {left:.0f} s left  {_shown(values)}")

    return report


@contextmanager
def _bar(title: str, start: int) -> Iterator[Reporter]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    whole = Column(no_wrap=True, overflow="ignore")
    columns = (
        TextColumn("{task.description}", table_column=whole),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=whole),
        TextColumn("{task.fields[rate]}", table_column=whole),
        TimeRemainingColumn(compact=True, table_column=whole),
        # the first to give way on a narrow terminal
        TextColumn("{task.fields[shown]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    begin = time.monotonic()
    with Progress(*columns, expand=True) as bar:
        task = bar.add_task(title, total=None, completed=start, rate="compiling", shown="")

        def report(done: int, total: int, values: dict[str, float]) -> None:
            rate = (done - start) / max(time.monotonic() - begin, 1e-9)
            bar.update(task, total=total, completed=done, rate=f"{rate:.0f} steps/s", shown=_shown(values))

        yield report


def show_table(metrics: dict[str, dict[str, Any]], seeds: int) -> None:
    """The metrics `row/measure` as a table, with 95 % intervals over training seeds."""
    from rich.console import Console
    from rich.table import Table

    measures, rows = table(metrics)
    drawn = Table("", *measures, title=f"mean ± 95 % interval over {seeds} training seed(s)", title_justify="left")
    for column in drawn.columns:
        column.overflow = "fold"  # on a narrow terminal names and numbers go on in the next line, whole
    for name, cells in rows:
        drawn.add_row(name, *cells)
    width = max(80, max(len(m) for m in measures) * len(measures) + 60)
    console = Console() if sys.stdout.isatty() else Console(width=width)
    console.print(drawn)
