"""What other programs read of the table: the numbers of the receipts, each in its place, nothing that breaks a line."""

import csv
import io
import re

import fabricated
import pytest

from results.__main__ import FOLDER, main
from results.exports import CSV_COLUMNS, csv_text, latex_text
from results.row import Reference
from results.rows import ROWS
from results.stored import path_of


def written(receipt=None):
    return {fabricated.ROW.name: receipt}


def test_every_number_of_a_receipt_comes_back_from_csv():
    receipt = fabricated.receipt([3.0, 3.1, 1 / 3])
    own, pca = csv.DictReader(io.StringIO(csv_text([fabricated.ROW], written(receipt), fabricated.STATE)))
    measure = receipt["metrics"]["own/error"]
    assert [float(value) for value in own["per_seed"].split(" ")] == measure["per_seed"]
    assert (float(own["mean"]), float(own["ci95"]), int(own["n"])) == (measure["mean"], measure["ci95"], 3)
    assert (own["metric"], own["unit"], own["published"]) == ("own/error", "squared error", "3.00")
    assert (own["source"], own["mark"], own["tier"], own["verdict"]) == ("Somebody 2006", "M", "C", "within")
    assert (own["title"], own["stale"], float(own["wall_s"])) == ("toy | autoencoder", "current", 47.2)
    assert (pca["metric"], float(pca["mean"])) == ("pca/error", 5.0)
    assert {pca[name] for name in ("unit", "published", "source", "mark")} == {""}
    assert own["command"] == pca["command"] == fabricated.ROW.command


def test_a_title_with_separators_stays_one_field():
    row = fabricated.ROW._replace(title='a, "b"\nc')
    lines = list(csv.DictReader(io.StringIO(csv_text([row], written(fabricated.receipt()), fabricated.STATE))))
    assert [line["title"] for line in lines] == ['a, "b"\nc'] * 2


def test_one_seed_has_an_empty_interval():
    text = csv_text([fabricated.ROW], written(fabricated.receipt([3.0])), fabricated.STATE)
    assert next(csv.DictReader(io.StringIO(text)))["ci95"] == ""


def test_latex_escapes_what_it_would_read_as_its_own():
    row = fabricated.ROW._replace(title="50% of a_b & {c} \\ d^2 < ~#$", reference=Reference("1 ± 2", "A & B"))
    text = latex_text([row], written(fabricated.receipt()), fabricated.STATE)
    (line,) = [line for line in text.splitlines() if line.startswith("50")]
    assert line == (
        r"50\% of a\_b \& \{c\} \textbackslash{} d\textasciicircum{}2 $<$ \textasciitilde{}\#\$ & squared error & "
        r"1 $\pm$ 2 (A \& B) & 3.10 $\pm$ 0.25 & 3 & within \\"
    )
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1


@pytest.mark.parametrize(("title", "start"), [("[F] a|b", "{[}F] a$|$b & "), ("*a", "{*}a & "), ("a*[b]", "a*[b] & ")])
def test_no_title_is_read_as_what_ends_the_line_before(title, start):
    text = latex_text([fabricated.ROW._replace(title=title)], written(fabricated.receipt()), fabricated.STATE)
    assert text.splitlines()[5].startswith(start)


def test_each_line_of_the_committed_table_has_the_columns_of_its_head(capsys):
    """As a program reads them: CSV by its module, LaTeX with what is escaped taken out."""
    assert main(["export", "csv"]) == 0
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out), strict=True))
    assert {len(line) for line in lines} == {len(CSV_COLUMNS)}
    names = [(line[0], line[2]) for line in lines[1:]]
    assert len(names) == len(set(names))
    run = {row.name: row.metric for row in ROWS if path_of(row, FOLDER).exists()}
    assert {name for name, _ in names} == set(run)
    assert set(run.items()) <= set(names)

    assert main(["export", "latex"]) == 0
    _, begin, top, head, middle, *body, bottom, end = capsys.readouterr().out.splitlines()
    assert (top, middle, bottom) == (r"\toprule", r"\midrule", r"\bottomrule")
    assert (begin, end) == (r"\begin{tabular}{llrrrl}", r"\end{tabular}")
    assert len(body) == len(run)
    for line in (head, *body):
        plain = re.sub(r"\\[&%$#_{}]", "", line.removesuffix(r" \\"))
        assert plain.count("&") == 5, line
        assert not re.search(r"[%#_~^|<>]", re.sub(r"\$.*?\$", "", plain)), line
        assert line.isascii(), line


def test_a_stale_row_says_so_and_one_that_has_not_run_is_left_out():
    other = fabricated.receipt(code_sha256="yesterday")
    assert "within, stale" in latex_text([fabricated.ROW], written(other), fabricated.STATE)
    assert "toy" not in latex_text([fabricated.ROW], written(), fabricated.STATE)
    assert csv_text([fabricated.ROW], written(), fabricated.STATE).count("\n") == 1


@pytest.mark.parametrize(("kind", "start"), [("csv", "row,title,metric"), ("latex", "% needs")])
def test_the_committed_table_is_exported(kind, start, capsys):
    assert main(["export", kind]) == 0
    text = capsys.readouterr().out
    assert text.startswith(start)
    assert "MNIST" in text


def test_an_unknown_format_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["export", "xml"])
    assert refused.value.code == 2
    assert "invalid choice: 'xml'" in capsys.readouterr().err
