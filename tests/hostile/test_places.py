"""Names that lead elsewhere: nothing is written outside the place that a command was given, and refusals are short."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from readers import DESCRIPTION, MEMBERS, NEWEST, ROW, copied_checkpoint, manifest, restored, signed

from experiments import linear_autoencoder
from launch import progress
from launch.__main__ import main as launch
from results.__main__ import main as results
from seqjax.data.files import file_dataset
from seqjax.data.load import load
from seqjax.errors import CheckpointError, DataError, UsageError
from seqjax.experiment import main
from seqjax.numpy_files import npz_names, read_npz

AWAY = [
    "..",
    "../up",
    "../../../../up",
    "a/../../up",
    "/up",
    "//up",
    "~root/up",
    "C:\\up",
    "..\\up",
    "%2e%2e%2fup",
    "up\0.npz",
    "up\nand a second line\nand a third",
    "up\nand a second line\nand a third.npz",
    "\x1b[2Jup",
    "\u202eup",
    "\udcffup",  # a byte that is no UTF-8, as the operating system hands it over
    "$(touch up)",
    "`touch up`",
    "; touch up;",
    "|touch up",
    "--help=up",
    "-",
    "up" * 3000,
    " ",
    "",
]


@pytest.fixture
def inside(tmp_path, monkeypatch) -> Path:
    """Where the test stands, some folders deep, with everything else that a name could lead to below `tmp_path`."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEQJAX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("SEQJAX_RAW_DIR", raising=False)
    return folder


def below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def ended(action, capsys) -> tuple[int, str]:
    """Exit code and error output of a command line in this process."""
    try:
        code = action()
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr().err


def assert_short(told: str) -> None:
    lines = told.splitlines()
    assert 1 <= len(lines) <= 2, told
    assert all(line.isprintable() for line in lines), told


@pytest.mark.parametrize("name", AWAY, ids=ascii)
def test_data_sets(name, inside, tmp_path):
    before = below(tmp_path)
    with pytest.raises(DataError):
        load(name)
    assert below(tmp_path) == before


@pytest.mark.parametrize("name", AWAY, ids=ascii)
def test_data_sets_of_a_run(name, inside, tmp_path, capsys):
    flags = [f"--dataset={name}", "--run-dir", "run", "--steps", "1"]
    code, told = ended(lambda: main(linear_autoencoder.Config, linear_autoencoder.build, smoke={}, args=flags), capsys)
    assert code == 2
    assert_short(told)
    assert below(tmp_path) <= {*inside.parents, inside, *below(inside)}


@pytest.mark.parametrize("name", [name for name in AWAY if name.strip()], ids=ascii)
def test_experiments(name, inside, tmp_path, capsys):
    (inside / "grid.json").write_text(json.dumps({"grid": {"seed": [0, 1]}}))
    before = below(tmp_path)
    for command in (["local", name, "--background"], ["slurm", name], ["sweep", name, "--grid", "grid.json"]):
        code, told = ended(lambda command=command: launch(command), capsys)
        assert code == 2, command
        assert_short(told)
    assert below(tmp_path) == before


@pytest.mark.parametrize("name", [name for name in AWAY if name.strip()], ids=ascii)
def test_rows(name, inside, tmp_path, capsys):
    before = below(tmp_path)
    for action in ("reproduce", "verify"):
        code, told = ended(lambda action=action: results([action, name], rows=[ROW], folder=inside), capsys)
        assert code == 2
        assert_short(told)
    assert below(tmp_path) == before


@pytest.mark.parametrize("name", AWAY, ids=ascii)
def test_members_of_archives(name, inside, tmp_path):
    array = io.BytesIO()
    np.save(array, np.ones((20, 3)))
    with zipfile.ZipFile("a.npz", "w") as archive:
        for member in ("x.npy", f"{name.encode(errors='replace').decode()[:2000]}.npy", f"{name[:9]!a}/x.npy"):
            archive.writestr(member, array.getvalue())
    before = below(tmp_path)
    file_dataset(Path("a.npz"))
    read_npz(Path("a.npz"), npz_names(Path("a.npz")))
    assert below(tmp_path) == before


@pytest.mark.parametrize("name", AWAY, ids=ascii)
@pytest.mark.parametrize("field", ["run_dir", "name", "hash"])
def test_members_of_a_sweep(field, name, inside):
    forged = [MEMBERS[0], MEMBERS[1] | {field: name}]
    (inside / progress.FILE).write_text("".join(json.dumps(member) + "\n" for member in forged))
    with pytest.raises(UsageError, match="expected the folder of a sweep"):
        progress.read(inside)


@pytest.mark.parametrize("name", AWAY, ids=ascii)
def test_files_of_a_checkpoint(name, inside, tmp_path):
    copied_checkpoint(inside)
    forged = manifest() | {"files": manifest()["files"] | {name: "0" * 64}}
    (inside / f"{NEWEST}.json").write_bytes(signed(forged))
    before = below(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint can be trusted") as refused:
        restored(inside)
    assert_short(str(refused.value))
    assert below(tmp_path) == before


@pytest.mark.parametrize("name", AWAY, ids=ascii)
@pytest.mark.parametrize("field", ["experiment", "dataset", "data_sha256"])
def test_description_of_a_run(field, name, inside, tmp_path, capsys):
    """A run directory from elsewhere, that a run is asked to continue in."""
    run = inside / "run"
    run.mkdir()
    forged = DESCRIPTION | ({"config": DESCRIPTION["config"] | {field: name}} if field == "dataset" else {field: name})
    (run / "config.json").write_text(json.dumps(forged))
    before = below(tmp_path)
    flags = ["--dataset", "digits", "--run-dir", "run", "--steps", "1"]
    code, told = ended(lambda: main(linear_autoencoder.Config, linear_autoencoder.build, smoke={}, args=flags), capsys)
    assert code == 2
    assert_short(told.splitlines()[0])
    assert all(line.isprintable() for line in told.splitlines()), told
    assert {path for path in below(tmp_path) - before if tmp_path / "data" not in path.parents} <= {
        tmp_path / "data",
        run / ".seqjax-lock",
    }


def test_links_in_a_run_directory_are_replaced_and_not_written_through(inside, tmp_path):
    run, outside = inside / "run", tmp_path / "outside"
    run.mkdir()
    outside.write_text("left alone")
    for name in ("config.json", "metrics.jsonl", "receipt.json"):
        os.symlink(outside, run / name)
    flags = ["--dataset", "digits", "--run-dir", "run", "--steps", "2", "--batch-size", "8", "--devices", "1"]
    with pytest.raises(SystemExit):
        main(linear_autoencoder.Config, linear_autoencoder.build, smoke={}, args=flags)
    assert outside.read_text() == "left alone"
