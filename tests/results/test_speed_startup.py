"""The table of start-up times says what its receipt says; and what makes `--help` slow is not imported for it."""

import functools
import json
import subprocess
import sys

from experiments.__main__ import names
from results.speed import startup

SLOW = ("matplotlib", "scipy", "sklearn", "orbax", "tensorflow_datasets", "tensorstore", "pandas", "torch")


def test_the_table_follows_the_receipt(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(startup, "COMMANDS", {name: ["-c", "pass"] for name in ("import jax", "import jax again")})
    monkeypatch.setattr(startup, "smoke_run", functools.partial(lambda folder, *, kept: None))
    startup.main(["--repetitions", "3", "--runs", "2", "--output", str(tmp_path)])
    receipt = json.loads((tmp_path / "startup.json").read_text())
    text = (tmp_path / "startup.md").read_text()
    assert text in capsys.readouterr().out
    counts = {name: len(row["seconds"]) for name, row in receipt["rows"].items()}
    assert counts == {
        "import jax": 3,
        "import jax again": 3,
        "small run, programs compiled": 2,
        "small run, programs kept": 2,
    }
    for name, row in receipt["rows"].items():
        assert f"| {name} | {row['median_s']:.2f} |" in text


def test_what_takes_long_to_import_is_imported_when_it_is_used():
    modules = ", ".join(["seqjax.experiment", *(f"experiments.{name}" for name in names())])
    code = f"import sys, {modules}; print(*(name for name in {SLOW} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_importing_the_package_alone_does_not_import_jax():
    code = "import sys, seqjax; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
