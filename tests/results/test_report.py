"""The report: one file that says what the runs and the receipts hold."""

import json
import math
import os
import shlex

import pytest
from fabricated import ROW, STATE, receipt, store
from parsed_page import Page
from run_directories import make_run, png, report, told

from results.__main__ import main
from results.report.command import repeating
from results.report.committed import report_of_results
from results.report.configuration import differing
from results.report.pictures import ROOM, affordable
from results.report.run_directory import read_runs
from results.report.runs import report_of_runs
from seqjax.experiment.options import parse
from seqjax.receipt import summary


def test_intervals_are_those_of_students_t(tmp_path):
    page = report(make_run(tmp_path / "a", per_seed=(1.0, 2.0, 4.0)))
    # mean 7/3, deviation 1.52753, t(0.975, 2) = 4.30265
    half = 4.302652729911275 * 1.5275252316519468 / math.sqrt(3)
    rows = page.cells(str(tmp_path / "a"))
    assert rows[0] == ["model", "squared_error"]
    assert rows[1] == ["autoencoder", f"{7 / 3:.1f} ± {half:.1f}"] == ["autoencoder", "2.3 ± 3.8"]
    assert rows[2] == ["pca", "1.5"]
    assert page.cells("Values of the seeds")[1] == ["autoencoder/squared_error", "1", "2", "4"]


def test_an_edited_mean_is_computed_again(tmp_path):
    path = make_run(tmp_path / "a")
    found = json.loads((path / "receipt.json").read_text())
    found["metrics"]["autoencoder/squared_error"] |= {"mean": 0.001, "ci95": 0.0}
    (path / "receipt.json").write_text(json.dumps(found))
    assert report(path).cells(str(path))[1] == ["autoencoder", "2.3 ± 3.8"]


def test_every_column_can_be_sorted(tmp_path):
    store(tmp_path, receipt())
    for page in (report(make_run(tmp_path / "a")), Page(report_of_results([ROW], STATE, tmp_path))):
        headers = page.all("th", scope="col")
        assert headers
        assert all(header.attributes["aria-sort"] == "none" for header in headers)
        buttons = page.all("button", type="button")
        assert ["".join(b.text) for b in buttons] == ["".join(h.text) for h in headers]
    numbers = [node.attributes["data-value"] for node in page.all("td", class_="number")]
    assert numbers[:2] == [repr(receipt()["metrics"]["own/error"]["mean"]), "47.2"]


def test_every_picture_says_what_it_shows(tmp_path):
    page = report(make_run(tmp_path / "a", figures={"samples": png(), "latent_map": png(), "own_invention": png()}))
    texts = [node.attributes["alt"] for node in page.all("img")]
    assert [text.split(":")[0].split(" of ")[0] for text in texts] == ["latent map", "own invention", "samples"]
    assert all("autoencoder on digits" in text and len(text) > 40 for text in texts)
    assert len(set(texts)) == 3
    drawings = page.all("svg")
    assert drawings
    for drawing in drawings:
        assert drawing.attributes["role"] == "img"
        assert "loss and validation by step" in drawing.attributes["aria-label"]
        assert "loss 0.2333 to 0.07778" in drawing.attributes["aria-label"]


def test_both_axes_of_a_drawing_are_named(tmp_path):
    page = report(make_run(tmp_path / "a"))
    labels = ["".join(node.text) for node in page.all("text")]
    assert labels.count("training step") == len(page.all("svg")) > 0
    (caption,) = [text for text in map("".join, (node.text for node in page.all("figcaption"))) if "loss" in text]
    assert caption.startswith("loss and validation")


def test_the_cells_of_a_table_wider_than_paper_name_their_columns(tmp_path):
    def measures(count):
        return {f"a/m{n}": {"per_seed": [n], "mean": n, "ci95": None, "n": 1} for n in range(count)}

    narrow = report(make_run(tmp_path / "a", metrics=measures(7)))
    assert not narrow.all("table", class_="wide")
    wide = report(make_run(tmp_path / "b", metrics=measures(8)))
    assert len(wide.all("table", class_="wide")) == 1
    named = [node.attributes["data-column"] for node in wide.all("td") if "data-column" in node.attributes]
    assert named == [f"m{n}" for n in range(8)]


def test_long_texts_alone_have_room_for_more_than_a_word(tmp_path):
    (tmp_path / "empty").mkdir()
    page = Page(report_of_runs(*read_runs([make_run(tmp_path / "a"), tmp_path / "empty"])))
    (text,) = page.all("td", class_="long")
    assert "".join(text.text).startswith("no readable config.json")


def test_a_run_is_drawn_once(tmp_path):
    """Its own picture of the learning curves stands where the page has none to draw."""
    figures = {"learning_curves": png()}
    assert not report(make_run(tmp_path / "a", figures=figures)).all("img")
    assert len(report(make_run(tmp_path / "b", figures=figures, lines=[])).all("img")) == 1


def test_a_report_of_ten_runs_is_below_ten_megabytes(tmp_path):
    figures = {name: png(more=size) for name, size in (("samples", 300_000), ("latent_map", 700_000))}
    lines = [{"phase": 0, "step": step, **{f"m{n}": [step, 2.0] for n in range(30)}} for step in range(1, 500)]
    paths = [make_run(tmp_path / f"{n}", figures=figures, lines=lines, config={"long": "x" * 10**6}) for n in range(10)]
    content = report_of_runs(*read_runs(paths))
    assert 4_000_000 < len(content.encode()) < 10_000_000
    page = Page(content)
    assert len(page.all("img")) > 10
    assert "Too large to stand here: latent_map.png." in page.text("p")


def test_the_largest_pictures_are_left_out_first(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, size in zip(paths, (30, 10, 20), strict=True):
        path.write_bytes(bytes(size))
    assert affordable(paths, room=59) == {paths[1]: 10, paths[2]: 20}
    assert len(affordable(paths, room=60)) == 3
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    assert affordable([tmp_path / "sparse"], room=ROOM) == {}


def test_only_differing_fields_of_configurations_are_shown(tmp_path):
    paths = [
        make_run(tmp_path / "a", config={"only_here": None}),
        make_run(tmp_path / "b", config={"learning_rate": 0.01}, per_seed=(1.0, 2.0)),
    ]
    rows = report(*paths).cells("Fields in which the configurations differ")
    assert rows == [
        ["field", *map(str, paths)],
        ["learning_rate", "0.001", "0.01"],
        ["only_here", "null", "not set"],
        ["plan.seeds", "3", "2"],
    ]
    # as pale on the page as it is beside what has been set
    assert ["".join(node.text) for node in report(*paths).all("span", class_="absent")] == ["not set"]


def test_equal_configurations_have_no_table(tmp_path):
    page = report(make_run(tmp_path / "a", config={"x": math.nan}), make_run(tmp_path / "b", config={"x": math.nan}))
    assert "All fields are the same." in page.text("p")
    assert differing([{"x": "1"}, {"x": "1"}, {"x": "2"}]) == {"x": ["1", "1", "2"]}


def test_runs_stand_beside_each_other(tmp_path):
    paths = [
        make_run(tmp_path / "a"),
        make_run(tmp_path / "b", finished=False),
        make_run(tmp_path / "c", health="collapsed"),
    ]
    page = report(*paths)
    assert [row[4] for row in page.cells("Runs")[1:]] == ["ok", "unfinished", "collapsed"]
    assert page.cells("Metrics of the runs")[1] == ["autoencoder/squared_error", "2.3 ± 3.8", "2.3 ± 3.8"]
    assert [node.attributes["class"] for node in page.all("span") if node.text == ["collapsed"]] == ["badge bad"] * 2
    keys = ["".join(node.text) for node in page.all("span", class_="key c1")]
    assert str(paths[1]) in keys


def test_a_run_has_one_colour_in_every_chart(tmp_path):
    lines = [{"phase": 0, "step": 1, "loss": [1.0]}]
    page = report(make_run(tmp_path / "a", lines=lines), make_run(tmp_path / "b"), make_run(tmp_path / "c"))
    keys = {
        (node.attributes["class"], "".join(node.text)) for node in page.all("span") if "key" in str(node.attributes)
    }
    assert {key for key in keys if str(tmp_path) in key[1]} == {
        (f"key c{n}", str(tmp_path / "abc"[n])) for n in range(3)
    }


def test_runs_that_share_nothing_have_no_empty_sections(tmp_path):
    lines = [{"phase": 0, "step": 1, "other": [1.0]}]
    metrics = {"x/y": {"per_seed": [1], "mean": 1, "ci95": None, "n": 1}}
    page = report(make_run(tmp_path / "a"), make_run(tmp_path / "b", lines=lines, metrics=metrics))
    titles = ["".join(node.text) for node in page.all("h2")]
    assert titles == ["Overview", "Differences of configuration", str(tmp_path / "a"), str(tmp_path / "b")]


def test_the_same_runs_give_the_same_bytes(tmp_path):
    paths = [make_run(tmp_path / name, figures={n: png() for n in ("z", "a", "m")}) for name in ("b", "a")]
    first = report_of_runs(*read_runs(paths))
    for path in paths:
        os.utime(path / "figures" / "z.png", (1, 1))
        (path / "figures" / "m.png").unlink()
        (path / "figures" / "m.png").write_bytes(png())
    assert report_of_runs(*read_runs(paths)) == first
    store(tmp_path, receipt())
    assert report_of_results([ROW], STATE, tmp_path) == report_of_results([ROW], STATE, tmp_path)


def test_the_command_makes_the_same_configuration():
    from experiments import autoencoder

    config = {
        "dataset": "it's; rm -rf $HOME",
        "hidden": [64, 32],
        "tied": True,
        "clip_norm": None,
        "beta": 1,
        "ema_decay": 0.5,
    }
    description = {"experiment": "autoencoder", "config": config, "plan": {"seed": 3, "seeds": 2, "reproducible": True}}
    command = shlex.split(repeating(description))
    assert command[:3] == ["python", "-m", "experiments.autoencoder"]
    found, options = parse(autoencoder.Config, "", "", command[3:])
    wanted = autoencoder.Config(dataset=config["dataset"], hidden=(64, 32), tied=True, beta=1.0, ema_decay=0.5)
    assert found == wanted
    assert (options.seed, options.seeds, options.reproducible) == (3, 2, True)


def test_defaults_are_no_part_of_the_command(tmp_path):
    path = make_run(tmp_path / "a", finished=False, per_seed=(1.0,) * 5)
    assert f"python -m experiments.autoencoder --run-dir={path}" in report(path).text("pre")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"experiment": "../../x"}, "no such experiment"),
        ({"config": {"gone": 1}}, "gone"),
        ({"config": {"hidden": "many"}}, "hidden"),
        ({"config": {"dataset": "a\nb"}}, "printed"),
        ({"config": {"dataset": "x" * 5000}}, "too long"),
    ],
)
def test_what_no_command_can_repeat_says_so(tmp_path, change, word):
    page = report(make_run(tmp_path / "a", **change))
    assert any("No command repeats it" in "".join(node.text) and word in "".join(node.text) for node in page.all("p"))
    assert not page.all("pre")


def test_a_configuration_sets_no_option_of_the_command():
    description = {
        "experiment": "autoencoder",
        "config": {"run_dir": "/etc", "replay": "x"},
        "plan": {"seed": 0, "seeds": 5},
    }
    assert repeating(description) == "python -m experiments.autoencoder"


def test_errors_name_the_thing_and_what_to_do(tmp_path, capsys):
    output = ["--output", tmp_path / "r.html"]
    assert "no such directory" in told(capsys, tmp_path / "gone", *output)
    assert "no readable config.json" in told(capsys, tmp_path, *output)
    path = make_run(tmp_path / "a")
    (path / "receipt.json").write_text("{")
    assert "receipt.json: not a readable receipt" in told(capsys, path, *output)
    empty = make_run(tmp_path / "b", metrics={"a/b": {"per_seed": [], "mean": 1.0, "ci95": None, "n": 0}})
    assert "metric a/b has no values" in told(capsys, empty, *output)
    (tmp_path / "c").mkdir()
    assert "stands alone" in (main(["--check", "report"], rows=[]), capsys.readouterr().err)[1]
    assert not (tmp_path / "r.html").exists()


def damaged_runs(folder):
    """By the reason that is told of each: a directory that cannot be read, one for each kind of damage."""
    found = {
        "no readable config.json": make_run(folder / "no_config"),
        "metrics.jsonl: line 2 is not a line of metrics": make_run(folder / "cut_metrics"),
        "receipt.json: not a readable receipt": make_run(folder / "cut_receipt"),
        "no readable config.json, expected a run directory": folder / "empty",
    }
    (folder / "empty").mkdir()
    (folder / "no_config" / "config.json").unlink()
    whole = (folder / "cut_metrics" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "cut_metrics" / "metrics.jsonl").write_text(whole[0] + whole[1][:20] + "\n" + whole[2])
    os.truncate(folder / "cut_receipt" / "receipt.json", 50)
    return found


def test_a_damaged_run_keeps_no_other_from_the_report(tmp_path, capsys):
    good, other, damaged = make_run(tmp_path / "a"), make_run(tmp_path / "b", finished=False), damaged_runs(tmp_path)
    first, *others = damaged.values()
    paths = [first, good, *others, other]
    assert main(["report", *map(str, paths), "--output", str(tmp_path / "r.html")], rows=[]) == 0
    told_of = capsys.readouterr().err
    page = Page((tmp_path / "r.html").read_text())
    assert [row[0] for row in page.cells("Runs")[1:]] == [str(good), str(other)]
    lines = page.cells("Directories that cannot be read")
    assert lines[0] == ["run", "reason"]
    for (reason, path), (label, why) in zip(damaged.items(), lines[1:], strict=True):
        assert label == str(path)
        assert why.startswith(reason)
        assert f"results: {path}" in told_of
        assert reason in told_of
    assert {"".join(node.text) for node in page.all("h2")} >= {str(good), str(other)}
    assert page.cells(str(good))[1] == ["autoencoder", "2.3 ± 3.8"]


def test_a_run_without_a_shared_metric_is_named_and_has_no_column(tmp_path):
    other = {"gan/modes": summary([8.0])}
    page = report(make_run(tmp_path / "a"), make_run(tmp_path / "b"), make_run(tmp_path / "alone", metrics=other))
    metrics = page.cells("Metrics of the runs")
    assert all(len(line) == 3 for line in metrics)
    assert all(cell for line in metrics for cell in line)
    assert f"No metric in common with another run: {tmp_path / 'alone'}." in page.text("p")
    assert "No metric in common" not in report(tmp_path / "a", tmp_path / "b").text("p")


def test_the_reason_is_seen_beside_the_longest_name(tmp_path):
    place = tmp_path.joinpath(*["n" * 200] * 3)
    place.mkdir(parents=True)
    page = Page(report_of_runs(*read_runs([make_run(tmp_path / "a"), place])))
    (line,) = page.cells("Directories that cannot be read")[1:]
    assert line[1] == "no readable config.json, expected a run directory of this project."


def test_a_report_of_whole_runs_has_no_place_for_damaged_ones(tmp_path):
    assert "Not shown" not in report(make_run(tmp_path / "a")).text("h2")


def test_without_a_run_that_can_be_read_there_is_no_report(tmp_path, capsys):
    damaged = damaged_runs(tmp_path)
    assert main(["report", *map(str, damaged.values()), "--output", str(tmp_path / "r.html")], rows=[]) == 2
    told_of = capsys.readouterr().err
    assert all(str(path) in told_of for path in damaged.values())
    assert not (tmp_path / "r.html").exists()


def test_a_name_that_leads_nowhere_is_an_error_whatever_stands_beside_it(tmp_path, capsys):
    good, output = make_run(tmp_path / "a"), tmp_path / "r.html"
    assert "gone: no such directory" in told(capsys, good, tmp_path / "gone", "--output", output)
    assert "config.json: no such directory" in told(capsys, good / "config.json", good, "--output", output)
    assert not output.exists()


def test_a_directory_without_permission_is_named(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path / "receipt.json"))

    monkeypatch.setattr("results.report.run_directory.read_description", refused)
    path = make_run(tmp_path / "a")
    runs, unreadable = read_runs([path])
    assert not runs
    assert unreadable[str(path)].startswith(f"{path / 'receipt.json'}: cannot be read (Permission denied).")


def test_only_a_report_is_written_over(tmp_path, capsys):
    path, output = make_run(tmp_path / "a"), tmp_path / "r.html"
    args = ["report", str(path), "--output", str(output), "--title", "A & B"]
    assert main(args, rows=[]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {output}, ")
    assert "<title>A &amp; B</title>" in output.read_text()
    assert main(args, rows=[]) == 0
    assert capsys.readouterr().out.startswith(f"replaced {output}, ")
    (tmp_path / "mine.html").write_text("<html>")
    assert "is no report" in told(capsys, path, "--output", tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "<html>"
    assert "is no report" in told(capsys, path, "--output", tmp_path)
    assert "no such folder" in told(capsys, path, "--output", tmp_path / "gone" / "r.html")


def test_the_committed_tables_with_their_receipts(tmp_path):
    shown = ROW._replace(name="shown", figures=("samples",), passes=(), beats=None)
    missed, unrun = ROW._replace(name="missed"), ROW._replace(name="unrun")
    store(tmp_path, receipt(), shown)
    store(tmp_path, receipt([9.0, 9.1, 9.2], health="collapsed"), missed)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "shown-samples.png").write_bytes(png())
    rows = [shown, missed, unrun]
    page = Page(report_of_results(rows, {row.name: STATE[ROW.name] for row in rows}, tmp_path))
    table = page.cells("Results")
    column = table[0].index
    assert [line[column("verdict")] for line in table[1:]] == ["new", "misses", "not run"]
    assert [line[column("health")] for line in table[1:]] == ["ok", "collapsed", ""]
    assert table[1][column("ours")] == "3.10 ± 0.25, n = 3"
    (picture,) = page.all("img")
    assert picture.attributes["alt"] == "samples of shown, toy | autoencoder: what the trained model generates"
    assert "Tier C: 1 misses, 1 new, 1 not run." in page.text("p")
    assert {"health collapsed", "tier G", "share"} <= {"".join(node.text) for node in page.all("dt")}
    details = {node.attributes["id"]: "".join(node.text) for node in page.all("details")}
    assert details.keys() == {"row-shown", "row-missed", "row-unrun"}
    assert "the toy is small" in details["row-missed"]
    assert all("python -m experiments.linear_autoencoder --steps 40 --seeds 3" in text for text in details.values())
    assert "code_sha256" in details["row-shown"]
    assert {node.attributes["href"] for node in page.all("a")} == {f"#{name}" for name in details}
