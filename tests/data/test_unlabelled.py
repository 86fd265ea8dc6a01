"""Splits joined, series made standard, and how many clusters are looked for."""

import numpy as np
import pytest

from seqjax.data.unlabelled import chosen_clusters, classes, joined, new_batch, rows_or_series, values_a_row
from seqjax.errors import DataError, UsageError
from seqjax.types import Dataset, Split


def dataset(*splits):
    return Dataset("mine", *(Split(fields) for fields in splits), "sha")


ROWS = dataset(
    *({"x": np.full((n, 2), n, np.float32), "label": np.full(n, n), "length": np.ones(n)} for n in (3, 0, 2))
)


def test_all_rows_are_together_once_and_the_name_says_so():
    data = joined(ROWS)
    assert data.name == "mine, splits joined"
    assert data.train is data.test
    np.testing.assert_array_equal(data.train.fields["label"], [3, 3, 3, 2, 2])
    np.testing.assert_array_equal(data.train.fields["x"][:, 0], [3, 3, 3, 2, 2])


def test_labels_that_a_split_lacks_are_no_labels():
    data = ROWS._replace(test=Split({"x": ROWS.test.fields["x"]}))
    assert classes(data) is None
    assert "label" not in joined(data).train.fields
    np.testing.assert_array_equal(classes(ROWS), [2, 3])


def test_series_are_standardised_with_the_lengths_they_may_lack():
    series = dataset(*({"x": np.arange(n * 8.0).reshape(n, 4, 2)} for n in (3, 1, 2)))
    data, scale = rows_or_series(series)
    np.testing.assert_array_equal(data.train.fields["length"], [4, 4, 4])
    np.testing.assert_allclose(data.train.fields["x"].mean(axis=(0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.fields["x"].std(axis=(0, 1)), 1, rtol=1e-6)
    batch = new_batch(series.train.fields["x"], scale, np.asarray([4, 2, 4]))
    np.testing.assert_array_equal(batch["x"][::2], data.train.fields["x"][::2])
    assert float(batch["x"][1, 2:].max()) == 0
    np.testing.assert_array_equal(batch["length"], [4, 2, 4])
    np.testing.assert_array_equal(new_batch(series.train.fields["x"], scale)["length"], [4, 4, 4])
    ragged = dataset(*({"x": np.ones((2, 4, 1)), "length": np.asarray([1, 4])} for _ in range(3)))
    np.testing.assert_array_equal(rows_or_series(ragged)[0].train.fields["length"], [1, 4])
    assert rows_or_series(ROWS) == (ROWS, None)
    with pytest.raises(DataError, match="mine is a text; expected rows"):
        rows_or_series(dataset(*({"x": np.zeros(5, np.int32)} for _ in range(3))))


def test_a_series_of_nothing_is_named_also_where_splits_are_joined():
    seen = np.ones((3, 4, 1), bool)
    fields = {"x": np.ones((3, 4, 1)), "mask": seen}
    data = dataset(fields, fields, fields | {"mask": seen & (np.arange(3) != 1)[:, None, None]})
    for form in (rows_or_series, joined):
        with pytest.raises(DataError, match="mine: series 1 of the test split"):
            form(data)


def test_values_a_row_counts_what_is_there():
    x, length = np.zeros((2, 4, 3)), np.asarray([1, 4])
    mask = np.zeros((2, 4, 3), bool)
    mask[0, 0, 0] = True
    assert values_a_row(ROWS.train) == 2
    assert values_a_row(Split({"x": x, "length": length})) == 7.5
    assert values_a_row(Split({"x": x, "length": length, "mask": mask})) == 0.5


def test_clusters_are_as_many_as_asked_for_or_as_classes():
    assert chosen_clusters(ROWS, None) == 2
    more = ROWS._replace(test=Split({"x": np.zeros((4, 2)), "label": np.zeros(4)}))
    assert chosen_clusters(more, 3) == 3
    unlabelled = dataset(*({"x": np.zeros((3, 2))} for _ in range(3)))
    one_class = dataset(*({"x": np.zeros((3, 2)), "label": np.zeros(3)} for _ in range(3)))
    assert chosen_clusters(one_class, 2) == 2
    for data, asked, words in (
        (more, 4, "--num-clusters 4: expected 2 to 3, the number of training examples of mine"),
        (more, 1, "--num-clusters 1: expected 2 to 3"),
        (unlabelled, None, "--num-clusters: mine has no labels; expected a number of clusters"),
        (one_class, None, "--num-clusters 1, the classes of mine: expected 2 to 3"),
        (ROWS._replace(test=Split({"x": np.zeros((2, 2))})), 3, "expected 2 to 2, the number of test examples of mine"),
        (ROWS._replace(test=Split({"x": np.zeros((1, 2))})), 2, "mine: 1 test example is too few for clusters"),
    ):
        with pytest.raises(UsageError, match=words):
            chosen_clusters(data, asked)
