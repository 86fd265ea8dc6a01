"""The speed program of training loops on a few rows: each loop trains, and the table says what the receipt says."""

import json

import pytest

from results.speed import training


@pytest.mark.parametrize("loop", training.LOOPS)
def test_a_few_rows(loop, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)  # peers are not part of the suite
    training.main(["--loops", loop, "--rows", "600", "--repetitions", "2", "--output", str(tmp_path)])
    receipt = json.loads((tmp_path / "training.json").read_text())
    (entry,) = receipt["entries"]
    assert list(entry["versions"]) == ["seqjax", "seqjax again"]
    text = (tmp_path / "training.md").read_text()
    assert text in capsys.readouterr().out
    for name, row in entry["versions"].items():
        assert row["compile_s"] > row["median_s"] > 0
        assert f"| {loop} | {training.BATCH_SIZES[loop]} | {name} | {row['median_s']:.3f} |" in text
