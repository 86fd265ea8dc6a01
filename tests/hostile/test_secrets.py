"""What the environment holds stays there: no log, receipt, checkpoint or job script has it."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import linear_autoencoder
from launch.__main__ import main as launch
from seqjax.experiment import main

NAMES = ("MY_SECRET_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "SLURM_JWT")


@pytest.fixture
def secret(monkeypatch) -> bytes:
    value = secrets.token_hex(16)
    for name in NAMES:
        monkeypatch.setenv(name, value)
    return value.encode()


def holders(folder: Path, secret: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


@pytest.mark.parametrize("ends_badly", [False, True])
def test_a_run(ends_badly, secret, tmp_path, capfd):
    flags = ["--dataset", "digits", "--run-dir", str(tmp_path / "run"), "--steps", "60", "--devices", "1"]
    if ends_badly:
        flags += ["--learning-rate", "1e38"]
    with pytest.raises(SystemExit) as end:
        main(linear_autoencoder.Config, linear_autoencoder.build, smoke={}, args=flags)
    assert end.value.code == (3 if ends_badly else 0)
    assert len(list((tmp_path / "run").rglob("*"))) > 5
    out, err = capfd.readouterr()
    assert not holders(tmp_path, secret)
    assert secret.decode() not in out + err


def test_a_run_that_is_a_fault_of_ours(secret, tmp_path):
    """Not even in a traceback."""
    (tmp_path / "faulty.py").write_text(
        "from experiments.linear_autoencoder import Config\nfrom seqjax.experiment import main\n"
        "def build(config): 1 / 0\nmain(Config, build, smoke={}, args=['--run-dir', 'run'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "faulty.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
    )
    assert b"Traceback" in ended.stderr
    assert secret not in ended.stdout + ended.stderr
    assert not holders(tmp_path, secret)


@pytest.mark.parametrize("target", ["slurm", "kubernetes", "tpu"])
def test_a_job(target, secret, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    more = {
        "slurm": [],
        "kubernetes": ["--image", "i", "--claim", "c"],
        "tpu": ["--tpu", "t", "--zone", "z"],
    }[target]
    assert launch([target, "linear_autoencoder", *more, "--dry-run"]) == 0
    out, err = capfd.readouterr()
    assert "linear_autoencoder" in out
    assert secret.decode() not in out + err
    assert not holders(tmp_path, secret)
