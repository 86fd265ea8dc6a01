"""Contenders take turns, and the noise is honest."""

import functools
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from results.speed import timing


def test_contenders_take_turns_and_follow_each_other_in_any_order():
    order = []
    seconds = timing.seconds_in_turn({name: functools.partial(order.append, name) for name in ("a", "b", "c")}, 50)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 50, "b": 50, "c": 50}
    turns = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert turns[0] == "abc"  # once to warm up
    assert set(turns[1:]) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_long_runs_are_repeated_less_often_but_five_times():
    seconds = timing.seconds_in_turn({"long": lambda: None}, 30, within_s=0)
    assert len(seconds["long"]) == 5
    assert len(timing.seconds_in_turn({"long": lambda: None}, 3, within_s=0)["long"]) == 3


def test_noise_is_what_two_medians_of_one_program_differ_by():
    assert timing.noise_of([1.0] * 9, [1.0] * 9) == 0
    assert timing.noise_of([1.0] * 9, [1.1] * 9) >= 0.1 - 1e-12
    spread = np.random.default_rng(1).normal(1.0, 0.05, 30)
    # the same medians, and yet a median of 30 is known to 1.25 * 0.05 / sqrt(30) only
    assert 0.02 < timing.noise_of(spread, spread) < 0.06


FOLDER = Path(timing.__file__).parent


@pytest.mark.parametrize("receipt", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_committed_table_says_what_its_receipt_says(receipt):
    program = importlib.import_module(f"results.speed.{receipt.stem}")
    assert receipt.with_suffix(".md").read_text() == program.table(json.loads(receipt.read_text()))


def test_every_committed_table_has_a_receipt():
    tables = {path.stem for path in FOLDER.glob("*.md")} - {"README"}
    assert tables == {path.stem for path in FOLDER.glob("*.json")}
    assert tables
