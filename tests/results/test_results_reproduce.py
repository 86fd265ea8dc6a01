import hashlib
import json
import math
from pathlib import Path

import pytest
from fabricated import NOW, ROW, STATE, receipt, store

from results.__main__ import judged_by_rerun, judged_by_twin, main
from results.reproduce import agreement, chosen, differing, free_run_dir, reproduce, verify, verify_smoke
from results.row import Row, below
from results.stored import current, stale, stored
from results.table import faults, rebuild
from seqjax.errors import UsageError
from seqjax.receipt import summary


def writing(content, code=0):
    """Stands for a run: leaves a receipt in the run directory that it is given, and ends with `code`."""

    def start(command):
        run_dir = Path(command[command.index("--run-dir") + 1])
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "receipt.json").write_text(json.dumps(content))
        start.command = command
        return code

    return start


def test_a_finished_run_is_stored(tmp_path):
    start = writing(receipt())
    assert reproduce(ROW, tmp_path / "run", tmp_path / "results", start) == 0
    assert stored(ROW, tmp_path / "results") == receipt()
    assert start.command[1:] == [
        "-m", "experiments.linear_autoencoder", "--steps", "40", "--seeds", "3", "--run-dir", str(tmp_path / "run")
    ]  # fmt: skip


def test_the_figures_a_row_shows_are_stored_with_their_hashes(tmp_path):
    row = ROW._replace(figures=("flow",))
    run, results = tmp_path / "run", tmp_path / "results"
    with pytest.raises(UsageError, match="does not exist; expected the figure"):
        reproduce(row, run, results, writing(receipt()))
    assert stored(row, results) is None
    (run / "receipt.json").unlink()
    (run / "figures").mkdir()
    (run / "figures" / "flow.png").write_bytes(b"a picture")
    assert reproduce(row, run, results, writing(receipt())) == 0
    assert stored(row, results)["figures"] == {"flow": hashlib.sha256(b"a picture").hexdigest()}
    rebuild([row], STATE, results)
    assert "![toy | autoencoder: flow](figures/toy-flow.png)" in (results / "README.md").read_text()
    assert faults([row], STATE, results) == []
    (results / "figures/toy-flow.png").write_bytes(b"another picture")
    assert [fault.split(":")[0] for fault in faults([row], STATE, results)] == [str(results / "figures/toy-flow.png")]
    (results / "figures/toy-flow.png").rename(results / "figures/nobodys.png")
    assert [fault.split(":")[0] for fault in faults([row], STATE, results)] == [
        str(results / "figures/toy-flow.png"),
        str(results / "figures/nobodys.png"),
    ]


def test_a_failed_run_stores_nothing(tmp_path):
    assert reproduce(ROW, tmp_path / "run", tmp_path / "results", writing(receipt(), code=75)) == 75
    assert stored(ROW, tmp_path / "results") is None


def test_a_finished_directory_is_refused_and_left_alone(tmp_path):
    writing(receipt([1.0] * 3))(["--run-dir", str(tmp_path / "run")])
    with pytest.raises(UsageError, match="finished run"):
        reproduce(ROW, tmp_path / "run", tmp_path / "results", writing(receipt()))
    assert json.loads((tmp_path / "run/receipt.json").read_text()) == receipt([1.0] * 3)


def test_the_run_directory_is_fresh_or_unfinished(tmp_path):
    base = tmp_path / "toy"

    def config(name, **fields):
        (tmp_path / name).mkdir(exist_ok=True)
        content = {"experiment": "toy", "config": NOW.config, "plan": {"seed": 0, "seeds": 3}} | fields
        (tmp_path / name / "config.json").write_text(json.dumps(content))

    assert free_run_dir(base, NOW) == base
    config("toy")
    assert free_run_dir(base, NOW) == base
    (base / "receipt.json").write_text("{}")
    assert free_run_dir(base, NOW) == tmp_path / "toy-2"
    config("toy-2", config={"steps": 1})
    config("toy-3", plan={"seed": 0, "seeds": 1})
    (tmp_path / "toy-4").mkdir()
    (tmp_path / "toy-4/notes.txt").write_text("foreign")
    (tmp_path / "toy-5").mkdir()
    assert free_run_dir(base, NOW) == tmp_path / "toy-5"


@pytest.mark.parametrize(
    ("rerun", "expected"),
    [
        ([3.0, 3.1, 3.2], "repeats"),
        ([3.0 * (1 + 5e-7), 3.1, 3.2], "repeats"),
        ([3.0 * (1 + 5e-6), 3.1, 3.2], "inside"),
        # half-width .2484, so sqrt(2) of it: .3513
        ([3.35, 3.45, 3.55], "inside"),
        ([3.36, 3.46, 3.56], "outside"),
        ([2.75, 2.75, 2.75], "inside"),
        ([2.74, 2.74, 2.74], "outside"),
        ([3.0, math.nan, 3.2], "outside"),
        # one seed against three: sqrt(1 + 3) of it, .4968
        ([3.59], "inside"),
        ([3.6], "outside"),
    ],
)
def test_agreement_at_its_edges(rerun, expected):
    assert agreement(summary([3.0, 3.1, 3.2]), summary(rerun)) == expected


def test_agreement_of_one_seed_is_its_value():
    assert agreement(summary([13.866]), summary([13.867])) == "inside"
    assert agreement(summary([13.866]), summary([13.868])) == "outside"
    assert agreement(summary([math.nan]), summary([math.nan])) == "outside"


def test_verify_judges_each_metric(tmp_path):
    store(tmp_path, receipt())
    found = verify(ROW, NOW, tmp_path / "run", tmp_path, writing(receipt([4.0, 4.1, 4.2])))
    assert [(c.metric, c.agreement) for c in found] == [("own/error", "outside"), ("pca/error", "repeats")]
    assert verify(ROW, NOW, tmp_path / "run2", tmp_path, writing(receipt(), code=3)) == 3


def test_verify_needs_a_receipt_of_the_same_flags(tmp_path):
    with pytest.raises(UsageError, match="no receipt yet"):
        verify(ROW, NOW, tmp_path / "run", tmp_path, writing(receipt()))
    store(tmp_path, receipt(config={"steps": 41}))
    with pytest.raises(UsageError, match="steps"):
        verify_smoke(ROW, NOW, tmp_path, lambda row: receipt()["smoke"])


def test_the_smoke_twin_makes_a_row_current_again(tmp_path):
    store(tmp_path, receipt(code_sha256="before"))
    changed = verify_smoke(ROW, NOW, tmp_path, lambda row: {"own/error": 4.51, "pca/error": 5.0})
    assert changed == ["own/error is 4.51, recorded 4.5"]
    assert stale(stored(ROW, tmp_path), NOW) == "code"
    assert verify_smoke(ROW, NOW, tmp_path, lambda row: {"own/error": 4.5001, "pca/error": 5.0, "new/error": 1.0}) == []
    assert stale(stored(ROW, tmp_path), NOW) == ""


def test_verdicts_on_rows_become_lines_and_exit_codes(tmp_path, capsys):
    store(tmp_path, receipt())
    assert judged_by_twin(ROW, NOW, tmp_path, twin=lambda row: receipt()["smoke"]) == 0
    assert judged_by_twin(ROW, NOW, tmp_path, twin=lambda row: {"own/error": 4.6, "pca/error": 5.0}) == 1
    assert judged_by_rerun(ROW, NOW, tmp_path, tmp_path / "runs", writing(receipt([3.1, 3.2, 3.3]))) == 0
    assert judged_by_rerun(ROW, NOW, tmp_path, tmp_path / "runs", writing(receipt([4.0, 4.1, 4.2]))) == 1
    assert judged_by_rerun(ROW, NOW, tmp_path, tmp_path / "runs", writing(receipt(), code=75)) == 75
    out = capsys.readouterr().out
    assert "toy  as recorded" in out
    assert "toy  changed: own/error is 4.6, recorded 4.5" in out
    assert "toy  own/error  inside: 3.20 ± 0.25, stored 3.10 ± 0.25" in out
    assert "toy  own/error  outside: 4.10 ± 0.25, stored 3.10 ± 0.25" in out


def test_what_is_not_measured_or_not_a_number_differs():
    assert differing({"a": 1.0}, {}) == ["a is None, recorded 1.0"]
    assert len(differing({"a": math.nan}, {"a": math.nan})) == 1
    assert len(differing({}, {"a": 1.0})) == 1


def test_on_another_machine_a_score_that_counts_may_jump_by_whole_examples_and_no_other_may():
    assert differing({"recall": 93 / 180, "obedience": 0.358}, {"recall": 94 / 180, "obedience": 0.349}) == []
    assert len(differing({"recall": 93 / 180}, {"recall": 97 / 180})) == 1
    assert len(differing({"nats": 0.51667}, {"nats": 0.51667 + 1 / 180})) == 1
    assert len(differing({"nats": 0.358}, {"nats": 0.3581234567})) == 1
    assert len(differing({"units": 4.0}, {"units": 5.0})) == 1
    assert len(differing({"recall": 0.5}, {"recall": math.nan})) == 1


@pytest.mark.parametrize("name", ["nosuch", "toy ", "to'y", 'to"y', "$HOME", "toy\nx", "../toy", ""])
def test_an_unknown_row_is_one_line_and_exit_2(tmp_path, capsys, name):
    for args in (["reproduce", name], ["verify", name], ["verify", "--smoke", "--", name]):
        assert main(args, rows=(ROW,), folder=tmp_path, runs=tmp_path) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "expected one of: toy." in error


def test_rows_are_chosen_once_in_order():
    other = ROW._replace(name="other")
    assert chosen((ROW, other), ["other", "toy", "other"]) == [other, ROW]


def test_verify_without_rows_takes_the_quickest_of_each_experiment(tmp_path, capsys, monkeypatch):
    slow, quick, other, bare = (ROW._replace(name=name) for name in ("slow", "quick", "other", "bare"))
    other = other._replace(experiment="autoencoder", flags="")
    for row, seconds in ((slow, 7200.0), (quick, 60.0), (other, 90.0)):
        store(tmp_path, receipt(wall_s=seconds, experiment=row.experiment), row)
    judged = []

    def rerun(row, now, folder, runs):
        judged.append(row.name)
        return 0

    def twin(row, now, folder, before):
        judged.append(row.name)
        return 0

    monkeypatch.setattr("results.__main__.judged_by_rerun", rerun)
    monkeypatch.setattr("results.__main__.judged_by_twin", twin)

    def verified(*flags):
        judged.clear()
        assert main(["verify", *flags], rows=(slow, quick, other, bare), folder=tmp_path, runs=tmp_path) == 0
        return judged, capsys.readouterr().out.splitlines()[:1]

    sampled = ["2 rows, the quickest of each experiment (--all for every row): 2.5 min recorded in all"]
    assert verified() == (["quick", "other"], sampled)
    assert verified("--all") == (["slow", "quick", "other"], ["3 rows: 2.0 h recorded in all"])
    assert verified("slow") == (["slow"], ["1 row: 2.0 h recorded in all"])
    for flags in (["--smoke"], ["--smoke", "--all"]):
        assert verified(*flags)[0] == ["slow", "quick", "other"]

    # one that cannot be read hides no other of its experiment, and stands for it where it is alone
    store(tmp_path, "{", quick)
    store(tmp_path, "{", other)
    assert verified()[0] == ["slow", "other"]


def checkout(folder, said):
    """Stands for a checkout of the code: says this of its twin."""
    for name in ("reproduce", "rows", "stored"):
        (folder / "results").mkdir(parents=True, exist_ok=True)
        (folder / "results" / f"{name}.py").write_text(said)
    return folder


def said_by(code, metrics):
    return f"""
from collections import namedtuple
Row, Current = namedtuple("Row", "name"), namedtuple("Current", "code_sha256")
ROWS = (Row("other"), Row("toy"))
def current(rows): return {{row.name: Current("{code}") for row in rows}}
def twin_metrics(row): return {metrics}
"""


def test_a_twin_that_magnifies_rounding_is_compared_with_the_code_before_on_the_same_machine(tmp_path, capsys):
    results, metrics = tmp_path / "results", {"own/error": 4.6, "pca/error": 5.0}
    store(results, receipt(code_sha256="before"))

    def judged(before):
        return judged_by_twin(ROW, NOW, results, before, twin=lambda row: metrics)

    assert judged(None) == 1
    with pytest.raises(UsageError, match="is not of the code that the receipt of toy stands for"):
        judged(checkout(tmp_path / "wrong", said_by("another", metrics)))
    with pytest.raises(UsageError, match=r"cannot run the twin of toy \(ValueError: no\)"):
        judged(checkout(tmp_path / "broken", "raise ValueError('no')"))
    with pytest.raises(UsageError, match="expected a checkout of this project"):
        judged(tmp_path / "nowhere")
    capsys.readouterr()
    assert judged(checkout(tmp_path / "other", said_by("before", {"own/error": 4.7, "pca/error": 5.0}))) == 1
    assert capsys.readouterr().out == "toy  changed: own/error is 4.6, recorded 4.7\n"
    assert stale(stored(ROW, results), NOW) == "code"
    assert judged(checkout(tmp_path / "same", said_by("before", metrics))) == 0
    assert capsys.readouterr().out == f"toy  as by {tmp_path / 'same'}, not as recorded\n"
    assert stale(stored(ROW, results), NOW) == ""
    assert main(["verify", "--before", str(tmp_path)], rows=(ROW,), folder=results, runs=tmp_path) == 2
    assert "--before: compares smoke twins; it stands beside --smoke." in capsys.readouterr().err


def test_all_rows_and_some_are_not_both_verified(tmp_path, capsys):
    assert main(["verify", "--all", "toy"], rows=(ROW,), folder=tmp_path, runs=tmp_path) == 2
    assert "--all: stands without rows, found toy beside it" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--nosuch"], ["nosuch"], ["reproduce"], ["verify", "--nosuch"]])
def test_wrong_flags_exit_2(tmp_path, args):
    with pytest.raises(SystemExit) as end:
        main(args, rows=(ROW,), folder=tmp_path, runs=tmp_path)
    assert end.value.code == 2


def test_a_real_row_is_reproduced_checked_and_made_current(tmp_path, capfd):
    row = Row(
        name="short",
        title="a short run",
        experiment="linear_autoencoder",
        flags="--steps 20 --chapter-steps 10 --seeds 2",
        metric="linear_autoencoder/test_gap",
        unit="ratio",
        baselines=("pca/test_squared_error",),
        passes=(below("linear_autoencoder/test_gap", 100.0, each_seed=True),),
    )

    def command(*args):
        return main(args, rows=(row,), folder=tmp_path / "results", runs=tmp_path / "runs")

    assert command("reproduce", "short") == 0
    assert "short: within" in capfd.readouterr().out
    assert command("--check") == 0
    path = tmp_path / "results/receipts/short.json"
    assert path.read_bytes() == (tmp_path / "runs/short/receipt.json").read_bytes()
    now = current([row])["short"]
    assert stale(stored(row, tmp_path / "results"), now) == ""

    path.write_text(json.dumps(json.loads(path.read_text()) | {"code_sha256": "before"}))
    assert command("--check") == 1
    assert command() == 0
    assert "stale (code)" in (tmp_path / "results/README.md").read_text()
    assert command("verify", "--smoke") == 0
    assert "stale (code)" not in (tmp_path / "results/README.md").read_text()
    assert command("--check") == 0
