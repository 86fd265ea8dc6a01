"""What the README shows, runs."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from seqjax.experiment.options import parse

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "DIGEST" not in b]
COMMANDS = [line.split("#")[0] for line in README.splitlines() if "-m experiments." in line]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks(block):
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--help" not in c])
def test_commands_are_understood(command):
    _, _, name, *arguments = shlex.split(command)
    module = importlib.import_module(name)
    config, _ = parse(module.Config, "", name, arguments)
    assert config != module.Config()


def test_there_is_something_to_test():
    assert len(BLOCKS) >= 2
    assert len(COMMANDS) >= 8
