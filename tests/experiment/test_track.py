"""`--track`: a sink sees what `metrics.jsonl` has, and whatever it does the run ends with the same bits."""

import functools
import math
import struct
import sys
import threading
import types

import pytest
import toy
from commands import QUICK, command

from seqjax.experiment import Options, run, rundir, track
from seqjax.experiment import command as commands_of
from seqjax.experiment.track import Sink, opened, scalars, tracking

ONE = toy.Config(second_steps=0)
ROWS = [{"phase": 0, "step": step, "loss": [step / 2, None], "validation": [1.0, 3.0]} for step in (10, 20)]
NOTHING = Sink(lambda step, values: None, lambda measured, figures: None, lambda: None)


def tracked(run_dir, **more):
    return run(ONE, toy.build, Options(**({"seeds": 2, "devices": 1, "run_dir": run_dir, "track": "wandb"} | more)))


@pytest.fixture
def installed(monkeypatch):
    """Stands for the package of a sink, of which these tests need no more than that it could be found."""
    monkeypatch.setattr(track, "PACKAGES", {"tensorboard": "json", "wandb": "json"})


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("untracked")
    return run_dir, tracked(run_dir, track=None)


def failing(*args):
    raise OSError(28, "No space left on device")


def ending(*args):
    raise SystemExit(3)


def never_evaluated(config):
    return toy.build(config)._replace(evaluate=failing_evaluation)


def failing_evaluation(*args):
    raise RuntimeError("a fault of the program")


def test_the_sink_sees_each_line_once_and_what_the_run_has_measured(installed, untracked, tmp_path, monkeypatch):
    seen, finished, closed = [], [], []
    sink = Sink(lambda *given: seen.append(given), lambda *given: finished.append(given), lambda: closed.append(1))
    monkeypatch.setattr(commands_of, "opened", lambda tracker, run_dir, description: sink)
    receipt = tracked(tmp_path)
    assert receipt["state_sha256"] == untracked[1]["state_sha256"]
    assert (tmp_path / "metrics.jsonl").read_bytes() == (untracked[0] / "metrics.jsonl").read_bytes()
    assert (tmp_path / "config.json").read_bytes() == (untracked[0] / "config.json").read_bytes()
    assert seen == [(row["step"], scalars(row, "fit", range(2))) for row in rundir.read_metrics(tmp_path)]
    ((measured, figures),) = finished
    assert measured["evaluation/line/error"] == receipt["metrics"]["line/error"]["mean"]
    assert set(figures) == {"learning_curves"}
    assert closed == [1]
    # what is continued is shown from its first line on, what is finished not again
    (tmp_path / "receipt.json").unlink()
    first = list(seen)
    seen.clear()
    tracked(tmp_path)
    assert seen == first
    seen.clear()
    tracked(tmp_path)
    assert not seen


def test_a_faulty_sink_changes_no_bit_of_a_run(installed, untracked, tmp_path, monkeypatch, capsys):
    broken = NOTHING._replace(scalars=failing)
    monkeypatch.setattr(commands_of, "opened", lambda tracker, run_dir, description: broken)
    assert tracked(tmp_path)["state_sha256"] == untracked[1]["state_sha256"]
    assert (tmp_path / "metrics.jsonl").read_bytes() == (untracked[0] / "metrics.jsonl").read_bytes()
    assert capsys.readouterr().out.count("--track wandb:") == 1


@pytest.mark.parametrize("fault", [failing, ending])
@pytest.mark.parametrize("where", ["open", "scalars", "finish", "close"])
def test_a_fault_is_told_in_one_line_wherever_it_happens(where, fault, capsys, tmp_path):
    closed = []
    sink = NOTHING._replace(**{"close": lambda: closed.append(1)} | ({} if where == "open" else {where: fault}))
    with tracking("fake", fault if where == "open" else lambda: sink, ["fit"], range(2)) as sees:
        for _ in range(3):
            sees.lines(ROWS)
        sees.finish({"line/error": {"mean": 1.0}}, tmp_path)
    (line,) = capsys.readouterr().out.splitlines()
    said = "OSError: [Errno 28] No space left on device" if fault is failing else "SystemExit: 3"
    assert line == f"fake: {said}; the run goes on without it"
    # a sink that was opened is closed, so that its package has nothing left to do when the process ends
    assert closed == ([1] if where in ("scalars", "finish") else [])


@pytest.mark.parametrize("row", [ROWS[0] | {"phase": 7}, ROWS[0] | {"loss": [1.0]}])
def test_a_line_that_cannot_be_shown_is_the_fault_of_the_sink_and_not_of_the_run(row, capsys):
    with tracking("fake", lambda: NOTHING, ["fit"], range(2)) as sees:
        sees.lines([row])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("; the run goes on without it")


@pytest.mark.parametrize("where", ["open", "scalars", "close"])
def test_a_sink_that_hangs_is_left_behind(where, capsys, monkeypatch):
    monkeypatch.setattr(track, "MOST_WAITING", 5)
    released = threading.Event()

    def hang(*args):
        released.wait(60)
        return NOTHING

    sink = NOTHING if where == "open" else NOTHING._replace(**{where: hang})
    with tracking("fake", hang if where == "open" else lambda: sink, ["fit"], range(2), patience=0.2) as sees:
        for _ in range(10 if where != "close" else 1):
            sees.lines(ROWS)
    (line,) = capsys.readouterr().out.splitlines()
    said = "has not ended within 0 s" if where == "close" else "takes no more, 5 lines wait"
    assert line == f"fake: {said}; the run goes on without it"
    released.set()


@pytest.mark.parametrize(("build", "code"), [(toy.build, 0), (never_evaluated, 1)])
def test_the_process_ends_without_a_sink_that_hangs(build, code, installed, capsys, tmp_path, monkeypatch):
    released, ended = threading.Event(), []
    hanging = NOTHING._replace(scalars=lambda step, values: released.wait(60))
    monkeypatch.setattr(commands_of, "opened", lambda tracker, run_dir, description: hanging)
    monkeypatch.setattr(commands_of, "tracking", functools.partial(tracking, patience=0.1))
    monkeypatch.setattr(commands_of, "PATIENCE", 0.1)
    monkeypatch.setattr(commands_of.os, "_exit", ended.append)
    flags = ["--seeds", "2", "--devices", "1", "--second-steps", "0", "--track", "wandb", "--run-dir", tmp_path]
    module = types.SimpleNamespace(Config=toy.Config, build=build, SMOKE=toy.SMOKE)
    found, _, err = command(capsys, *flags, "--smoke", module=module)
    assert found == code
    assert ended == [code]
    assert (tmp_path / "receipt.json").exists() == (code == 0)
    # what nobody has foreseen is still shown whole
    assert ("RuntimeError: a fault of the program" in err) == (code == 1)
    (left,) = [thread for thread in threading.enumerate() if thread.name == "--track wandb"]
    released.set()
    left.join(30)
    assert not track.left_behind()


def test_the_run_waits_for_a_sink_that_is_slow(capsys):
    took, gate = [], threading.Event()
    sink = NOTHING._replace(scalars=lambda step, values: (gate.wait(10), took.append(step)))
    with tracking("fake", lambda: sink, ["fit"], range(2)) as sees:
        sees.lines(ROWS)
        assert not took
        gate.set()
    assert took == [10, 20]
    assert not capsys.readouterr().out


def test_the_lines_of_an_earlier_process_come_first_and_however_many_they_are(capsys, monkeypatch):
    monkeypatch.setattr(track, "MOST_WAITING", 2)
    took, gate = [], threading.Event()
    sink = NOTHING._replace(scalars=lambda step, values: took.append(step))
    opening = lambda: sink if gate.wait(10) else None  # noqa: E731
    with tracking("fake", opening, ["fit"], range(2), earlier=ROWS * 5) as sees:
        sees.lines([ROWS[0] | {"step": 30}])
        gate.set()
    assert took == [10, 20] * 5 + [30]
    assert not capsys.readouterr().out


def test_an_error_is_told_before_the_sink_is_waited_for():
    took, gate = [], threading.Event()
    sink = NOTHING._replace(scalars=lambda step, values: (gate.wait(60), took.append(step)))

    def broken_off():
        with tracking("--track fake", lambda: sink, ["fit"], range(2), patience=60.0) as sees:
            sees.lines(ROWS)
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    assert track.left_behind(0.01)
    gate.set()
    assert not track.left_behind(30.0)
    assert took == [10, 20]


def test_numbers_are_means_over_the_seeds_that_train_and_those_of_each():
    assert scalars(ROWS[0], "fit", range(3, 5)) == {
        "fit/loss": 5.0,
        "fit/loss/seed_3": 5.0,
        "fit/validation": 2.0,
        "fit/validation/seed_3": 1.0,
        "fit/validation/seed_4": 3.0,
    }
    assert scalars({"phase": 0, "step": 1, "loss": [2.0], "kl": [None]}, "fit", [0]) == {"fit/loss": 2.0}
    # null in metrics.jsonl, which a run that is continued shows again
    assert scalars({"phase": 0, "step": 1, "loss": [2.0], "kl": [math.nan]}, "fit", [0]) == {"fit/loss": 2.0}


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_a_package_that_is_missing_is_told_before_anything_starts(tracker, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(track, "PACKAGES", dict.fromkeys(track.PACKAGES, "no_such_package"))
    code, _, err = command(capsys, "--track", tracker, *QUICK, "--run-dir", tmp_path / "run")
    assert code == 2
    assert err.splitlines()[0].endswith(f"--track {tracker}: the package no_such_package is not installed.")
    assert len(err.splitlines()) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("environment", "mode"), [({}, "offline"), ({"WANDB_MODE": "online"}, None)])
def test_wandb_is_offline_unless_the_environment_says_otherwise(environment, mode, tmp_path, monkeypatch):
    given, logged = [], []
    fake = types.SimpleNamespace(
        init=lambda **options: given.append(options) or fake,
        Settings=dict,
        Image=str,
        summary={},
        define_metric=lambda *names, **options: None,
        log=logged.append,
        finish=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    description = {"experiment": "toy", "config": {}, "plan": {"seed": 0}}
    for _ in range(2):
        sink = opened("wandb", tmp_path, description)
        sink.scalars(10, {"fit/loss": 2.0})
        sink.finish({"evaluation/line/error": 0.5}, {})
        sink.close()
    assert given[0]["mode"] == mode
    assert given[0]["dir"] == str(tmp_path)
    # each process of a run shows it whole, under one name
    assert given[0]["id"] == given[1]["id"] != ""
    # told to resume, W&B would add its lines to those that it has, and not replace them
    assert "resume" not in given[1]
    assert logged[0] == {"fit/loss": 2.0, "fit/step": 10}
    assert fake.summary == {"evaluation/line/error": 0.5}


def events(run_dir):
    """The records of all event files: 8 bytes of length, 4 of a check sum, the event, 4 of another one."""
    from tensorboardX.proto.event_pb2 import Event

    for path in (run_dir / "tensorboard").iterdir():
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            yield Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length


def test_what_tensorboard_reads_back_has_each_line_once_also_of_a_run_that_was_continued(tmp_path, capsys):
    pytest.importorskip("tensorboardX")
    from matplotlib.figure import Figure

    (tmp_path / "figures").mkdir()
    Figure().savefig(tmp_path / "figures" / "curve.png", dpi=20)
    for rows in (ROWS, ROWS[:1]):  # the checkpoint of the second process stood before the last line of the first
        sink = lambda: opened("tensorboard", tmp_path, {"experiment": "toy", "config": {}})  # noqa: E731
        with tracking("--track tensorboard", sink, ["fit"], range(2)) as sees:
            sees.lines(rows)
            if len(rows) == 1:
                sees.lines(ROWS[1:])
                sees.finish({"line/error": {"mean": 0.25}}, tmp_path / "figures")
        for path in (tmp_path / "tensorboard").iterdir() if rows is ROWS else ():
            path.rename(path.with_name("events.out.tfevents.1.host"))  # as of an earlier second
    assert not capsys.readouterr().out
    found = [(value.tag, event.step, value) for event in events(tmp_path) for value in event.summary.value]
    numbers = {(tag, step): value.simple_value for tag, step, value in found if value.HasField("simple_value")}
    expected = {(name, row["step"]): value for row in ROWS for name, value in scalars(row, "fit", range(2)).items()}
    assert numbers == expected | {("evaluation/line/error", 0): 0.25}
    others = [tag for tag, _, value in found if not value.HasField("simple_value")]
    assert sorted(others) == ["config/text_summary", "figures/curve"]
    assert len(found) == len(numbers) + len(others)
