"""The report of the committed results: every row with its verdict, its receipt, its command and its figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from results.report.configuration import configuration
from results.report.markup import Markup, badge, code_block, element, facts, folded
from results.report.measures import intervals
from results.report.page import page
from results.report.pictures import affordable, figure, spoken
from results.report.runs import HEALTH, receipt_facts
from results.report.table import Cell, table
from results.row import MARKS, TIERS, Row
from results.stored import Current, figure_path
from results.table import FIGURE, cells, figure_data, receipts_of
from results.verdict import HEALTHS, VERDICTS, Receipts, verdict_counts

COLUMNS = ("row", "measured", "published", "ours", "against the best baseline", "verdict", "health", "time", "stale")
BESIDE = ("tier", "passes", "baselines", "device")
KINDS = {"beats": "good", "within": "good", "misses": "bad"}


def report_of_results(rows: Sequence[Row], now: Mapping[str, Current], folder: Path, title: str | None = None) -> str:
    """The HTML document. Raises UsageError for a receipt that cannot be read."""
    receipts = receipts_of(rows, folder)
    lines = [cells(row, receipts, now[row.name]) for row in rows]
    counts = Counter(line["verdict"] for line in lines)
    marks = [
        badge(f"{verdict} {counts[verdict]}", {f"{verdict} {counts[verdict]}": KINDS.get(verdict, "plain")})
        for verdict in VERDICTS
        if counts[verdict]
    ]
    parts = [
        element("p", *marks, class_="badges"),
        element("p", verdict_counts(rows, receipts)),
        table("Results", COLUMNS, [_line(row, receipts, line) for row, line in zip(rows, lines, strict=True)]),
        element("h2", "What the words mean"),
        facts(
            VERDICTS
            | {f"health {name}": meaning for name, meaning in HEALTHS.items()}
            | {f"tier {tier}": meaning for tier, meaning in TIERS.items()}
            | {f"[{mark}]": meaning for mark, meaning in MARKS.items()}
        ),
        element("h2", "Figures"),
        _figures(rows, receipts, folder),
        element("h2", "Rows, receipts and commands"),
        *(_details(row, receipts, line) for row, line in zip(rows, lines, strict=True)),
    ]
    lead = (
        "Published numbers beside ours: mean ± 95 % interval over n training seeds. A row is stale where its code or"
        " its flags have changed since its receipt was written."
    )
    return page(title or "seqjax: results", lead, parts)


def _line(row: Row, receipts: Receipts, line: Mapping[str, str]) -> list[str | Cell]:
    receipt = receipts[row.name]
    shown: dict[str, str | Cell] = dict(line) | {
        "row": element("a", row.name, href=f"#row-{row.name}"),
        "verdict": badge(line["verdict"], KINDS),
        "health": badge(line["health"], HEALTH) if receipt else "",
    }
    if receipt:
        shown["ours"] = Cell(line["ours"], receipt["metrics"][row.metric]["mean"])
        shown["time"] = Cell(line["time"], receipt["wall_s"])
    return [shown[column] for column in COLUMNS]


def _details(row: Row, receipts: Receipts, line: Mapping[str, str]) -> Markup:
    receipt = receipts[row.name]
    notes = {
        "share": row.share,
        "budget": row.budget,
        "why it misses": row.explanation if line["verdict"] == "misses" else "",
    }
    parts = [
        facts({column: line[column] for column in BESIDE} | notes),
        element("p", "Run it again by", class_="note"),
        code_block(row.command),
        code_block(f"python -m results reproduce {row.name}"),
    ]
    if receipt:
        parts.append(intervals(receipt["metrics"], of=row.name))
        parts.append(configuration(receipt_facts(receipt), caption=f"Receipt of {row.name}"))
    return folded(f"{row.name}: {line['verdict']}", *parts, id_=f"row-{row.name}")


def _figures(rows: Sequence[Row], receipts: Receipts, folder: Path) -> Markup:
    """The figures of the rows that have been run, and the one of several rows together."""
    wanted = [
        (figure_path(row, name, folder), name, f"{row.name}, {row.title}")
        for row in rows
        for name in row.figures
        if receipts[row.name]
    ]
    if figure_data(receipts) is not None:
        wanted.append((folder / "figures" / f"{FIGURE}.png", FIGURE, "autoencoders of digits"))
    there = [(path, name, subject) for path, name, subject in wanted if path.is_file() and not path.is_symlink()]
    chosen = affordable(path for path, _, _ in there)
    shown = [
        figure(path, name, subject, caption=f"{subject}: {spoken(name)}")
        for path, name, subject in there
        if path in chosen
    ]
    missing = ", ".join(f"{spoken(name)} of {subject}" for path, name, subject in wanted if path not in chosen)
    note = element("p", f"Missing: {missing}.", class_="note") if missing else Markup()
    return Markup(element("div", *shown, class_="figures") + note)
