import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from standins import AS_FLAGS

from launch.__main__ import USAGE, main
from launch.local import background, command_of, foreground
from launch.status import status

ROOT = Path(__file__).parent.parent.parent
AWKWARD = ["two words", "it's", '"$HOME"', "a\nb", "naïve", ""]


def python(code: str, *args: str) -> list[str]:
    return [sys.executable, "-c", code, *args]


@pytest.mark.parametrize("name", ["nosuch", "autoencoder ", "auto'encoder", '"', "$HOME", "auto\nencoder", "../x", ""])
def test_an_unknown_experiment_is_one_line_and_exit_2(name, capsys):
    assert main(["local", name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(known in error for known in ("autoencoder", "linear_autoencoder"))
    assert repr(name) in error


def test_a_dry_run_prints_the_exact_command(capsys):
    flags = [*AS_FLAGS, "--dataset=--background", "--"]
    assert main(["local", "autoencoder", "--dry-run", "--", *flags]) == 0
    printed = shlex.split(capsys.readouterr().out)
    assert printed == [sys.executable, "-m", "experiments.autoencoder", *flags]


def test_flags_of_the_experiment_are_checked_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for flags in (["--nosuch", "3"], ["--steps", "abc"], ["stray"]):
        assert main(["local", "linear_autoencoder", "--background", "--", *flags]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_experiment_tells_its_flags(capfd):
    assert main(["local", "linear_autoencoder", "--", "--help"]) == 0
    assert "--code-size" in capfd.readouterr().out


@pytest.mark.parametrize(
    "args", [["nosuch", "x"], ["local"], ["local", "autoencoder", "--nosuch"], ["local", "a", "b"]]
)
def test_bad_usage_is_at_most_two_lines_and_exit_2(args, capsys):
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") <= 2


def test_no_arguments_print_the_usage(capsys):
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: python -m launch TARGET")
    assert all(re.search(rf"\n    {target}\s", said) for target in USAGE)


def test_the_foreground_passes_arguments_and_exit_code_through(capfd):
    assert foreground(python("import sys; print(sys.argv[1:]); sys.exit(75)", *AWKWARD)) == 75
    assert capfd.readouterr().out == f"{AWKWARD}\n"
    assert foreground(python("import os; os.kill(os.getpid(), 9)")) == 128 + 9


@pytest.mark.parametrize(
    ("number", "arrives"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)],
)
def test_the_foreground_passes_a_signal_on_once(number, arrives):
    # blocked before it says "ready": a signal that comes early waits
    run = (
        "import signal, sys\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, [{int(arrives)}])\n"
        "print('ready', flush=True)\n"
        f"signal.sigwait([{int(arrives)}])\n"
        f"sys.exit(75 if signal.sigtimedwait([{int(arrives)}], 0.2) is None else 76)\n"
    )
    # the tests themselves may run under nohup
    heeded = f"import signal, sys; signal.signal({int(number)}, signal.SIG_DFL)"
    outer = f"{heeded}; from launch.local import foreground; sys.exit(foreground([sys.executable, '-c', {run!r}]))"
    command = python(outer)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            # to the whole group, as a terminal's Ctrl-C
            os.killpg(process.pid, number)
            assert process.wait(timeout=30) == 75
        finally:
            process.kill()


def test_the_background_has_its_own_session_and_a_new_log_each_time(tmp_path):
    code = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == ''); print('err', file=sys.stderr)"
    logs = []
    for _ in range(2):
        started = background(python(code), "toy", tmp_path / "logs")
        assert started.process.wait(timeout=30) == 0
        logs.append(started.log.name)
        assert sorted(started.log.read_text().splitlines()) == ["True True", "err"]
    assert logs == ["toy-1.log", "toy-2.log"]


def test_a_background_run_leaves_a_finished_run_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run_dir = tmp_path / "runs/one"
    flags = ["--smoke", "--steps", "4", "--seeds", "1", "--run-dir", str(run_dir)]
    started = background(command_of("linear_autoencoder", flags), "linear_autoencoder", tmp_path / "runs/logs")
    assert started.process.wait(timeout=300) == 0, started.log.read_text()
    assert "receipt" in started.log.read_text()
    found = status(run_dir)
    assert (found.experiment, found.state, found.steps) == ("linear_autoencoder", "finished", "4/4")
    assert "linear_autoencoder/" in found.newest


def test_a_signal_that_is_ignored_here_is_passed_on_to_nobody():
    run = "import os, signal, time; os.kill(os.getppid(), signal.SIGHUP); time.sleep(0.3)"
    outer = f"import sys; from launch.local import foreground; sys.exit(foreground([sys.executable, '-c', {run!r}]))"
    ignoring = ["nohup", sys.executable, "-c", outer]
    ended = subprocess.run(ignoring, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert ended.returncode == 0, ended.stderr
