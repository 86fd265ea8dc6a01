"""The speed program on one tiny shape: every version is measured, and the table says what the receipt says."""

import json

import chex
import jax
import jax.numpy as jnp
import pytest

from results.speed import recurrent


def test_one_tiny_shape(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recurrent.importlib.util, "find_spec", lambda name: None)  # peers are not part of the suite
    recurrent.main(
        ["--cells", "gru", "--shapes", "8,5,3,4", "--repetitions", "3", "--devices", "8", "--output", str(tmp_path)]
    )
    receipt = json.loads((tmp_path / "recurrent.json").read_text())
    (entry,) = receipt["entries"]
    assert list(entry["versions"]) == [
        *("full", "lean", "segments", "unroll", "full again"),
        *("flax.linen.RNN", "flax.nnx.RNN", "full on 8", "flax.linen.RNN on 8"),
    ]
    assert receipt["product_flop_per_s"] > 1e8
    for row in entry["versions"].values():
        low, high = row["quartiles_s"]
        assert 0 < low <= row["median_s"] <= high
        assert row["compile_s"] > 0
        assert row["temp_bytes"] > 0
    # 3 gates, 2 products forward and 4 back, of 2 * B * T * H * (D + H) / 2 each
    assert entry["versions"]["full"]["gflop_per_s"] * entry["versions"]["full"]["median_s"] * 1e9 == pytest.approx(
        6 * 3 * 8 * 5 * 4 * 7
    )
    text = (tmp_path / "recurrent.md").read_text()
    assert text in capsys.readouterr().out
    for name, row in entry["versions"].items():
        assert f"| gru | 8, 5, 3, 4 | {name} | {row['median_s'] * 1e3:.2f} |" in text


@pytest.mark.parametrize("devices", [1, 8])
def test_descent_is_that_of_the_whole_batch_step_by_step(devices, monkeypatch):
    monkeypatch.setattr(recurrent, "LEARNING_RATE", 0.3)  # each step is to move both by much
    params, xs = jax.random.normal(jax.random.key(0), (3, 2)), jax.random.normal(jax.random.key(1), (8, 3))

    def loss(params, xs):
        return jnp.mean((xs @ params) ** 2)

    found = jax.jit(recurrent.descent(loss, devices))(params, xs)
    for _ in range(recurrent.STEPS):
        slopes = jax.grad(loss, argnums=(0, 1))(params, xs)
        params, xs = params - 0.3 * slopes[0], xs - 0.3 * slopes[1]
    chex.assert_trees_all_close(found, (params, xs), rtol=1e-5)


def test_the_means_are_geometric_and_over_the_shapes_that_both_have():
    def entry(**median_s):
        return {"versions": {name: {"median_s": value} for name, value in median_s.items()}}

    entries = [entry(full=1, torch=4), entry(full=2, torch=2, **{"full on 2": 1}), entry(full=3)]
    assert recurrent.speedups(entries, ("torch",)) == {"full": [4, 1], "full on 2": [2]}
    described = [{**e, "cell": "gru", "shape": [1, 2, 3, 256], "noise": 0.0} for e in entries[:2]]
    for row in (row for e in described for row in e["versions"].values()):
        row.update(quartiles_s=[1, 2], seconds=[1, 2], gflop_per_s=1.0, compile_s=0.0, temp_bytes=None)
    receipt = {"device": "cpu", "packages": {}, "product_flop_per_s": 4e9, "entries": described}
    text = recurrent.table(receipt)
    assert "| gru | full | torch | 2.00 | 1.00 | 4.00 | 2 |" in text
    assert "| 1.0 | 25% |" in text
    assert "`full`, H >= 256: 25% to 25% of the product rate, at least 70% in 0 of 2." in text
    assert "`full on 2`, H >= 256: 25% to 25% of the product rate, at least 70% in 0 of 1." in text


def test_the_fastest_peer_is_that_of_each_shape():
    def entry(**median_s):
        return {"versions": {name: {"median_s": value} for name, value in median_s.items()}}

    entries = [entry(full=1, a=4, b=2, **{"a on 2": 1.5}), entry(full=2, a=3, b=6), entry(full=1, c=1)]
    assert recurrent.speedups(entries, ("a", "b")) == {"full": [2, 1.5]}
    assert recurrent.speedups(entries, ("a", "b", "a on ")) == {"full": [1.5, 1.5]}


def test_a_wrong_shape_is_refused(capsys):
    with pytest.raises(SystemExit):
        recurrent.main(["--shapes", "2,3,4"])
    assert "expected four positive sizes B,T,D,H" in capsys.readouterr().err
