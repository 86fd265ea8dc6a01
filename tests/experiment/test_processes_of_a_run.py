"""Runs of several processes on this machine: the bits of one process, and an end for all when one of them dies."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

import psutil
import pytest
from commands import QUICK, ROOT, command, finished, process

from experiments import autoencoder, deep_clustering, gan, pixel_mnist, vae
from seqjax.errors import UsageError
from seqjax.experiment import loopback, rundir
from seqjax.parallel.coordinator import LOOPBACK

ARGS = [*QUICK, "--reproducible"]


def receipt(run_dir):
    return json.loads((run_dir / "receipt.json").read_text())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def workers(running):
    """The processes that it has started, by their number."""
    found = psutil.Process(running.pid).children()
    return {int(child.environ()["JAX_PROCESS_ID"]): child for child in found}


def in_step(running, run_dir):
    """Waits until its training has left a line of metrics."""
    begin = time.monotonic()
    while not (run_dir / "metrics.jsonl").exists() or not rundir.read_metrics(run_dir):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() - begin < 200
        time.sleep(0.1)


def test_two_processes_compute_the_bits_of_one_and_the_first_writes_for_both(tmp_path, capsys):
    of_one, run_dir = tmp_path / "one", tmp_path / "two"
    assert command(capsys, *ARGS, "--run-dir", of_one)[0] == 0
    code, out, err = finished(process("linear_autoencoder", *ARGS, "--stream", "--processes", 2, "--run-dir", run_dir))
    assert code == 0, err
    found, expected = receipt(run_dir), receipt(of_one)
    assert found["state_sha256"] == expected["state_sha256"]
    assert found["metrics"] == expected["metrics"]
    assert (found["plan"]["processes"], found["plan"]["devices"], expected["plan"]["processes"]) == (2, 2, 1)
    assert lines(run_dir / "metrics.jsonl") == lines(of_one / "metrics.jsonl")
    assert out.count("receipt  ") == 1
    assert len(re.findall(r"step 60/60", out)) == 1


def test_the_plan_of_two_processes_is_said_once_and_writes_nothing(tmp_path):
    run_dir = tmp_path / "run"
    code, out, err = finished(process("linear_autoencoder", *QUICK, "--plan", "--processes", 2, "--run-dir", run_dir))
    assert code == 0, err
    assert out.count("predicted: ") == 1
    assert "2 cpu device(s) of 2 process(es) by shard_map" in out
    assert not run_dir.exists()


@pytest.mark.long
def test_a_run_of_two_processes_goes_on_with_one_and_with_four(tmp_path, capsys):
    args = [*ARGS, "--steps", 200, "--chapter-steps", 5]
    assert command(capsys, *args, "--run-dir", tmp_path / "whole")[0] == 0
    run_dir, copy = tmp_path / "run", tmp_path / "copy"
    running = process("linear_autoencoder", *args, "--processes", 2, "--run-dir", run_dir)
    in_step(running, run_dir)
    running.send_signal(signal.SIGTERM)
    code, _, err = finished(running)
    assert code == 75, err
    assert err.count("stopped by a signal at step") == 1
    shutil.copytree(run_dir, copy)
    assert command(capsys, *args, "--run-dir", copy)[0] == 0
    code, _, err = finished(process("linear_autoencoder", *args, "--processes", 4, "--run-dir", run_dir))
    assert code == 0, err
    assert len({receipt(tmp_path / name)["state_sha256"] for name in ("whole", "run", "copy")}) == 1
    assert [each["processes"] for each in receipt(run_dir)["earlier"]] == [2]


@pytest.mark.long
def test_a_killed_process_ends_the_run_within_a_minute(tmp_path):
    run_dir = tmp_path / "run"
    running = process(
        "linear_autoencoder", *ARGS, "--processes", 2, "--run-dir", run_dir, "--steps", 10**8, "--save-every", 0
    )
    in_step(running, run_dir)
    killed = time.monotonic()
    workers(running)[1].kill()
    code, _, err = finished(running)
    assert time.monotonic() - killed < 60
    assert code == 128 + signal.SIGKILL
    assert "process 1 of 2 was ended by SIGKILL" in err
    assert re.search(r"process 1 on \S+ has not been heard of for 30 s", err)
    assert "Traceback" not in err


def test_a_killed_first_process_is_named_by_the_other(tmp_path):
    address = f"{LOOPBACK}:{loopback._free_port()}"
    both = [
        process(
            "linear_autoencoder", *ARGS, "--run-dir", tmp_path / "run", "--steps", 10**8,
            JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(index),
        )
        for index in range(2)
    ]  # fmt: skip
    in_step(both[0], tmp_path / "run")
    killed = time.monotonic()
    both[0].kill()
    code, _, err = finished(both[1])
    assert time.monotonic() - killed < 10
    assert code == 1
    assert re.fullmatch(r"seqjax: process 0 on \S+ has died: .*\nRun the same command to continue .*\n", err)
    finished(both[0])


def test_a_taken_port_ends_all_processes_at_once(tmp_path, monkeypatch, capfd):
    with socket.create_server((LOOPBACK, 0)) as other:
        monkeypatch.setattr(loopback, "_free_port", lambda: other.getsockname()[1])
        begin = time.monotonic()
        args = ["-m", "experiments.linear_autoencoder", *ARGS, "--run-dir", str(tmp_path / "run")]
        monkeypatch.chdir(ROOT)
        assert loopback.run_on_loopback(2, [sys.executable, *args]) == 2
    assert time.monotonic() - begin < 20, "most of which Python takes to start"
    err = capfd.readouterr().err
    assert "Run the same command again" in err
    assert "JAX_COORDINATOR_ADDRESS" not in err, "which nobody has set"
    assert "Traceback" not in err


WAITING = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def test_processes_that_cannot_all_be_started_are_ended(monkeypatch):
    started = []

    def start(*args, **named):
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(subprocess.Popen(*args, **named))
        return started[-1]

    monkeypatch.setattr(loopback, "subprocess", types.SimpleNamespace(Popen=start))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(
        UsageError, match="--processes 3: process 2 cannot be started: Resource temporarily unavailable"
    ):
        loopback.run_on_loopback(3, WAITING)
    assert [each.returncode for each in started] == [-signal.SIGKILL] * 2
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_processes_are_started_reaches_all(monkeypatch, capfd, number):
    started = []

    def start(*args, **named):
        started.append(subprocess.Popen(*args, **named))
        if len(started) == 1:
            os.kill(os.getpid(), number)
        return started[-1]

    monkeypatch.setattr(loopback, "subprocess", types.SimpleNamespace(Popen=start))
    previous = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert loopback.run_on_loopback(2, WAITING) == 128 + signal.SIGTERM
    finally:
        signal.signal(number, previous)
    assert [each.returncode for each in started] == [-signal.SIGTERM] * 2
    # both got it at once: either may be the first to end
    assert capfd.readouterr().err.endswith(
        ("process 0 of 2 was ended by SIGTERM.\n", "process 1 of 2 was ended by SIGTERM.\n")
    )


def test_a_terminal_that_nohup_ignores_ends_nothing(monkeypatch):
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ended = [sys.executable, "-S", "-c", "import os, signal; os.kill(os.getppid(), signal.SIGHUP)"]
        assert loopback.run_on_loopback(1, ended) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_processes_do_not_outlive_the_one_that_started_them(tmp_path):
    child = (
        "import os, pathlib, time; from seqjax.experiment.loopback import end_with_starter; end_with_starter();"
        f"pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch(); time.sleep(60)"
    )
    command = [sys.executable, "-c", child]
    parent = f"from seqjax.experiment.loopback import run_on_loopback; run_on_loopback(2, {command})"
    running = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, stderr=subprocess.PIPE)
    while len(names := [each.name for each in tmp_path.iterdir()]) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    children = [psutil.Process(int(name)) for name in names]
    running.kill()
    running.communicate(timeout=10)  # which they hold open
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_an_error_of_the_first_process_is_said_once_and_ends_both(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "foreign.txt").write_text("mine")
    begin = time.monotonic()
    code, _, err = finished(process("linear_autoencoder", *ARGS, "--processes", 2, "--run-dir", run_dir))
    assert code == 2
    assert err.count("holds foreign.txt but no config.json") == 1
    assert "Traceback" not in err
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(
    ("environment", "flags", "message"),
    [
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2"}, [], "SLURM_PROCID, SLURM_LOCALID, SLURM_STEP_NODELIST is not set"),
        (
            {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            ["--processes", 3],
            "--processes 3: the environment has started 2, of which this is number 0",
        ),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}, [], "SLURM_NTASKS, SLURM_LOCALID"),
        (
            {f"OMPI_COMM_WORLD_{name}": value for name, value in (("SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1"))},
            [],
            "mpirun -x JAX_COORDINATOR_ADDRESS=HOST:PORT",
        ),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}, [], "JAX_NUM_PROCESSES is not set"),
        (
            {"JAX_COORDINATOR_ADDRESS": "head", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
            [],
            "JAX_COORDINATOR_ADDRESS='head': expected HOST:PORT",
        ),
        ({}, ["--processes", 0], "--processes 0: expected 1 to 512"),
        ({}, ["--processes", 10**6], "--processes 1000000: expected 1 to 512"),
        ({}, ["--stuck-after", 0], "--stuck-after 0.0: expected a number of seconds above 0"),
    ],
)
def test_what_cannot_be_met_is_refused_at_once(tmp_path, monkeypatch, capsys, environment, flags, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    begin = time.monotonic()
    code, _, err = command(capsys, *ARGS, *flags, "--run-dir", tmp_path / "run")
    assert time.monotonic() - begin < 5
    assert code == 2
    assert message in err
    assert err.count("\n") <= 2
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_processes_listen_on_loopback_alone(tmp_path):
    running = process("linear_autoencoder", *ARGS, "--processes", 2, "--run-dir", tmp_path, "--steps", 10**8)
    try:
        in_step(running, tmp_path)
        heard = [c.laddr.ip for w in workers(running).values() for c in w.net_connections() if c.status == "LISTEN"]
        assert heard
        assert set(heard) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    finally:
        running.send_signal(signal.SIGTERM)
        finished(running)


@pytest.mark.long
@pytest.mark.parametrize("module", [autoencoder, vae, gan, pixel_mnist, deep_clustering], ids=lambda m: m.__name__[12:])
def test_every_kind_of_training_has_the_same_bits_on_two_processes(tmp_path, capsys, module):
    args = ["--smoke", "--reproducible", "--seeds", 1, "--devices", 1]
    assert command(capsys, *args, "--run-dir", tmp_path / "one", module=module)[0] == 0
    name = module.__name__.removeprefix("experiments.")
    code, _, err = finished(process(name, *args, "--processes", 2, "--run-dir", tmp_path / "two"))
    assert code == 0, err
    assert receipt(tmp_path / "two")["state_sha256"] == receipt(tmp_path / "one")["state_sha256"]


@pytest.mark.long
def test_a_recurrent_model_has_the_same_bits_on_four_processes(tmp_path, capsys):
    args = ["--smoke", "--reproducible", "--seeds", 1, "--devices", 1]
    assert command(capsys, *args, "--run-dir", tmp_path / "one", module=pixel_mnist)[0] == 0
    code, _, err = finished(process("pixel_mnist", *args, "--processes", 4, "--run-dir", tmp_path / "four"))
    assert code == 0, err
    assert receipt(tmp_path / "four")["state_sha256"] == receipt(tmp_path / "one")["state_sha256"]
