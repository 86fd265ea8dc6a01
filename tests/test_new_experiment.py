"""`python -m experiments new NAME`: what it writes is listed, runs and is tested; what it refuses leaves no trace."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import _new
from experiments.__main__ import main, names
from seqjax.experiment import main as main_of_a_run

ROOT = Path(__file__).parent.parent


@pytest.fixture
def copy(tmp_path):
    """A checkout with the experiments, what their tests need, and the library by a link."""
    for top in ("experiments", "tests/experiment"):
        shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("conftest", "checked", "quick"):
        shutil.copy(ROOT / f"tests/{name}.py", tmp_path / "tests")
    (tmp_path / "seqjax").symlink_to(ROOT / "seqjax")
    return tmp_path


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for top in ("experiments", "tests") for p in (folder / top).rglob("*.py")}


def test_a_new_experiment_is_listed_runs_and_is_tested(copy, capsys, monkeypatch):
    before = files(copy)
    # of the copy: not the checkout that these tests run in
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(copy)}

    def python(*arguments):
        done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = python("-m", "experiments", "new", "my_idea").splitlines()
    assert said[:2] == ["wrote experiments/my_idea.py", "wrote tests/experiment/test_my_idea.py"]
    after = files(copy)
    assert {p.name for p in after.keys() - before.keys()} == {"my_idea.py", "test_my_idea.py"}
    assert {p: after[p] for p in before} == before
    assert "| my_idea " in python("-m", "experiments")
    tested = python("-m", "pytest", "-p", "no:cacheprovider", "tests/experiment/test_my_idea.py")
    assert "1 passed" in tested
    # in this process: another one would take twice as long to start as to run
    spec = importlib.util.spec_from_file_location("my_idea", copy / "experiments/my_idea.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "my_idea", module)
    spec.loader.exec_module(module)
    with pytest.raises(SystemExit) as end:
        main_of_a_run(
            module.Config,
            module.build,
            smoke=module.SMOKE,
            args=["--smoke", "--seeds", "1", "--run-dir", str(copy / "r")],
        )
    assert end.value.code in (0, None), capsys.readouterr().err
    receipt = json.loads((copy / "r/receipt.json").read_text())
    assert (receipt["experiment"], receipt["health"]) == ("my_idea", "ok")
    assert set(receipt["metrics"]) == {"my_idea/squared_error", "pca/squared_error", "mean/squared_error"}


@pytest.mark.parametrize("length", [1, _new.LONGEST])
def test_what_is_written_is_as_clean_as_the_rest(copy, length):
    written = _new.scaffold("x" * length, copy)
    for check in (["check"], ["format", "--check"]):
        subprocess.run([sys.executable, "-m", "ruff", *check, *written], cwd=copy, check=True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "is no name") for name in ("", "my-idea", "2nd", "../vae", "a.b", "_hidden", "ï", "a\nb", "MyIdea")),
        ("x" * 61, "is no name"),
        *((name, "is a keyword") for name in ("class", "is")),
        *((name, "is the name of another module") for name in ("json", "seqjax", "jax", "new", "export")),
        ("vae", "experiments/vae.py exists"),
        ("losses", "tests/test_losses.py exists"),
        ("signals", "tests/experiment/test_signals.py exists"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_line(name, reason, capsys):
    before = files(ROOT)
    assert main(["new", name]) == 2
    out, err = capsys.readouterr()
    assert reason in err
    assert (out, err.count("\n")) == ("", 1)
    assert files(ROOT) == before


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
def test_one_name_is_asked_for(arguments, capsys):
    assert main(["new", *arguments]) == 2
    assert capsys.readouterr().err == "usage: python -m experiments new NAME\n"


def test_nothing_is_overwritten_even_unasked(copy):
    taken = copy / "tests/experiment/test_mine.py"
    taken.write_text("kept")
    with pytest.raises(FileExistsError):
        _new.scaffold("mine", copy)
    assert taken.read_text() == "kept"
    assert not (copy / "experiments/mine.py").exists()


def test_the_template_is_no_experiment_of_the_list():
    assert _new.STEM not in names()
