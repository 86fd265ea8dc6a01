"""A series that says where it goes wrong: the made-up one, windows that no anomaly is in, files that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.faults import EACH, KINDS, SLOT, faults
from seqjax.data.labelled_series import chosen_window_batch_at, labelled_series, normal_starts
from seqjax.data.long_series import in_time_order
from seqjax.errors import DataError, UsageError
from seqjax.evaluate.range_auc import stretches

RNG = np.random.default_rng(0)


def test_faults_are_in_the_last_fifth_alone_so_many_of_each_kind_one_in_each_slot():
    fields = faults()
    x, label = fields["x"], fields["label"]
    assert not label[: 12_000 * 4 // 5].any()
    found = stretches(label != 0)
    assert [(start - 9600) // SLOT for start, _ in found] == list(range(16))
    kinds = [label[start] for start, _ in found]
    assert [kinds.count(number + 1) for number in range(len(KINDS))] == [EACH] * len(KINDS)
    for kind, (start, end) in zip(kinds, found, strict=True):
        assert (label[start:end] == kind).all()
        assert end - start == 1 if kind == 1 else 20 <= end - start <= 40
        if kind == 4:  # one channel stuck, not the other
            stuck = (x[start:end] == x[start - 1]).all(axis=0)
            assert sorted(stuck.tolist()) == [False, True]
    np.testing.assert_array_equal(x, faults()["x"])
    with pytest.raises(UsageError, match="num_steps=100: expected at least 12000"):
        faults(100)


def test_faults_are_what_they_say():
    """A wheel of one height: where nothing is wrong both channels tell the same angle."""
    fields = faults()
    x, label = fields["x"], fields["label"]
    pulse = (np.log(np.maximum(x[:, 1], 1e-3)) + 4) / 4
    miss = np.abs(x[:, 0] ** 2 + np.where(x[:, 1] > 0.2, pulse, np.nan) ** 2 - 1)
    high = np.isfinite(miss)
    assert np.nanmean(miss[label == 0]) < 0.25
    assert np.mean(miss[high & (label == 2)]) > 1.5 * np.nanmean(miss[label == 0])
    # turns in the last fifth: the changed frequency is no fault of either channel, but of their course
    for start, end in stretches(label == 3):
        assert np.mean(miss[start:end][high[start:end]]) < 0.4


def test_past_and_future_and_their_labels():
    data = labelled_series("faults")
    whole = faults()
    assert [split.fields["x"].shape for split in data[1:4]] == [(1, 8400, 2), (1, 1200, 2), (1, 2400, 2)]
    np.testing.assert_array_equal(data.test.fields["label"][0], whole["label"][9600:])
    np.testing.assert_allclose(data.train.fields["x"][0], whole["x"][:8400], rtol=1e-6)


def test_windows_of_normal_stretches_once_each_epoch():
    label = np.zeros(40, np.int32)
    label[[5, 12, 13, 39]] = [1, 2, 2, 1]
    data = in_time_order("own", {"x": RNG.normal(size=(40, 2)).astype(np.float32), "label": label}, "0")
    starts = normal_starts(data, "train", 4)
    expected = [t for t in range(28 - 4 + 1) if not label[t : t + 4].any()]
    assert starts.tolist() == expected
    assert normal_starts(data, "train", 14).tolist() == [14]
    batch_at = jax.jit(chosen_window_batch_at(starts, 4), static_argnames="batch_size")
    size = len(expected) // 2
    split = data.train._replace(fields={"x": jnp.asarray(data.train.fields["x"])})
    batches = [batch_at(split, jax.random.key(0), step, batch_size=size) for step in range(2)]
    seen = np.concatenate([batch["index"] for batch in batches])
    assert len(set(seen.tolist()) & set(expected)) == 2 * size
    for batch in batches:
        steps = np.asarray(batch["index"])[:, None] + np.arange(4)
        np.testing.assert_array_equal(batch["x"], data.train.fields["x"][0, steps])
        np.testing.assert_array_equal(batch["length"], 4)
    for width in (15, 28, 29, 100):
        with pytest.raises(DataError, match=f"own: none of the 28 steps of its train split .* window = {width} steps"):
            normal_starts(data, "train", width)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_a_users_series(suffix, tmp_path):
    x, label, path = RNG.normal(size=(50, 2)).astype(np.float32), np.arange(50) % 7 // 6, tmp_path / f"own{suffix}"
    if suffix == ".npz":
        np.savez(path, x=x, label=label)
    else:
        path.write_text("a,label,b\n" + "".join(f"{u},{n},{v}\n" for (u, v), n in zip(x, label, strict=True)))
    data = labelled_series(path)
    np.testing.assert_allclose(np.concatenate([s.fields["x"][0] for s in data[1:4]]), x, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([s.fields["label"][0] for s in data[1:4]]), label)


def test_names_do_not_say_which_steps_are_normal(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("a,label\n" + "".join(f"{i},{'fault' if i % 7 == 6 else 'normal'}\n" for i in range(50)))
    with pytest.raises(DataError, match=r"line 2, column 2 \('label'\): expected a number, found 'normal'"):
        labelled_series(path)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("own.npz", {"x": np.ones((50, 2))}, "has no labels; expected label"),
        ("own.npz", {"x": np.ones((50, 2)), "label": np.zeros(50, int)}, "own: 0 of the last 10 steps"),
        ("own.npz", {"x": np.ones((50, 2)), "label": np.ones(50, int)}, "own: 10 of the last 10 steps"),
        ("own.npz", {"x": np.ones((50, 3, 2)), "label": np.ones(50, int)}, r"x \[50, 3, 2\].*; expected one series"),
        ("own.npz", {"x": np.ones((1, 2)), "label": np.ones(1, int)}, "own: 1 time steps cannot be cut"),
        ("own.npz", {"x": np.full((50, 2), np.nan), "label": np.ones(50, int)}, "own.npz.* nan "),
        ("digits", None, "'digits': expected faults"),
        ("own.ts", None, "expected faults, or the path of a .csv or .npz"),
    ],
)
def test_refused(name, fields, words, tmp_path):
    if fields is not None:
        np.savez(tmp_path / name, **fields)
    with pytest.raises(DataError, match=words):
        labelled_series(tmp_path / name if "." in name else name)
