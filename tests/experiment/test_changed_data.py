"""A finished run whose data are no longer those it was trained on: told before anything is restored."""

import json
import shutil

import numpy as np
import pytest
from commands import command

import seqjax
from experiments import adding, linear_autoencoder
from experiments.__main__ import main as experiments
from seqjax import checkpoint
from seqjax.errors import DataError, UsageError
from seqjax.experiment import Options, run, rundir
from seqjax.experiment.loading import built_again

X = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
CHANGES = {"values": X + 1, "number of rows": X[:50], "width": X[:, :11], "nothing left to learn": X[:, :9]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with `own.npy` and `run`."""
    folder = tmp_path_factory.mktemp("trained")
    np.save(folder / "own.npy", X)
    config = linear_autoencoder.Config(dataset=str(folder / "own.npy"), steps=20, chapter_steps=20, batch_size=32)
    run(config, linear_autoencoder.build, Options(run_dir=folder / "run", seeds=1, devices=1))
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy whose configuration names the file in it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    recorded(tmp_path, config=described(tmp_path)["config"] | {"dataset": str(tmp_path / "own.npy")})
    return tmp_path


def described(folder):
    return json.loads((folder / "run" / "config.json").read_text())


def recorded(folder, **changes):
    (folder / "run" / "config.json").write_text(json.dumps(described(folder) | changes))


def unrestored(*_):
    raise AssertionError("something is restored")


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_has_changed_is_named(change, folder, monkeypatch, capsys):
    before = described(folder)["data_sha256"]
    assert seqjax.load(folder / "run").experiment.data.sha256 == before
    np.save(folder / "own.npy", CHANGES[change])
    monkeypatch.setattr(checkpoint, "restore", unrestored)
    monkeypatch.setattr(checkpoint, "restore_newest", unrestored)
    with pytest.raises(UsageError) as caught:
        seqjax.load(folder / "run")
    told = str(caught.value)
    assert told.startswith(
        f"{folder}/own.npy has changed since the run in {folder}/run was trained: sha256 {before[:8]}…"
    )
    assert told.endswith("Put the old file back.")
    assert len(told.splitlines()) == 2
    assert experiments(["export", str(folder / "run"), str(folder / "out")]) == 2
    assert capsys.readouterr().err == f"export: {told}\n"
    assert not (folder / "out").exists()
    code, _, err = command(capsys, "--replay", f"{folder / 'run'}@20")
    assert (code, err.removeprefix("linear_autoencoder: ")) == (2, f"{told}\n")


def test_made_up_data_may_be_rounded_as_another_kind_of_device_does(folder):
    config = adding.Config(length=5, test_size=20)
    made_up = rundir.described("adding", config, {"platform": "gpu"}) | {"data_sha256": "1" * 64}
    assert built_again(folder / "run", made_up, config, adding.build).data.name == "adding_5"


def test_a_continued_run_whose_file_has_changed_is_told_of_the_file(folder, capsys):
    flags = ["--dataset", folder / "own.npy", "--steps", 20, "--chapter-steps", 20, "--batch-size", 32]
    flags += ["--seeds", 1, "--devices", 1, "--run-dir", folder / "run"]
    np.save(folder / "own.npy", X + 1)
    code, _, err = command(capsys, *flags)
    assert code == 2
    assert f"{folder}/own.npy has changed since the run in {folder}/run was trained: sha256" in err
    assert "Put the old file back to continue it, or name another --run-dir." in err
    assert "flags" not in err
    # of two differences both are told
    code, _, err = command(capsys, *flags, "--code-size", "4")
    assert code == 2
    assert "code_size is 10 there and 4 here" in err
    assert "data_sha256 is" in err


def test_a_path_that_was_relative_is_said_to_be(folder, tmp_path_factory, monkeypatch, capsys):
    recorded(folder, config=described(folder)["config"] | {"dataset": "own.npy"})
    monkeypatch.chdir(folder)
    assert seqjax.load("run").config.dataset == "own.npy"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(DataError, match="relative to the folder in which the run was started") as caught:
        seqjax.load(folder / "run")
    assert str(caught.value).startswith("own.npy: no such file.\n")
    assert experiments(["export", str(folder / "run"), "out"]) == 2
    assert capsys.readouterr().err == f"export: {caught.value}\n"
    # of a folder there is no more than a name
    recorded(folder, config=described(folder)["config"] | {"dataset": "own"})
    with pytest.raises(DataError, match=r"^unknown data set 'own'[^\n]*\nIf 'own' is a path, it is relative"):
        seqjax.load(folder / "run")
    # where there is nothing that it could be relative to
    recorded(folder, config=described(folder)["config"] | {"dataset": str(folder / "gone.npy")})
    with pytest.raises(DataError, match=r"gone\.npy: no such file\.$"):
        seqjax.load(folder / "run")
