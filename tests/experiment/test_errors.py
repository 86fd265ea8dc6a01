"""What a user can get wrong ends in exit code 2 (4 for checkpoints), one or two lines, and nothing overwritten."""

import dataclasses
import os
import shutil

import commands
import numpy as np
import pytest
from commands import QUICK, command

from experiments import autoencoder, linear_autoencoder
from seqjax.experiment import Options, main, run
from seqjax.experiment.options import parse


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    with pytest.raises(SystemExit):
        main(linear_autoencoder.Config, linear_autoencoder.build, smoke={}, args=[*QUICK, "--run-dir", str(run_dir)])
    return run_dir


@pytest.fixture
def run_dir(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "copy")


def assert_refused(result, *words, code=2):
    exit_code, _, err = result
    assert exit_code == code, err
    assert 1 <= len(err.strip().splitlines()) <= 2, err
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--stepz", "3"], ["--stepz", "--help"]),
        (["--steps", "many"], ["--steps", "'many'"]),
        (["--steps"], ["--steps"]),
        (["--driver", "tpu"], ["--driver", "tpu"]),
        (["--track", "foo"], ["linear_autoencoder: invalid choice 'foo' for argument '--track'"]),
        (["--seeds", "0"], ["--seeds 0", "1 to 65536"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--devices", "9"], ["--devices 9", "8 cpu"]),
        (["--devices", "8", "--driver", "jit", "--reproducible"], ["--reproducible: --driver jit"]),
        (["--host-devices", "0"], ["--host-devices 0: expected 1 to 512"]),
        (["--save-every", "-3"], ["--save-every"]),
        (["--steps", "-3"], ["steps", "-3"]),
        (["--steps", "99999999999"], ["steps", "99999999999"]),
        (["--batch-size", "0"], ["batch_size", "0"]),
        (["--chapter-steps", "0"], ["chapter_steps", "0"]),
        (["--chapter-steps", "0", "--overfit-batch"], ["chapter_steps", "0"]),
        (["--chapter-steps", "20", "--log-every", "7"], ["--log-every 7", "20"]),
        (["--batch-size", "30", "--devices", "8"], ["30", "8 devices"]),
        (["--dataset", "no_such_data"], ["no_such_data", "digits"]),
        (["--dataset", "no/such/file.npz"], ["no/such/file.npz"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, args, words):
    assert_refused(command(capsys, "--run-dir", tmp_path / "run", *args), *words)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--hidden", "0"], ["hidden", "0"]),
        (["--code-size", "0"], ["code_size", "0"]),
        (["--active-units", "99"], ["active_units", "99"]),
        (["--accumulate", "5", "--batch-size", "32", "--devices", "1"], ["accumulate", "5", "32"]),
        (["--learning-rate", "0"], ["learning_rate", "0"]),
        (["--learning-rate", "nan"], ["learning_rate", "nan"]),
        (["--corruption", "masking", "--corruption-level", "1.5"], ["corruption_level", "1.5"]),
        (["--ema-decay", "1.5"], ["ema_decay", "1.5"]),
        (["--patience", "0"], ["patience", "0"]),
        (["--complexity", "l1", "--beta", "-1"], ["beta", "-1"]),
        (["--complexity", "l1"], ["beta", "0.0"]),
        (["--beta", "0.1"], ["beta", "0.1"]),
    ],
)
def test_bad_configurations(capsys, tmp_path, args, words):
    assert_refused(command(capsys, "--run-dir", tmp_path / "run", *args, module=autoencoder), *words)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(7, np.float32), ["[7]"]),
        (np.zeros((0, 3), np.float32), ["no rows"]),
        (np.asarray([[0.0, 1.0], [np.nan, 0.0], [0.5, 0.5]]), ["NaN", "row 1"]),
        (np.asarray([["a", "b"]], dtype=object), ["object"]),
        (np.full((40, 3), 7.0), ["[0, 1]"]),
    ],
)
def test_bad_arrays(capsys, tmp_path, array, words):
    path = tmp_path / "own.npy"
    np.save(path, array, allow_pickle=True)
    result = command(capsys, "--run-dir", tmp_path / "run", "--dataset", path, *QUICK, module=autoencoder)
    assert_refused(result, *(w for w in words if w != "NaN"))


def test_foreign_directory_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert_refused(command(capsys, "--run-dir", tmp_path, *QUICK), "thesis.tex", "config.json")
    (tmp_path / "config.json").write_text("{}")
    assert_refused(command(capsys, "--run-dir", tmp_path, *QUICK), "no readable config.json", "Name a new or empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "thesis.tex"]
    (tmp_path / "config.json").unlink()
    file = tmp_path / "file"
    file.write_text("x")
    assert_refused(command(capsys, "--run-dir", file, *QUICK), f"--run-dir {file}: is a file, expected a directory")
    assert_refused(command(capsys, "--run-dir", file / "below", *QUICK), "cannot be written")
    assert file.read_text() == "x"


def test_unwritable_directory(capsys):
    # not a matter of permissions, which do not bind root
    assert_refused(command(capsys, "--run-dir", "/proc/seqjax", *QUICK), "/proc/seqjax", "cannot be written")


def test_unreadable_configuration_file(capsys, tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert_refused(command(capsys, "--run-dir", tmp_path, *QUICK), "config.json")
    assert (tmp_path / "config.json").read_text() == "{"


def test_configuration_of_another_run_is_told_field_by_field(capsys, run_dir):
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    result = command(capsys, "--run-dir", run_dir, *QUICK, "--code-size", "4", "--seed", "2")
    assert_refused(result, "code_size is 10 there and 4 here", "plan.seed is 0 there and 2 here", "--run-dir")
    assert before == {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}


def test_second_process_on_the_same_directory(capsys, run_dir):
    # flock belongs to the open file: this process can hold it against itself
    from seqjax.storage import locked

    with locked(run_dir):
        assert_refused(command(capsys, "--run-dir", run_dir, *QUICK), str(run_dir), "another process")
    assert command(capsys, "--run-dir", run_dir, *QUICK)[0] == 0


@pytest.mark.parametrize(
    "name",
    ["checkpoints", "figures", "flight", "metrics.jsonl", "receipt.json", ".seqjax-lock", "tensorboard"],
)
def test_what_lies_behind_a_link_in_a_run_directory_is_not_touched(name, capsys, run_dir, tmp_path):
    (run_dir / "receipt.json").unlink()
    there, outside = run_dir / name, tmp_path / "outside"
    if there.exists():
        there.rename(outside)
    there.symlink_to(outside)
    before = {path: path.stat().st_mtime_ns for path in outside.rglob("*")}
    assert_refused(command(capsys, "--run-dir", run_dir, *QUICK), f"{name} is a link")
    assert {path: path.stat().st_mtime_ns for path in outside.rglob("*")} == before


def test_lines_of_metrics_that_are_no_file_or_endless_are_not_read(capsys, run_dir):
    (run_dir / "receipt.json").unlink()
    path = run_dir / "metrics.jsonl"
    path.unlink()
    os.mkfifo(path)
    assert_refused(command(capsys, "--run-dir", run_dir, *QUICK), "metrics.jsonl: cannot be read (is no regular file)")
    path.unlink()
    path.touch()
    os.truncate(path, 60_000_000_000)
    assert_refused(
        command(capsys, "--run-dir", run_dir, *QUICK),
        "metrics.jsonl: cannot be read (has a line of more than 16777216 bytes)",
    )


def test_no_trusted_checkpoint_ends_in_exit_code_four_before_training(capsys, run_dir):
    (run_dir / "receipt.json").unlink()
    for manifest in (run_dir / "checkpoints").glob("*.json"):
        manifest.write_text(manifest.read_text().replace("sha256", "sha257"))
    metrics = (run_dir / "metrics.jsonl").read_bytes()
    result = command(capsys, "--run-dir", run_dir, *QUICK)
    assert_refused(result, "no checkpoint can be trusted", code=4)
    for manifest in (run_dir / "checkpoints").glob("*.json"):
        manifest.unlink()
    assert_refused(command(capsys, "--run-dir", run_dir, *QUICK), "no checkpoint can be trusted", code=4)
    assert (run_dir / "metrics.jsonl").read_bytes() == metrics


def test_values_that_are_not_finite_end_in_exit_code_three(capsys, tmp_path):
    result = command(capsys, "--run-dir", tmp_path, *QUICK, "--learning-rate", "1e30")
    assert_refused(result, "seed 0", "--learning-rate", code=3)
    assert not (tmp_path / "receipt.json").exists()
    from seqjax.experiment import load

    assert np.isfinite(load(tmp_path).params["params"]["encoder_kernel_0"]).all()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_the_newest_checkpoint_is_finite_whatever_an_update_would_make_of_it(capsys, tmp_path):
    run_dir = tmp_path / "run"
    flags = ["--steps", "40", "--chapter-steps", "5", "--save-every", "0", "--learning-rate", "1e39"]
    assert_refused(command(capsys, "--run-dir", run_dir, *QUICK, *flags), "seed 0", code=3)
    from seqjax.experiment import load

    assert np.isfinite(load(run_dir).params["params"]["encoder_kernel_0"]).all()
    code, out, _ = command(capsys, "--replay", f"{run_dir}@0")
    assert code == 3
    assert "not finite: params " in out
    assert "schedule) gives 1 infinite of 1 values of float32[], from float64[] up to 1e+39" in out


def test_help_documents_every_field():
    running = commands.process("autoencoder", "--help")
    code, out, err = commands.finished(running)
    assert code == 0, err
    for field in (*autoencoder.Config.__dataclass_fields__, "seeds", "run_dir", "driver", "smoke"):
        assert f"--{field.replace('_', '-')}" in out
    undocumented = [line for line in out.splitlines() if line.strip().startswith("(default")]
    assert not undocumented


def test_damaged_receipt_and_metrics_are_told_and_left_alone(capsys, run_dir):
    receipt, metrics = run_dir / "receipt.json", run_dir / "metrics.jsonl"
    for content in (receipt.read_bytes()[:100], b"{}", b"\xff\x00"):
        receipt.write_bytes(content)
        assert_refused(command(capsys, "--run-dir", run_dir, *QUICK), "receipt.json", "not a readable receipt")
        assert receipt.read_bytes() == content
    receipt.unlink()
    for content in (b"garbage\n", b'{"step": 3}\n', b"\xff\n", b"[]\n"):
        metrics.write_bytes(content)
        assert_refused(command(capsys, "--run-dir", run_dir, *QUICK), "metrics.jsonl", "line 1")
        assert metrics.read_bytes() == content


def test_data_that_components_reconstruct_exactly_have_no_gap(capsys, tmp_path):
    path = tmp_path / "own data ä.npy"
    np.save(path, np.full((50, 5), 0.5, np.float32))
    assert_refused(
        command(capsys, "--run-dir", tmp_path / "run", "--dataset", path, *QUICK), "own data ä", "--code-size"
    )


def test_outputs_that_stay_in_the_unit_interval_by_chance_make_no_other_table(capsys, tmp_path):
    path = tmp_path / "own.npy"
    np.save(path, np.random.default_rng(0).uniform(0.02, 0.22, (60, 4)))
    config = dataclasses.replace(
        autoencoder.Config(), dataset=str(path), output="linear", code_size=2, hidden=(8,), steps=0
    )
    receipt = run(config, autoencoder.build, Options(seeds=8, devices=1, run_dir=tmp_path / "run"))
    assert "autoencoder/cross_entropy" not in receipt["metrics"]
    assert len(receipt["metrics"]["autoencoder/squared_error"]["per_seed"]) == 8


def test_a_flag_beside_smoke_goes_before_it_also_where_it_asks_for_the_default():
    default, small = autoencoder.Config(), autoencoder.Config(**autoencoder.SMOKE)
    assert default.steps != small.steps
    flags = ["--smoke", "--dataset", "own.npz", "--steps", str(default.steps)]
    config, options = parse(autoencoder.Config, "", "autoencoder", flags, smoke=autoencoder.SMOKE)
    assert options.smoke
    assert config == dataclasses.replace(small, dataset="own.npz", steps=default.steps)
    assert parse(autoencoder.Config, "", "autoencoder", [], smoke=autoencoder.SMOKE)[0] == default
