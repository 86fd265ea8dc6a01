"""What other programs read of the table: the numbers of the receipts, each in its place, nothing that breaks a line."""

import csv
import io
import itertools
import re

import fabricated
import pytest

from results.__main__ import FOLDER, main
from results.exports import CSV_COLUMNS, csv_text, latex_text
from results.row import Reference, at_least
from results.rows import ROWS
from results.stored import path_of
from seqjax.receipt import summary


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
    assert own["passes"] == pca["passes"] == "at most 3.15; beats below 3"
    assert own["share"] == ""
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


def body_of(latex: str) -> list[str]:
    """The lines of the rows, which stand between what ends the pages and the end of the table."""
    lines = latex.splitlines()
    return lines[lines.index(r"\endfoot") + 1 : lines.index(r"\end{longtable}")]


def test_latex_escapes_what_it_would_read_as_its_own():
    row = fabricated.ROW._replace(title="50% of a_b & {c} \\ d^2 < ~#$|", reference=Reference("1 ± 2", "A & B"))
    (line,) = body_of(latex_text([row], written(fabricated.receipt()), fabricated.STATE))
    assert line == (
        r"toy & 50\% of a\_\allowbreak{}b \& \{c\} \textbackslash{} d\textasciicircum{}2 $<$ \textasciitilde{}\#\$$|$:"
        r" squared error & 1 $\pm$ 2 (A \& B) & 3.10 $\pm$ 0.25 & 3 & within: at most 3.15; beats below 3 \\"
    )


def test_a_share_of_a_protocol_says_which_and_an_order_says_of_what():
    share, receipts = fabricated.ROW._replace(share="3 of 300 epochs", baselines=()), written(fabricated.receipt())
    (line,) = csv.DictReader(io.StringIO(csv_text([share], receipts, fabricated.STATE)))
    assert (line["verdict"], line["share"]) == ("share", "3 of 300 epochs")
    (line,) = body_of(latex_text([share], receipts, fabricated.STATE))
    assert line.endswith(r" & share: 3 of 300 epochs \\")
    ordered = fabricated.ROW._replace(passes=(), beats=None, under=fabricated.ROW.name)
    (line,) = body_of(latex_text([ordered], receipts, fabricated.STATE))
    assert line.endswith(r": each seed below that of `toy` \\")


def test_latex_shows_every_metric_that_a_verdict_depends_on():
    row = fabricated.ROW._replace(
        passes=(*fabricated.ROW.passes, at_least("own/nmi", 0.5)), also=("own/modes",), baselines=()
    )
    receipt = fabricated.receipt()
    receipt["metrics"] |= {"own/nmi": summary([0.6, 0.7, 0.8]), "own/modes": summary([7.0, 8.0, 8.0])}
    (line,) = body_of(latex_text([row], written(receipt), fabricated.STATE))
    ours = line.split(" & ")[3]
    assert re.findall(r"[a-z]+(?= \d)", ours) == ["nmi", "modes"]


def test_the_columns_of_latex_are_no_wider_than_the_page(capsys):
    assert main(["export", "latex", "gan_grid"]) == 0
    text = capsys.readouterr().out
    widths = re.findall(r"p\{\\dimexpr ([\d.]+)\\linewidth-2\\tabcolsep\\relax\}", text)
    head = text.splitlines()[4]
    assert len(widths) == head.count("&") + 1 == 6
    assert sum(map(float, widths)) == pytest.approx(1.0)
    # the head comes again on each page
    parts = [
        r"\begin{longtable}",
        r"\toprule",
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        r"\end{longtable}",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert all(text.count(part) == 1 for part in parts)
    (line,) = body_of(text)
    assert line.startswith(r"gan\_\allowbreak{}grid & ")
    assert r"reverse\_\allowbreak{}kl" in line


def test_the_rows_that_are_named_are_exported_in_order(capsys):
    assert main(["export", "csv", "linear_ae", "pca_mnist30"]) == 0
    lines = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(dict.fromkeys(line["row"] for line in lines)) == ["linear_ae", "pca_mnist30"]
    assert main(["export", "latex", "nosuch"]) == 2
    assert "no such row" in capsys.readouterr().err


def test_a_named_row_that_has_not_run_is_no_empty_table(tmp_path, capsys):
    assert main(["export", "csv", "toy"], rows=[fabricated.ROW], folder=tmp_path) == 2
    told = capsys.readouterr()
    assert "toy: has no receipt yet" in told.err
    assert told.out == ""


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
    text = capsys.readouterr().out
    head, body = text.splitlines()[4], body_of(text)
    assert len(body) == len(run)
    for line in (head, *body):
        plain = re.sub(r"\\[&%$#_{}]", "", line.removesuffix(r" \\"))
        assert plain.count("&") == 5, line
        assert not re.search(r"[%#_~^|<>]", re.sub(r"\$.*?\$", "", plain)), line
        assert line.isascii(), line
    assert balanced(re.sub(r"\\[{}]", "", text))
    assert text.count(r"\begingroup") == text.count(r"\endgroup") == 1


def balanced(text: str) -> bool:
    """Whether each brace that opens is closed after it."""
    depths = list(itertools.accumulate({"{": 1, "}": -1}.get(character, 0) for character in text))
    return min(depths) == depths[-1] == 0


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
    told = capsys.readouterr().err
    assert "invalid choice: 'xml'" in told
    assert "drift" not in told  # nothing of what the other actions take
    assert "python -m results export: error: " in told
