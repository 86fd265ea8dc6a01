import subprocess
import sys
from pathlib import Path

import pytest

from experiments.__main__ import entries, entry, main, names

ROOT = Path(__file__).parent.parent


def module(folder: Path, name: str, text: str) -> Path:
    (folder / f"{name}.py").write_text(text)
    return folder / f"{name}.py"


def test_an_entry_is_read_from_the_docstring_without_running_the_module(tmp_path):
    path = module(
        tmp_path,
        "toy",
        '"""Toys play [bold]better[/bold]: a claim\nover two lines.\n\nData: digits, or\n  a path\nTime: 3 s\n'
        'Run: python -m experiments.toy\nExpected: 3.\n\nTime flies, but not here.\n"""\nraise SystemExit(9)\n',
    )
    assert entry(path) == (
        "toy",
        "Toys play [bold]better[/bold]: a claim over two lines.",
        "digits, or a path",
        "3 s",
        "python -m experiments.toy",
        "3.",
    )


def test_modules_without_words_or_syntax_are_listed(tmp_path):
    module(tmp_path, "silent", "x = 1\n")
    module(tmp_path, "broken", "def (:\n")
    module(tmp_path, "__main__", '"""No experiment."""')
    module(tmp_path, "not-a-name", '"""No experiment."""')
    assert names(tmp_path) == ["broken", "silent"]
    broken, silent = entries(tmp_path)
    assert broken.claim.startswith("cannot be read")
    assert silent == ("silent", "", "", "", "", "")


def test_every_experiment_says_all(capsys):
    for found in entries():
        assert all(found), found
        assert found.run.startswith(f"python -m experiments.{found.name}")
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "linear_autoencoder" in shown
    assert shown.isascii()


@pytest.mark.parametrize("argument", ["autoencoder", "--nosuch", "a\nb"])
def test_arguments_are_refused_in_one_line(argument, capsys):
    assert main([argument]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_listing_imports_no_experiment_and_survives_a_closed_pipe():
    probe = "import sys; from experiments.__main__ import main; main([]); sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
