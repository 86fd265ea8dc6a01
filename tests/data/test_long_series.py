"""One long series: cut in time, windows of it, the made-up one, and files that are refused."""

import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.load import load
from seqjax.data.long_series import in_time_order, long_series, num_windows, window_batch_at, windows
from seqjax.data.synthetic import seasons
from seqjax.errors import DataError
from seqjax.types import Split

X = np.arange(40.0).reshape(20, 2)


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz"])
def test_the_past_trains_and_the_future_tests(suffix, tmp_path):
    path = tmp_path / f"own{suffix}"
    match suffix:
        case ".csv":
            path.write_text("price,volume\n" + "".join(f"{a},{b}\n" for a, b in X))
        case ".npy":
            np.save(path, X)
        case ".npz":
            np.savez(path, x=X)
    data = long_series(path)
    assert (data.name, data.sha256) == ("own", load(path).sha256)
    for split, rows in zip(data[1:4], (slice(14), slice(14, 16), slice(16, 20)), strict=True):
        assert split.fields.keys() == {"x"}
        assert split.fields["x"].dtype == np.float32
        np.testing.assert_array_equal(split.fields["x"], X[None, rows])


REFUSED = {
    "ragged": ("a.csv", "1,2\n3\n", "line 2: 1 cells; expected 2"),
    "a date": (
        "a.csv",
        "date,u\n2004-08-19,1\n",
        r"line 2, column 1 \('date'\): expected a number, found '2004",
    ),
    "nan": ("a.csv", "1,2\n3,nan\n", r"line 2, column 2: found 'nan', a missing value"),
    "empty": ("a.csv", "", "has no rows"),
    "too short": ("a.csv", "1,2\n3,4\n", "2 time steps cannot be cut into three splits"),
    "labels": ("a.csv", "u,label\n1,2\n3,4\n", r"x \[2, 1\], label \[2\]; expected one series x \[T, D\]"),
    "many series": ("a.npy", np.zeros((4, 5, 2)), r"x \[4, 5, 2\]; expected one series"),
    "missing": ("a.csv", None, "no such file"),
    "no series at all": (
        "digits",
        None,
        "'digits': expected seasons or stocks, or the path of a .csv",
    ),
    "other kind": ("a.ts", None, "expected seasons or stocks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_two_lines_at_most(case, tmp_path):
    name, content, message = REFUSED[case]
    path = tmp_path / name if "." in name else name
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(DataError) as caught:
        long_series(path)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_splits_of_its_own_are_no_single_series(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X, x_test=X)
    with pytest.raises(DataError, match=r"x \[20, 2\], x \[20, 2\]; expected one series"):
        long_series(tmp_path / "a.npz")


def test_each_epoch_visits_every_window_once():
    split = Split({"x": jnp.asarray(X[None], jnp.float32)})
    assert num_windows(split, 5) == 16
    batch_at = jax.jit(window_batch_at(5), static_argnames=("batch_size", "num_shards"))
    batches = [batch_at(split, jax.random.key(0), step, batch_size=8) for step in range(4)]
    for batch in batches:
        starts = np.asarray(batch["index"])
        np.testing.assert_array_equal(batch["x"], X[starts[:, None] + np.arange(5)[None, :]])
    for epoch in (batches[:2], batches[2:]):
        assert sorted(np.concatenate([b["index"] for b in epoch]).tolist()) == list(range(16))
    assert batches[0]["index"].tolist() != batches[2]["index"].tolist()
    shards = [batch_at(split, jax.random.key(0), 1, batch_size=8, shard=s, num_shards=4) for s in range(4)]
    for field in ("x", "index"):
        np.testing.assert_array_equal(np.concatenate([s[field] for s in shards]), batches[1][field])
    with pytest.raises(DataError, match="split is empty"):
        window_batch_at(21)(split, jax.random.key(0), 0, batch_size=1)


def test_windows_follow_their_starts():
    found = windows(jnp.asarray(X[None]), jnp.asarray([0, 17, 3]), 3)
    np.testing.assert_array_equal(found, [X[:3], X[17:], X[3:6]])


def test_seasons_repeat_by_the_week_under_noise_of_known_size():
    fields = seasons(20_000, noise=0.3)
    x, clean = fields["x"], fields["clean"]
    np.testing.assert_allclose(clean[168:], clean[:-168], atol=1e-9)
    assert np.abs(clean[24:] - clean[:-24]).max(axis=0).min() > 0.5  # but not by the day
    noise = (x - clean) / clean.std(axis=0)
    np.testing.assert_allclose(noise.std(axis=0), 0.3, rtol=0.02)
    assert np.abs(np.corrcoef(noise[1:].T, noise[:-1].T) - np.eye(8)).max() < 0.03  # white, and apart
    data = long_series("seasons")
    np.testing.assert_array_equal(data.train.fields["clean"][0], clean[:4200].astype(np.float32))
    assert [split.fields["x"].shape for split in data[1:4]] == [(1, 4200, 4), (1, 600, 4), (1, 1200, 4)]


def test_stocks_by_name_and_by_path():
    path = Path(os.environ.get("SEQJAX_RAW_DIR") or Path(__file__).parents[3] / "shared" / "data")
    if not (path / "series" / "stock_data.csv").is_file():
        pytest.skip(f"no stock prices in {path}; set SEQJAX_RAW_DIR")
    data = long_series("stocks", raw_dir=path)
    own = long_series(path / "series" / "stock_data.csv")
    assert [split.fields["x"].shape for split in data[1:4]] == [(1, 2580, 6), (1, 368, 6), (1, 737, 6)]
    np.testing.assert_array_equal(data.train.fields["x"][0, 0, :2], np.float32([49.676899, 51.693783]))
    assert own.sha256 == data.sha256
    for a, b in zip(data[1:4], own[1:4], strict=True):
        np.testing.assert_array_equal(a.fields["x"], b.fields["x"])


def test_every_field_is_cut_alike():
    data = in_time_order("toy", {"x": X, "clean": -X}, "0")
    for split in data[1:4]:
        np.testing.assert_array_equal(split.fields["clean"], -split.fields["x"])
