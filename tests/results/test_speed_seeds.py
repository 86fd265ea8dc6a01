"""The speed program of seeds on one experiment: every way trains, and the table says what the receipt says."""

import json

import pytest

from results.speed import seeds


def test_an_experiment(tmp_path, capsys):
    names = ["linear_autoencoder"]
    seeds.main(["--experiments", *names, "--repetitions", "2", "--devices", "8", "--output", str(tmp_path)])
    receipt = json.loads((tmp_path / "seeds.json").read_text())
    assert [entry["experiment"] for entry in receipt["entries"]] == names
    text = (tmp_path / "seeds.md").read_text()
    for entry in receipt["entries"]:
        ways = {way: row["median_s"] for way, row in entry["ways"].items()}
        assert list(ways) == ["one", "one again", "map", "vmap", "map on 8", "vmap on 8"]
        assert min(ways.values()) > 0
        times = [ways[way] / ways["one"] for way in ("map", "vmap", "map on 8", "vmap on 8")]
        assert f"| {entry['experiment']} | {entry['steps']} | {ways['one'] * 1e3:.1f} | {times[0]:.2f} | " in text
    assert "| map | vmap | map on 8 | vmap on 8 | repetitions | noise |" in capsys.readouterr().out


def test_an_unknown_experiment_is_refused(capsys):
    with pytest.raises(SystemExit):
        seeds.main(["--experiments", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err
