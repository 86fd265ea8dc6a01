"""Any data set as sequences: lines of a text, zeros and ones, series; parts of long ones; what is told of others."""

import functools

import jax
import numpy as np
import pytest

from seqjax.data.load import load
from seqjax.data.sequences import lines_of, sequences
from seqjax.data.synthetic import chord_walk, chord_walk_cost, drawn
from seqjax.data.text import decode, text_dataset
from seqjax.errors import DataError, UsageError
from seqjax.types import Dataset, Split

TEXT = "a fox\n\nknows the king\n" * 20


def test_the_lines_of_a_text_with_their_ends_are_the_text_again():
    data = text_dataset("text", TEXT, sha256="0" * 64)
    found = sequences(data, max_length=8)
    assert (found.likelihood, found.num_values) == ("categorical", len(set(TEXT)) + 1)
    for split, codes in zip(found.data[1:4], data[1:4], strict=True):
        x, lengths = split.fields["x"], split.fields["length"]
        assert x.shape == (len(lengths), 8)
        assert x.dtype == np.int32
        rows = [decode(row[:length], found.known) for row, length in zip(x, lengths, strict=True)]
        assert "".join(rows) == codes.fields["x"].astype("<i4").tobytes().decode("utf-32-le")
        # 15 characters and their end in two parts, as equal as can be
        assert split is not found.data.train or set(rows) >= {"a fox\n", "\n", "knows th", "e king\n"}
    assert [line.tolist() for line in lines_of(np.asarray([5, 0, 0, 7]), 0)] == [[5, 0], [0], [7]]


def dataset(x, **fields):
    splits = [Split({"x": x} | fields) for _ in range(3)]
    return Dataset("made", *splits, "0" * 64)


def test_zeros_and_ones_stay_and_other_series_are_standardised():
    roll = np.random.default_rng(0).uniform(size=(3, 7, 4)) < 0.5
    found = sequences(dataset(roll.astype(np.float32)), max_length=10)
    assert (found.likelihood, found.num_values, found.scale) == ("bernoulli", 4, None)
    np.testing.assert_array_equal(found.data.test.fields["x"], roll)
    np.testing.assert_array_equal(found.data.test.fields["length"], 7)

    x = 5 + 3 * np.random.default_rng(1).normal(size=(6, 7, 2)).astype(np.float32)
    lengths = np.asarray([7, 3, 5, 7, 1, 2], np.int32)
    x[np.arange(7)[None] >= lengths[:, None]] = 0
    found = sequences(dataset(x, length=lengths, label=np.arange(6, dtype=np.int32)), max_length=3)
    assert (found.likelihood, found.num_values) == ("gaussian", 2)
    fields = found.data.train.fields
    # 7 steps in parts of 3, 2 and 2; 5 in 3 and 2
    np.testing.assert_array_equal(fields["length"], [3, 2, 2, 3, 3, 2, 3, 2, 2, 1, 2])
    np.testing.assert_array_equal(fields["label"], [0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 5])
    valid = np.arange(3)[None] < fields["length"][:, None]
    steps = fields["x"][valid]
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(steps[:7] * found.scale.stddev + found.scale.mean, x[0], rtol=1e-5)
    np.testing.assert_array_equal(fields["x"][~valid], 0)


@pytest.mark.parametrize(
    ("data", "max_length", "words"),
    [
        (dataset(np.zeros((3, 4), np.float32)), 5, "expected sequences"),
        (dataset(np.zeros((3, 4, 1), np.float32), mask=np.zeros((3, 4, 1), bool)), 5, "missing values"),
        (dataset(np.zeros((3, 4, 1), np.float32)), 0, "max_length=0"),
    ],
)
def test_what_holds_no_sequences_is_told(data, max_length, words):
    with pytest.raises((DataError, UsageError), match=words) as told:
        sequences(data, max_length=max_length)
    assert str(told.value).count("\n") <= 1


def test_chords_have_the_entropy_that_is_said():
    found = sequences(load("chords"), max_length=200)
    assert (found.likelihood, found.num_values) == ("bernoulli", 88)
    task = functools.partial(chord_walk, shortest=3, longest=3)
    rolls = drawn(task, jax.random.key(0), 20_000).fields["x"]
    _, counts = np.unique(rolls.reshape(len(rolls), -1), axis=0, return_counts=True)
    assert len(counts) == 12 * 4
    shares = counts / counts.sum()
    assert chord_walk_cost(3) == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.02)
    np.testing.assert_allclose(chord_walk_cost(np.asarray([1, 2])), [np.log(12), np.log(12) + 0.5623], atol=1e-4)
