"""A report of directories that somebody else has filled: nothing in them is run, followed, or read without a bound."""

import math
import os
import re

import pytest
from fabricated import ROW, STATE, receipt, store
from parsed_page import Page
from run_directories import make_run, png, report, told

from results.report.committed import report_of_results
from results.report.run_directory import read_run, read_runs
from results.report.runs import report_of_runs

HOSTILE = "<script>alert(1)</script>\"'><img src=https://evil.example/x onerror=alert(2)>\x1b[31m\u202e\ud800"


def hostile_run(path):
    measure = {"per_seed": [1.0, math.nan, -math.inf], "mean": 1, "ci95": None, "n": 3}
    wide = {"per_seed": [1e308, -1e308, 1e308], "mean": 1, "ci95": None, "n": 3}
    lines = [
        {"phase": 0, "step": 1, "loss": [1.0, None, "x"], HOSTILE: [math.nan, 2.0], "deep": [[1]], "text": HOSTILE},
        {"phase": 7, "step": 10**250, "loss": [1e308, -1e308], HOSTILE: [math.inf], "validation": {"a": 1}},
        {"phase": -3, "step": -4, "loss": [True], HOSTILE: [3.0], "gradient_norm": [1e-300, 1e99]},
        {"phase": 0, "step": 2, "loss": [], HOSTILE: [3.0], "gradient_norm": [1e-300]},
    ]
    return make_run(
        path,
        experiment=HOSTILE,
        config={HOSTILE: HOSTILE, "long": "x" * 100_000, "nan": math.nan, "list": [HOSTILE, {HOSTILE: None}]},
        lines=lines,
        metrics={f"{HOSTILE}/{HOSTILE}": measure, "a/b": wide, "a/tiny": measure | {"per_seed": [0.0, 1e-310]}},
        health=HOSTILE,
        device=HOSTILE,
        data=HOSTILE,
        wall_s=math.inf,
        versions={HOSTILE: HOSTILE},
        skipped={HOSTILE: 1},
        figures={"<img src=x onerror=alert(1)>": png(), '"x': b"no picture", "wide": png(says=(1_000_000, 1_000_000))},
    )


def test_nothing_of_a_hostile_run_becomes_markup(tmp_path):
    paths = [hostile_run(tmp_path / name) for name in ('<b onclick="x">', "&amp;\n")]
    content = report_of_runs(*read_runs(paths), title=HOSTILE)
    page = Page(content)
    assert "<script>alert(1)</script>" in page.text("title")
    assert len(page.all("script")) == 1
    tags = {node.tag for node in page.nodes}
    assert not tags & {"b", "iframe", "link", "object", "embed", "form", "base"}
    names = {name for node in page.nodes for name in node.attributes}
    assert not {name for name in names if name.startswith("on") or name == "style"}
    assert [node.attributes["src"][:22] for node in page.all("img")] == ["data:image/png;base64,"] * 2
    assert page.loaded() == []
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]", content)
    assert "nan" in page.text("table")
    # the longest value of all has not made the page long
    assert len(content) < 200_000


def test_drawings_hold_finite_numbers_alone(tmp_path):
    page = report(hostile_run(tmp_path / "a"))
    paths = [node.attributes["d"] for node in page.all("path")]
    assert paths
    for path in paths:
        assert re.fullmatch(r"M-?[\d.]+ -?[\d.]+(L-?[\d.]+ -?[\d.]+)*Z?", path), path
    assert not re.search("nan|inf", " ".join(str(node.attributes) for node in page.all("text") + page.all("line")))


def test_numbers_that_are_none_are_sorted_as_text(tmp_path):
    page = report(hostile_run(tmp_path / "a"))
    values = [
        node.attributes["data-value"] for node in page.all("td", class_="number") if "data-value" in node.attributes
    ]
    assert {"-Infinity", "1.0"} <= set(values)
    assert not {"nan", "inf", "-inf"} & set(values)


@pytest.mark.parametrize("name", ["config.json", "receipt.json", "metrics.jsonl"])
def test_no_link_and_no_pipe_is_followed(tmp_path, capsys, name):
    path = make_run(tmp_path / "a")
    content = (path / name).read_bytes()
    (path / name).unlink()
    (tmp_path / "outside").write_bytes(content)
    (path / name).symlink_to(tmp_path / "outside")
    assert name in told(capsys, path, "--output", tmp_path / "r.html")
    (path / name).unlink()
    os.mkfifo(path / name)
    assert name in told(capsys, path, "--output", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_pictures_elsewhere_are_not_shown(tmp_path):
    path = make_run(tmp_path / "a", figures={})
    (tmp_path / "secret.png").write_bytes(png())
    (path / "figures" / "samples.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(path / "figures" / "pipe.png")
    assert not report(path).all("img")
    (path / "figures" / "samples.png").unlink()
    (path / "figures" / "pipe.png").unlink()
    (path / "figures").rmdir()
    (path / "figures").symlink_to(tmp_path)
    assert not report(path).all("img")


def test_metrics_of_any_size_are_not_read(tmp_path):
    path = make_run(tmp_path / "a")
    os.truncate(path / "metrics.jsonl", 2**40)
    found = read_run(path)
    assert found.rows == []
    assert "No learning curves: metrics.jsonl has" in report(path).text("p")


def test_a_page_can_load_nothing(tmp_path):
    store(tmp_path, receipt())
    for content in (
        report_of_runs(*read_runs([make_run(tmp_path / "a"), make_run(tmp_path / "b")])),
        report_of_results([ROW], STATE, tmp_path),
    ):
        page = Page(content)
        assert page.loaded() == []
        assert not page.all("link")
        assert not re.search(r"@import|url\(", page.text("style"))
        assert not re.search(r"https?:|fetch|XMLHttp|import\b", page.text("script"))
        (policy,) = page.all("meta", http_equiv="Content-Security-Policy")
        assert policy.attributes["content"].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        assert "unsafe" not in policy.attributes["content"]
