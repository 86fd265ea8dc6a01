"""The table for other programs: CSV with every number by itself, and LaTeX for a paper."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from results.row import Row
from results.stored import Current
from results.table import cells
from results.verdict import Receipts
from seqjax.receipt import interval_text

CSV_COLUMNS = (
    "row", "title", "metric", "unit", "mean", "ci95", "n", "per_seed", "published", "source", "mark",
    "tier", "verdict", "health", "wall_s", "device", "stale", "command",
)  # fmt: skip
LATEX_RULES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
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
            shared = {name: line[name] for name in ("row", "tier", "verdict", "health", "device", "stale", "command")}
            of_row = {"title": row.title, "wall_s": receipt["wall_s"]}
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
    """A `tabular` with the rules of booktabs: what is measured, the published number, ours, n and the verdict."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{llrrrl}",
        r"\toprule",
        r"Measured & Unit & Published & Ours & $n$ & Verdict \\",
        r"\midrule",
    ]
    for row in rows:
        if (receipt := receipts[row.name]) is None:
            continue
        measure, line = receipt["metrics"][row.metric], cells(row, receipts, now[row.name])
        judged = line["verdict"] if line["stale"] == "current" else f"{line['verdict']}, stale"
        texts = (row.title, row.unit, line["published"], interval_text(measure), str(measure["n"]), judged)
        line = " & ".join(text.translate(LATEX_RULES) for text in texts) + r" \\"
        # after the end of a line these are no text, but how much room is to follow it
        lines.append(f"{{{line[0]}}}{line[1:]}" if line.startswith(("[", "*")) else line)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


EXPORTS: dict[str, Export] = {"csv": csv_text, "latex": latex_text}
