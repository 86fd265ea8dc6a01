import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from launch.__main__ import main
from launch.locks import is_locked
from launch.status import status, statuses
from launch.table import printable
from seqjax.errors import UsageError
from seqjax.receipt import summary
from seqjax.storage import LOCK, locked

ROOT = Path(__file__).parent.parent.parent


def run(path: Path, steps: int = 100, **plan) -> Path:
    path.mkdir(parents=True)
    content = {"experiment": "toy", "config": {"steps": steps}, "plan": {"seed": 0, "seeds": 2} | plan}
    (path / "config.json").write_text(json.dumps(content))
    return path


def rows(path: Path, *lines: dict) -> None:
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_stopped_run_says_how_far_it_is(tmp_path):
    path = run(tmp_path / "a")
    rows(
        path,
        {"phase": 0, "step": 20, "validation": [3.0, 4.0]},
        {"phase": 0, "step": 40, "validation": [2.0, None]},
        {"phase": 0, "step": 50, "loss": [1.0, 1.0]},
    )
    found = status(path)
    assert found[1:5] == ("toy", "50/100", "stopped", "validation 2")
    assert found.changed.startswith("20")


def test_a_line_cut_short_is_left_out(tmp_path):
    path = run(tmp_path / "a")
    (path / "metrics.jsonl").write_text('{"phase": 0, "step": 20, "validation": [3.0]}\n{"phase": 0, "st')
    assert status(path)[2:5] == ("20/100", "stopped", "validation 3")


def test_a_held_lock_is_running_and_looking_disturbs_nothing(tmp_path):
    path = run(tmp_path / "a")
    with locked(path):
        assert is_locked(path)
        assert status(path).state == "running"
        with pytest.raises(UsageError), locked(path):
            pass
    assert not is_locked(path)
    assert status(path).state == "stopped"
    with locked(path):
        pass


def test_a_lock_of_another_process_is_seen(tmp_path):
    path = run(tmp_path / "a")
    code = (
        "import sys; from pathlib import Path; from seqjax.storage import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert status(path).state == "running"
    assert status(path).state == "stopped"


def test_a_run_that_begins_at_the_moment_of_a_look_asks_again(tmp_path, monkeypatch):
    with (tmp_path / LOCK).open("ab") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda seconds: fcntl.flock(look, fcntl.LOCK_UN))
        with locked(tmp_path):
            assert is_locked(tmp_path)


def test_a_run_that_begins_while_others_look_is_not_refused(tmp_path):
    code = (
        "import sys; from pathlib import Path; from launch.locks import is_locked\n"
        "print('looks', flush=True)\nwhile True:\n    is_locked(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with locked(tmp_path):
        pass
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as looker:
        try:
            assert looker.stdout.readline() == "looks\n"
            for _ in range(3000):
                with locked(tmp_path):
                    pass
        finally:
            looker.kill()


def test_a_finished_run_shows_its_headline(tmp_path):
    path = run(tmp_path / "a")
    receipt = {"metrics": {"toy/error": summary([1.0, 1.5])}, "steps": [100, 80], "health": "ok"}
    (path / "receipt.json").write_text(json.dumps(receipt))
    assert status(path)[1:5] == ("toy", "100/100", "finished", "toy/error 1.2 ± 3.2, ok")


def test_all_below_a_folder_are_found_and_none_breaks_the_list(tmp_path):
    run(tmp_path / "x/good")
    (tmp_path / "x/good/checkpoints/0-000000040").mkdir(parents=True)
    (tmp_path / "x/good/checkpoints/0-000000040/manifest.json").write_text("{}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    (run(tmp_path / "receiptless") / "receipt.json").write_text("[]")
    (run(tmp_path / "rowless") / "metrics.jsonl").write_text("[]\n")
    run(tmp_path / "noise").joinpath("metrics.jsonl").write_bytes(b"\xff\xfe\n")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/toy-1.log").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "halfmade").mkdir()
    (tmp_path / "halfmade" / LOCK).touch()
    found = {str(s.path.relative_to(tmp_path)): s for s in statuses(tmp_path)}
    assert {name: s.state for name, s in found.items()} == {
        "x/good": "stopped",
        "broken": "broken",
        "receiptless": "broken",
        "rowless": "broken",
        "noise": "broken",
        "photos": "foreign",
        "halfmade": "broken",
    }
    assert "config.json" in found["broken"].newest
    assert all("\n" not in s.newest for s in found.values())


def test_the_table_is_one_line_a_run_whatever_the_names(tmp_path, capsys):
    for name in ("a [bold]b[/bold] $HOME 'x'", "line\nbreak \x1b[31m", "w" * 200):
        run(tmp_path / name)
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert any("[bold]b[/bold] $HOME 'x'" in line for line in lines)
    assert any("line\\nbreak \\x1b[31m" in line for line in lines)
    assert any("w" * 200 in line for line in lines)


def test_nothing_there_is_said(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 0
    assert "no runs below" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "missing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["status", str(tmp_path), "--", "--steps"]) == 2


def test_printable():
    assert printable("naïve path") == "naïve path"
    assert printable("a\tb") == "'a\\tb'"
