"""The speed program on one tiny shape: every version is measured, and the table says what the receipt says."""

import json

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


def test_a_wrong_shape_is_refused(capsys):
    with pytest.raises(SystemExit):
        recurrent.main(["--shapes", "2,3,4"])
    assert "expected four positive sizes B,T,D,H" in capsys.readouterr().err
