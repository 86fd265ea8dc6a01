import json
import math

import pytest
from fabricated import NOW, ROW, STATE, receipt, store
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from results.rows import ROWS as ALL_ROWS
from results.rows.autoencoders import DIGITS_BY_CODE_SIZE
from results.stored import checked, confirm, stale, stored
from results.table import cells, data_in, duration, faults, label, markdown, rebuild
from seqjax.errors import UsageError
from seqjax.receipt import summary

ROWS = (ROW,)


def line_of(text: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith("| `toy`")).split(" | ")


def test_a_missing_receipt_is_a_row_not_run(tmp_path):
    rebuild(ROWS, STATE, tmp_path)
    assert " | not run | " in (tmp_path / "README.md").read_text()
    assert faults(ROWS, STATE, tmp_path) == []


def test_the_line_says_what_the_receipt_says():
    line = cells(ROW, {"toy": receipt()}, NOW)
    assert line["ours"] == "3.10 ± 0.25, n = 3"
    assert line["baselines"] == "pca 5"
    assert line["published"] == "3.00 (Somebody 2006) [M]"
    assert (line["verdict"], line["health"], line["time"], line["stale"]) == ("within", "ok", "47 s", "current")
    assert line["command"] == "python -m experiments.linear_autoencoder --steps 40 --seeds 3"


def test_other_metrics_of_the_verdict_stand_beside():
    row = ROW._replace(passes=(*ROW.passes, ROW.passes[0]._replace(metric="pca/error")))
    line = cells(row, {"toy": receipt()}, NOW)
    assert line["baselines"] == "pca 5"
    assert line["passes"].startswith("at most 3.15; pca at most 3.15")


def test_the_tiers_are_shown_and_their_verdicts_counted():
    heavy = [ROW._replace(name=name, tier="G") for name in ("part", "other")]
    rows = (ROW, heavy[0]._replace(share="a third"), heavy[1])
    receipts = {"toy": receipt([4.0, 4.1, 4.2]), "part": receipt(), "other": None}
    text = markdown(rows, receipts, dict.fromkeys(receipts, NOW))
    assert "\nTier C: 1 misses. Tier G: 0 misses, 1 share, 1 not run.\n" in text
    assert line_of(text)[1] == "C"
    assert "| `part` | G | " in text
    legend = text.partition("## Legend")[2]
    for word in ("- C: ", "- G: ", "- ok: ", "- collapsed: ", "- diverged: ", "without a check of its own"):
        assert word in legend
    assert "Tier G" not in markdown(ROWS, {"toy": None}, STATE)


def test_rebuilding_twice_gives_the_same_bytes(tmp_path):
    store(tmp_path, receipt())
    assert rebuild(ROWS, STATE, tmp_path)
    before = (tmp_path / "README.md").read_bytes()
    assert rebuild(ROWS, STATE, tmp_path) == []
    assert (tmp_path / "README.md").read_bytes() == before


def test_every_typed_digit_is_caught(tmp_path):
    store(tmp_path, receipt())
    rebuild(ROWS, STATE, tmp_path)
    readme = tmp_path / "README.md"
    text = readme.read_text()
    start = text.index("| `toy`")
    for at in [i for i, c in enumerate(text) if c.isdigit() and i >= start]:
        readme.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])
        assert faults(ROWS, STATE, tmp_path), text[at - 20 : at + 20]
    readme.write_text(text.replace("3.10 ±", "3.01 ±"))
    (fault,) = faults(ROWS, STATE, tmp_path)
    assert "line 11 (row toy)" in fault
    assert "3.01 ±" in fault


def test_lines_added_and_a_missing_table_are_caught(tmp_path):
    rebuild(ROWS, STATE, tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text() + "more\n")
    assert len(faults(ROWS, STATE, tmp_path)) == 1
    readme.unlink()
    assert "missing" in faults(ROWS, STATE, tmp_path)[0]


def test_a_receipt_of_no_row_is_named(tmp_path):
    rebuild(ROWS, STATE, tmp_path)
    store(tmp_path, receipt(), ROW._replace(name="gone"))
    assert ["belongs to no row" in fault for fault in faults(ROWS, STATE, tmp_path)] == [True]


def test_text_cannot_break_the_table():
    assert len(line_of(markdown(ROWS, {"toy": None}, STATE))) == 14
    assert "toy \\| autoencoder" in markdown(ROWS, {"toy": None}, STATE)


def test_a_nan_is_shown_and_misses(tmp_path):
    store(tmp_path, receipt([3.0, math.nan, 3.0], health="diverged"))
    line = cells(ROW, {"toy": stored(ROW, tmp_path)}, NOW)
    assert line["ours"] == "nan, n = 3"
    assert line["verdict"] == "misses"
    assert "`toy` misses: the toy is small." in markdown(ROWS, {"toy": receipt([math.nan] * 3)}, STATE)


def test_stale_by_code_or_flags_but_not_by_a_new_field():
    assert stale(receipt(), NOW) == ""
    assert stale(receipt(code_sha256="before"), NOW) == "code"
    assert stale(receipt(code_sha256="before", confirmed_code=["today"]), NOW) == ""
    assert stale(receipt(code_sha256="before", confirmed_code=["yesterday"]), NOW) == "code"
    assert stale(receipt(config={"steps": 41, "hidden": [3, 2]}), NOW) == "steps"
    assert stale(receipt([1.0, 1.0]), NOW) == "seeds"
    assert stale(receipt(config={"steps": 40}), NOW) == ""
    assert cells(ROW, {"toy": receipt(code_sha256="before")}, NOW)["stale"] == "stale (code)"


def test_confirmed_code_is_noted_once(tmp_path):
    path = store(tmp_path, receipt(code_sha256="before"))
    confirm(ROW, tmp_path, "today")
    confirm(ROW, tmp_path, "today")
    confirm(ROW, tmp_path, "before")
    assert json.loads(path.read_text())["confirmed_code"] == ["today"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "cannot be read"),
        ("[]", "no receipt"),
        ("{}", "no experiment"),
        (receipt(experiment="other"), "other"),
        (receipt(metrics={"own/error": summary([1.0])}), "pca/error"),
        (receipt(metrics={"own/error": 3, "pca/error": 4}), "cannot be read"),
        (receipt(wall_s="long"), "wall_s"),
        (receipt(metrics=receipt()["metrics"] | {"own/error": summary([3.0, 3.1]) | {"mean": 3.06}}), "3.06"),
    ],
)
def test_a_receipt_that_is_none_is_named(tmp_path, content, word):
    path = store(tmp_path, content)
    with pytest.raises(UsageError, match=r"toy\.json") as caught:
        checked(ROW, path)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_figure_shows_the_receipts(tmp_path):
    rows = tuple(DIGITS_BY_CODE_SIZE.values())
    state = dict.fromkeys([row.name for row in rows], NOW)

    def store_errors(errors):
        for row, error in zip(rows, errors, strict=False):
            metrics = {
                "autoencoder/squared_error": summary([error, error + 0.1]),
                "pca/squared_error": summary([error * 2] * 2),
                "mean/squared_error": summary([9.0] * 2),
            }
            store(tmp_path, receipt(experiment="autoencoder", metrics=metrics), row)

    rebuild(rows, state, tmp_path)
    figure = tmp_path / "figures/error_against_code_size.png"
    assert not figure.exists()
    store_errors([3.0, 2.0])
    rebuild(rows, state, tmp_path)
    drawn = figure.read_bytes()
    assert "error_against_code_size.png" in (tmp_path / "README.md").read_text()
    assert faults(rows, state, tmp_path) == []
    assert rebuild(rows, state, tmp_path) == []
    store_errors([3.0, 2.1])
    assert any("error_against_code_size.png" in fault for fault in faults(rows, state, tmp_path))
    rebuild(rows, state, tmp_path)
    assert figure.read_bytes() != drawn
    figure.write_bytes(b"no picture")
    assert len(faults(rows, state, tmp_path)) == 1


def test_durations():
    assert [duration(s) for s in (4.4, 99.0, 330.0, 7200.0)] == ["4 s", "99 s", "5.5 min", "2.0 h"]


def test_a_number_is_named_by_what_tells_it_from_the_rows_own():
    assert label("own/nmi", "own/error") == "nmi"
    assert label("pca/error", "own/error") == "pca"
    assert label("pca/nmi", "own/error") == "pca nmi"


def test_no_two_numbers_of_a_committed_row_have_the_same_name():
    for row in ALL_ROWS:
        names = [label(name, row.metric) for name in dict.fromkeys((*row.metrics[1:], *row.baselines))]
        assert len(set(names)) == len(names), row.name


def test_the_numbers_of_a_figure_are_read_without_its_pixels(tmp_path, monkeypatch):
    told = PngInfo()
    told.add_text("Description", '{"a/b": 0.5}')
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=told)

    def load(image):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert data_in(tmp_path / "a.png") == {"a/b": 0.5}
