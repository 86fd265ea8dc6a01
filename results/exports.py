"""The table for other programs: CSV with every number by itself, and LaTeX for a paper."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from results.row import Row
from results.stored import Current
from results.table import cells, label
from results.verdict import Receipts
from seqjax.receipt import interval_text

CSV_COLUMNS = (
    "row", "title", "metric", "unit", "mean", "ci95", "n", "per_seed", "published", "source", "mark",
    "passes", "share", "tier", "verdict", "health", "wall_s", "device", "stale", "command",
)  # fmt: skip
LATEX_RULES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#{}"},
        "_": r"\_\allowbreak{}",  # a name is wider than its column
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "<": r"$<$",
        ">": r"$>$",
        "|": r"$|$",  # without it a dash, in the encoding that LaTeX begins with
        "\n": " ",
    }
)
# of the page's width; the cells' margins are in it
LATEX_WIDTHS = {"Row": 0.18, "Measured": 0.22, "Published": 0.19, "Ours": 0.21, "$n$": 0.07, "Verdict": 0.13}

# what a line of CSV has from the table as it is shown
SHARED = ("row", "passes", "tier", "verdict", "health", "device", "stale", "command")

Export = Callable[[Sequence[Row], Receipts, Mapping[str, Current]], str]


def csv_text(rows: Sequence[Row], receipts: Receipts, now: Mapping[str, Current]) -> str:
    """A line for each metric of each row that has been run, the row's own first; `per_seed` with spaces between.

    Unit and published number stand beside the row's own metric alone, which is what they are of.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        receipt, line = receipts[row.name], cells(row, receipts, now[row.name])
        for metric in dict.fromkeys([*row.metrics, *row.baselines]) if receipt else ():
            found = receipt["metrics"][metric]
            shared = {name: line[name] for name in SHARED}
            of_row = {"title": row.title, "share": row.share, "wall_s": receipt["wall_s"]}
            numbers = {name: found[name] for name in ("mean", "ci95", "n")}
            seeds = {"metric": metric, "per_seed": " ".join(map(repr, found["per_seed"]))}
            own = {}
            if metric == row.metric:
                own = {"unit": row.unit}
                if row.reference:
                    own |= dict(zip(("published", "source", "mark"), row.reference, strict=True))
            writer.writerow(shared | of_row | numbers | seeds | own)
    return file.getvalue()


def latex_text(rows: Sequence[Row], receipts: Receipts, now: Mapping[str, Current]) -> str:
    """A `longtable` as wide as the page, with the rules of booktabs: a row's name, what is measured, the published
    number, every metric that its verdict depends on or that it shows, the seeds n, and the verdict with its bounds."""
    widths = "".join(
        rf">{{\raggedright\arraybackslash}}p{{\dimexpr {width:.2f}\linewidth-2\tabcolsep\relax}}"
        for width in LATEX_WIDTHS.values()
    )
    lines = [
        r"% needs \usepackage{array,booktabs,longtable}",
        r"\begingroup\footnotesize",
        rf"\begin{{longtable}}{{{widths}}}",
        r"\toprule",
        " & ".join(LATEX_WIDTHS) + r" \\",
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
    ]
    for row in rows:
        if (receipt := receipts[row.name]) is None:
            continue
        metrics, line = receipt["metrics"], cells(row, receipts, now[row.name])
        what = row.share if line["verdict"] == "share" else line["passes"]
        judged = line["verdict"] if line["stale"] == "current" else f"{line['verdict']}, stale"
        judged += f": {what}" if what else ""
        own, *others = row.metrics
        ours = [interval_text(metrics[own]), *(f"{label(name, own)} {interval_text(metrics[name])}" for name in others)]
        measured = f"{row.title}: {row.unit}"
        texts = (row.name, measured, line["published"], "; ".join(ours), str(metrics[own]["n"]), judged)
        lines.append(" & ".join(text.translate(LATEX_RULES) for text in texts) + r" \\")
    return "\n".join([*lines, r"\end{longtable}", r"\endgroup"]) + "\n"


EXPORTS: dict[str, Export] = {"csv": csv_text, "latex": latex_text}
