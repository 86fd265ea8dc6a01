"""The table of drift says what its receipt says, and what two Pythons answered."""

import json
import math
import shlex
from pathlib import Path

import pytest

from experiments import linear_autoencoder
from experiments.__main__ import names
from results import __main__ as command
from results import drift, smoke

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "results"
OLD = {"a/error": 2.0, "a/score": 0.5, "pca/error": 3.0}
NEW = {"a/error": 2.5, "a/score": 0.5 + 1e-7, "pca/error": 3.0}


def a_python(path: Path, metrics: dict[str, float], version: str = "1") -> Path:
    """A program that answers as a Python would that runs `results.smoke`."""
    answer = {"metrics": metrics, "versions": {"python": version, "jax": f"0.{version}"}, "device": "CPU"}
    path.write_text(f'#!/bin/sh\necho "a warning"\necho {shlex.quote(json.dumps(answer))}\n')
    path.chmod(0o755)
    return path


def compared(tmp_path: Path, *names: str) -> int:
    old, new = a_python(tmp_path / "old", OLD), a_python(tmp_path / "new", NEW, "2")
    return command.main(["drift", str(old), str(new), *names], folder=tmp_path)


def test_two_pythons_are_compared_and_the_table_follows_the_receipt(tmp_path, capsys):
    assert compared(tmp_path) == 0
    receipt = json.loads((tmp_path / "drift.json").read_text())
    assert receipt["versions"] == {side: {"python": v, "jax": f"0.{v}"} for side, v in (("old", "1"), ("new", "2"))}
    assert receipt["experiments"] == {name: {"old": OLD, "new": NEW} for name in names()}
    text = (tmp_path / "drift.md").read_text()
    assert "| jax | 0.1 | 0.2 |" in text
    assert "| vae | 3 | 2 | 2.0e-01 | a/error |" in text.splitlines()
    assert "| vae | a/error | 2 | 2.5 | 2.0e-01 |" in text.splitlines()
    assert "| vae | a/score" not in text
    assert "| vae | 3 | 2 | 2.0e-01 | a/error |" in capsys.readouterr().out
    assert drift.faults(tmp_path) == []
    (tmp_path / "drift.md").write_text(text.replace("2.5", "2.4"))
    assert "is not what drift.json says" in drift.faults(tmp_path)[0]
    (tmp_path / "drift.json").write_text("{")
    assert "cannot be read" in drift.faults(tmp_path)[0]


def test_some_experiments_are_shown_and_not_stored(tmp_path, capsys):
    assert compared(tmp_path, "vae", "gan") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["vae", "gan"]
    assert not list(tmp_path.glob("drift.*"))
    assert compared(tmp_path, "nosuch") == 2
    assert capsys.readouterr().err.startswith("results: 'nosuch': no such experiment")


def test_a_run_that_fails_is_told_and_a_python_that_is_none_refused(tmp_path, capsys):
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\necho "ValueError: it broke" >&2\nexit 1\n')
    broken.chmod(0o755)
    good = str(a_python(tmp_path / "good", OLD))
    assert command.main(["drift", good, str(broken)], folder=tmp_path) == 1
    out, err = capsys.readouterr()
    assert "vae, new: ValueError: it broke" in err
    assert "| vae | | | new failed | |" in out
    assert "- vae, new: ValueError: it broke" in (tmp_path / "drift.md").read_text()
    for answer in ("", "echo hello", "echo '{}'"):
        broken.write_text(f"#!/bin/sh\n{answer}\n")
        assert command.main(["drift", good, str(broken), "vae"], folder=tmp_path) == 1
        assert capsys.readouterr().err == "vae, new: exit code 0 and no metrics\n"
    assert command.main(["drift", good, str(tmp_path / "absent")], folder=tmp_path) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"results: {tmp_path / 'absent'}: cannot be started (No such file or directory); expected a Python with "
        "seqjax's requirements.",
        "make drift sets up two.",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (2.0, 1.0, 0.5),
        (1.0, -1.0, 2.0),
        (0.0, 0.0, 0.0),
        (0.0, 3.0, 1.0),
        (math.nan, math.nan, 0.0),
        (math.inf, math.inf, 0.0),
    ],
)
def test_a_difference_is_relative_to_the_larger_value(old, new, expected):
    assert drift.relative_difference(old, new) == drift.relative_difference(new, old) == expected


@pytest.mark.parametrize("other", [1.0, math.inf])
def test_a_value_that_only_one_side_has_comes_first_and_is_shown(other):
    both = {"old": {"a/b": 0.0, "a/c": 1.0}, "new": {"a/b": 3.0, "a/c": math.nan if other == 1.0 else other}}
    assert math.isnan(drift.relative_difference(both["old"]["a/c"], both["new"]["a/c"]))
    assert drift.summary_line("x", both) == "| x | 2 | 0 | nan | a/c |"
    receipt = {"device": "CPU", "versions": {}, "experiments": {"x": both | {"new": {"a/b": 3.0}}}}
    assert "| x | a/c | 1 | nan | nan |" in drift.markdown(receipt)


def test_what_a_python_answers_is_the_smoke_run_of_the_experiment(monkeypatch):
    monkeypatch.setattr(linear_autoencoder, "SMOKE", {"steps": 2, "chapter_steps": 2})
    found = smoke.measured("linear_autoencoder")
    assert found["metrics"]["pca/test_squared_error"] == pytest.approx(1.2482662219, rel=1e-6)
    assert set(found) == {"metrics", "versions", "device"}


def test_the_committed_table_says_what_its_receipt_says():
    assert drift.faults(FOLDER) == []
    receipt = json.loads((FOLDER / "drift.json").read_text())
    assert drift.failures(receipt) == []
    assert receipt["versions"]["old"]["python"].startswith("3.11.")
    assert receipt["versions"]["old"]["jax"] != receipt["versions"]["new"]["jax"]
    assert set(receipt["experiments"]) <= set(names())
