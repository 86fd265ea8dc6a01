"""What the README shows, runs."""

import importlib
import re
import shlex
from pathlib import Path

import jaxtyping
import pytest

from launch.__main__ import main as launch
from seqjax.experiment.options import Options, parse

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "DIGEST" not in b]
GRID = re.search(r"`({\"grid\": .*?})`", README)[1]
LAUNCHES = [line.split("#")[0] for line in README.splitlines() if "python -m launch " in line and "`" not in line]
COMMANDS = [line.split("#")[0] for line in README.splitlines() if "-m experiments." in line]


@pytest.fixture
def unchecked():
    """As a reader runs it: the shape of an export is of symbols, which are no `int`."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks(block):
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--help" not in c])
def test_commands_are_understood(command):
    _, _, name, *arguments = shlex.split(command)
    module = importlib.import_module(name)
    assert parse(module.Config, "", name, arguments) != (module.Config(), Options())


@pytest.mark.parametrize("command", [c for c in LAUNCHES if "status" not in c])
def test_launches_are_understood(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "grid.json").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    own, dashes, flags = command.partition(" -- ")
    _, _, _, *arguments = shlex.split(f"{own} --dry-run {dashes} {flags}")
    assert launch(arguments) == 0
    assert arguments[1] in capsys.readouterr().out


def test_there_is_something_to_test():
    assert len(BLOCKS) >= 2
    assert len(COMMANDS) >= 8
    assert len(LAUNCHES) >= 7
