"""The speed program on one tiny shape: every version is measured, and the table says what the receipt says."""

import json

import numpy as np
import pytest

from results.speed import recurrent


def test_one_tiny_shape(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recurrent.importlib.util, "find_spec", lambda name: None)  # peers are not part of the suite
    recurrent.main(["--cells", "gru", "--shapes", "2,5,3,4", "--repetitions", "3", "--output", str(tmp_path)])
    receipt = json.loads((tmp_path / "recurrent.json").read_text())
    (entry,) = receipt["entries"]
    assert list(entry["versions"]) == ["full", "lean", "segments", "unroll", "full again", "flax.linen.RNN"]
    for row in entry["versions"].values():
        low, high = row["quartiles_s"]
        assert 0 < low <= row["median_s"] <= high
        assert row["compile_s"] > 0
        assert row["temp_bytes"] > 0
    # 3 gates, 2 products forward and 4 back, of 2 * B * T * H * (D + H) / 2 each
    assert entry["versions"]["full"]["gflop_per_s"] * entry["versions"]["full"]["median_s"] * 1e9 == pytest.approx(
        6 * 3 * 2 * 5 * 4 * 7
    )
    text = (tmp_path / "recurrent.md").read_text()
    assert text in capsys.readouterr().out
    for name, row in entry["versions"].items():
        assert f"| gru | 2, 5, 3, 4 | {name} | {row['median_s'] * 1e3:.2f} |" in text


def test_versions_take_turns_and_follow_each_other_in_any_order():
    order = []
    versions = {name: recurrent.Version(lambda name=name: order.append(name), 0.0, None) for name in ("a", "b", "c")}
    seconds = recurrent.seconds_in_turn(versions, 50)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 50, "b": 50, "c": 50}
    turns = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert turns[0] == "abc"  # once to warm up
    assert set(turns[1:]) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_a_wrong_shape_is_refused(capsys):
    with pytest.raises(SystemExit):
        recurrent.main(["--shapes", "2,3,4"])
    assert "expected four positive sizes B,T,D,H" in capsys.readouterr().err


def test_noise_is_what_two_medians_of_one_program_differ_by():
    assert recurrent.noise_of([1.0] * 9, [1.0] * 9) == 0
    assert recurrent.noise_of([1.0] * 9, [1.1] * 9) >= 0.1 - 1e-12
    spread = np.random.default_rng(1).normal(1.0, 0.05, 30)
    # the same medians, and yet a median of 30 is known to 1.25 * 0.05 / sqrt(30) only
    assert 0.02 < recurrent.noise_of(spread, spread) < 0.06
