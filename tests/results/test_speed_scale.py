"""The program that measures growth, on sizes of no weight: every part is run, and the table says what was measured."""

import json

import chex
import jax
import pytest

from results.speed import chapters, scale


def test_every_part_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scale, "ROWS", 600)
    monkeypatch.setattr(scale, "within_memory", lambda path, steps: scale.chapter_within_memory(path, steps))
    monkeypatch.setattr(scale, "LIMIT", 2**19)
    monkeypatch.setattr(scale.resource, "setrlimit", lambda *_: None)  # of this process, which has other tests to run
    options = ["--repetitions", "2", "--lengths", "10", "90", "--devices", "1", "8", "--steps", "2"]
    scale.main([*options, "--output", str(tmp_path)])
    receipt = json.loads((tmp_path / "scale.json").read_text())
    kinds = [(entry["what"], entry["size"], entry["way"]) for entry in receipt["entries"]]
    assert kinds[:6] == [
        *(("length", size, way) for size in (10, 90) for way in ("full", "segments")),
        *(("devices", count, "batch") for count in (1, 8)),
    ]
    assert kinds[6:] == [
        *((f"{name}, rows", 600, way) for name in ("autoencoder", "vae") for way in ("resident", "streamed")),
        ("bytes", receipt["entries"][-1]["size"], "streamed"),
    ]
    assert receipt["entries"][-1]["size"] == pytest.approx(10 * 2**19, rel=1e-3)
    text = (tmp_path / "scale.md").read_text()
    for entry in receipt["entries"]:
        assert f"| {entry['size']:,} | {entry['way']} | {entry['median_s'] * 1e3:.2f} |" in text
    full, segments = (e["temp_bytes"] for e in receipt["entries"][2:4])
    assert segments < full


def test_a_streamed_chapter_trains_on_the_rows_of_a_resident_one(tmp_path, monkeypatch):
    states = []
    ready = jax.block_until_ready
    monkeypatch.setattr(chapters.jax, "block_until_ready", lambda tree: states.append(ready(tree)))
    monkeypatch.setattr("seqjax.experiment.source.STREAMED_BYTES", 3 * 64 * scale.VALUES)  # several parts
    path = scale.images(tmp_path, 400)
    for stream in (False, True):
        experiment = scale.autoencoder.build(scale.config_of(path, 64, 8))
        chapters.first_chapter(experiment, 8, stream=stream)()
    chex.assert_trees_all_equal(states[0].params, states[1].params)
    assert int(states[1].step[0]) == 8
