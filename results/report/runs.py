"""The report of run directories: what they have in common, where they differ, and each for itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.__main__ import FOLDER as EXPERIMENTS
from experiments.__main__ import entry, names
from results.report.command import repeating
from results.report.configuration import configuration, difference, fields_of, text
from results.report.curves import curves_of, curves_of_run, curves_of_runs
from results.report.markup import Markup, badge, code_block, element, facts, folded, joined
from results.report.measures import beside, intervals, values_of_seeds
from results.report.page import page
from results.report.pictures import affordable, figures, pictures_of
from results.report.run_directory import Run
from results.report.table import Cell, table
from results.table import duration
from seqjax.errors import UsageError, shown
from seqjax.receipt import interval_text

HEALTH = {"ok": "good", "collapsed": "bad", "diverged": "bad"}
ELSEWHERE = ("config", "data_sha256", "experiment", "fork", "metrics", "plan", "earlier", "smoke")


def report_of_runs(runs: Sequence[Run], unreadable: Mapping[str, str], title: str | None = None) -> str:
    """The HTML document of one run or of several beside each other, at least one.

    unreadable: directories of which nothing else is shown, each with the reason.
    """
    curves = [curves_of(run.rows) for run in runs]
    drawn = [
        [path for path in pictures_of(run.path) if not (c and _is_redrawn(path))]
        for run, c in zip(runs, curves, strict=True)
    ]
    chosen = affordable(path for paths in drawn for path in paths)
    parts = []
    if len(runs) > 1:
        links = [element("li", element("a", run.label, href=f"#run-{n}")) for n, run in enumerate(runs, start=1)]
        parts.append(element("nav", element("ul", *links), aria_label="Runs"))
    parts += _unread(unreadable)
    if len(runs) > 1:
        parts += _together(runs, curves)
    for number, (run, own, paths) in enumerate(zip(runs, curves, drawn, strict=True), start=1):
        parts.append(element("section", *_alone(run, own, paths, chosen), id=f"run-{number}"))
    lead = "Metrics are means over training seeds with Student's 95 % interval."
    return page(title or (runs[0].label if len(runs) == 1 else f"{len(runs)} runs"), lead, parts)


def _unread(unreadable: Mapping[str, str]) -> list[Markup]:
    """The reasons alone: what to do about them is for the one who has the directories."""
    if not unreadable:
        return []
    # without the directory, which stands beside it: a long one would leave no room for the reason
    reasons = {label: reason.removeprefix(label).lstrip(": /") for label, reason in unreadable.items()}
    lines = [[label, shown(reason).split("\n")[0]] for label, reason in reasons.items()]
    return [element("h2", "Not shown"), table("Directories that cannot be read", ["run", "reason"], lines)]


def _is_redrawn(path: Path) -> bool:
    return path.stem == "learning_curves"


def _together(runs: Sequence[Run], curves: Sequence[Mapping[str, Any]]) -> list[Markup]:
    labels = [run.label for run in runs]
    parts = [
        element("h2", "Overview"),
        table(
            "Runs",
            ["run", "experiment", "data", "seeds", "health", "time", "device", "first metric"],
            [_line(run, n) for n, run in enumerate(runs, start=1)],
        ),
    ]
    metrics = beside(labels, [run.metrics for run in runs])
    if metrics:
        parts += [element("h2", "Metrics beside each other"), metrics]
    if charts := curves_of_runs(dict(zip(labels, curves, strict=True))):
        parts += [element("h2", "Learning curves beside each other"), charts]
    parts += [
        element("h2", "Differences of configuration"),
        difference(labels, [fields_of(run.description) for run in runs]),
    ]
    return parts


def _line(run: Run, number: int) -> list[str | Cell]:
    receipt, seeds = run.receipt, run.seeds
    name, measure = next(iter(run.metrics.items()), ("", None))
    return [
        element("a", run.label, href=f"#run-{number}"),
        run.description["experiment"],
        receipt["data"] if receipt else "",
        Cell(str(len(seeds)), len(seeds)),
        badge(run.health, HEALTH),
        Cell(duration(receipt["wall_s"]), receipt["wall_s"]) if receipt else "",
        receipt["device"] if receipt else "",
        f"{name} {interval_text(measure)}" if measure else "",
    ]


def _alone(run: Run, curves: Mapping[str, Any], paths: Sequence[Path], chosen: Mapping[Path, int]) -> list[Markup]:
    receipt, name, seeds = run.receipt, run.description["experiment"], run.seeds
    parts = [element("h2", run.label)]
    if name in names():
        parts.append(element("p", entry(EXPERIMENTS / f"{name}.py").claim))
    known = {"experiment": name, "seeds": f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])}
    known["health"] = badge(run.health, HEALTH)
    if receipt:
        known |= {"data": receipt["data"], "time": duration(receipt["wall_s"]), "device": receipt["device"]}
        skipped = receipt.get("skipped")
        if skipped and skipped != [0] * len(seeds):
            known["steps skipped, by seed"] = text(skipped)
    parts += [facts(known), *_command(run)]
    if run.note:
        parts.append(element("p", run.note, class_="note"))
    if run.metrics:
        parts += [element("h3", "Metrics"), intervals(run.metrics, of=run.label)]
        parts.append(folded("Values of the seeds", values_of_seeds(run.metrics, seeds)))
    if curves:
        parts += [element("h3", "Learning curves"), curves_of_run(curves)]
    if paths:
        subject = f"{name} on {receipt['data']}" if receipt else name
        parts += [element("h3", "Figures"), figures(paths, chosen, f"{subject} ({run.label})")]
    parts.append(
        folded("Configuration", configuration(fields_of(run.description), caption=f"Configuration of {run.label}"))
    )
    if receipt:
        parts.append(folded("Receipt", configuration(receipt_facts(receipt), caption=f"Receipt of {run.label}")))
    return parts


def receipt_facts(receipt: Mapping[str, Any]) -> dict[str, str]:
    """What a receipt says besides metrics and configuration; `versions.jax` and the like each for itself."""
    found = {}
    for name, value in receipt.items():
        if name not in ELSEWHERE:
            inner = value if isinstance(value, dict) else {}
            found |= {f"{name}.{part}": text(v) for part, v in inner.items()} or {name: text(value)}
    return found


def _command(run: Run) -> list[Markup]:
    try:
        unfinished = None if run.receipt else run.path
        intro = "Go on with it by" if unfinished else "Repeat it by"
        return [element("p", intro, class_="note"), code_block(repeating(run.description, run_dir=unfinished))]
    except UsageError as error:
        return [element("p", joined(f"No command repeats it from this checkout: {error}"), class_="note")]
