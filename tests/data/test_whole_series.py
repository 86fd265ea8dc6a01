"""Series as wholes: lengths completed, series of nothing named, several steps as one without loss."""

import jax
import numpy as np
import pytest

from seqjax.data.scaling import Scale, observed
from seqjax.data.whole_series import framed, new_series, whole_series
from seqjax.errors import DataError, UsageError
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Dataset, Split

X = np.arange(1.0, 1 + 3 * 5 * 2).reshape(3, 5, 2)
LENGTHS = np.asarray([5, 1, 4])
MASK = np.ones(X.shape, bool)
MASK[0, 1, 1] = False
OTHERS = (np.arange(3) != 1)[:, None, None]
PADDED = np.where(observed(Split({"x": X, "length": LENGTHS, "mask": MASK})), X, 0)
RAGGED = {"x": PADDED, "length": LENGTHS, "mask": MASK, "label": np.asarray([4, 5, 6])}


def dataset(test, train=None):
    return Dataset("mine", Split({"x": X} if train is None else train), Split({"x": X[:0]}), Split(test), "sha")


def test_lengths_are_completed_or_stay():
    data = whole_series(dataset(RAGGED))
    np.testing.assert_array_equal(data.train.fields["length"], [5, 5, 5])
    assert data.validation.fields["length"].shape == (0,)
    np.testing.assert_array_equal(data.test.fields["length"], LENGTHS)


@pytest.mark.parametrize(
    "fields",
    [
        {"x": X, "mask": MASK & OTHERS},
        {"x": X, "length": np.asarray([5, 0, 4])},
        {
            "x": X,
            "length": LENGTHS,
            "mask": MASK & (OTHERS | (np.arange(5) > 0)[None, :, None]),
        },
    ],
)
def test_a_series_of_nothing_is_named(fields):
    with pytest.raises(DataError, match=r"mine: series 1 of the test split \(counted from 0, 1 such in all\)"):
        whole_series(dataset(fields))
    with pytest.raises(DataError, match="mine: series 1 of the train split"):
        whole_series(dataset(RAGGED, train=fields))


def test_rows_are_no_series():
    with pytest.raises(DataError, match=r"mine has x of shape \[3, 5\]; expected series"):
        whole_series(dataset({"x": X}, train={"x": X[:, :, 0]}))


@pytest.mark.parametrize("size", [2, 3, 7])
def test_frames_hold_the_same_values_in_the_same_order(size):
    split = framed(Split(RAGGED), size)
    frames, width = -(-5 // size), 2 * size
    assert split.fields["x"].shape == (3, frames, width)
    np.testing.assert_array_equal(split.fields["length"], np.ceil(LENGTHS / size))
    np.testing.assert_array_equal(split.fields["label"], [4, 5, 6])
    np.testing.assert_array_equal(values_of(split)[:, :10], PADDED.reshape(3, -1))
    np.testing.assert_array_equal(values_of(split)[:, 10:], 0)
    # what counts is what counted: 5, 1 and 4 steps of 2 values, less the one that is missing
    seen = observed(split)
    np.testing.assert_array_equal(seen.sum(axis=(1, 2)), [9, 2, 8])
    np.testing.assert_array_equal(np.sort(split.fields["x"][seen]), np.sort(PADDED[PADDED > 0]))


def test_frames_of_one_step_change_nothing_and_of_none_cannot_be():
    split = Split(RAGGED)
    assert framed(split, 1) is split
    with pytest.raises(UsageError, match="frame=0"):
        framed(split, 0)


@pytest.mark.parametrize("frame", [1, 2])
@pytest.mark.parametrize("length", [LENGTHS, None])
def test_traced_series_are_scaled_and_framed_as_on_the_host(frame, length):
    x, scale = X.astype(np.float32), Scale(np.asarray([3.0, -1.0]), np.asarray([0.7, 9.0]))
    batch = new_series(x, scale, frame=frame, length=length)
    traced = jax.jit(lambda x, length: new_series(x, scale, frame=frame, length=length))(x, length)
    assert set(traced) == set(batch)
    assert ("mask" in batch) == (frame == 2)
    for name, values in batch.items():
        np.testing.assert_allclose(traced[name], values, rtol=1e-6, atol=1e-6)
