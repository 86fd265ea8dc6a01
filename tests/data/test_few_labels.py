"""Which rows keep their label: some of each class, the same ones at every share, and of training rows alone."""

import numpy as np
import pytest

from seqjax.data.few_labels import partly_labelled
from seqjax.errors import DataError, UsageError
from seqjax.types import Dataset, Split


def dataset(**labels):
    splits = (Split({"x": np.zeros((len(label), 2)), "label": np.asarray(label)}) for label in labels.values())
    return Dataset("mine", *splits, "sha")


DATA = dataset(train=[7, 3] * 10 + [9] * 5, validation=[3, 9], test=[9, 7, 3])


@pytest.mark.parametrize(("share", "counts"), [(0.01, [1, 1, 1]), (0.25, [3, 3, 2]), (1.0, [10, 10, 5])])
def test_a_share_of_each_class_rounded_up(share, counts):
    fields = partly_labelled(DATA, share).train.fields
    assert np.bincount(fields["label"][fields["labelled"]]).tolist() == counts


def test_classes_are_numbered_in_their_order_in_all_splits():
    data = partly_labelled(DATA, 0.5)
    np.testing.assert_array_equal(data.train.fields["label"], [1, 0] * 10 + [2] * 5)
    np.testing.assert_array_equal(data.validation.fields["label"], [0, 2])
    np.testing.assert_array_equal(data.test.fields["label"], [2, 1, 0])


def test_more_labels_are_the_fewer_and_others():
    few, more = (partly_labelled(DATA, share).train.fields["labelled"] for share in (0.2, 0.6))
    assert not (few & ~more).any()
    assert few.sum() < more.sum()
    # neither the first rows nor the last
    assert not few[: few.sum()].all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DATA._replace(test=Split({"x": DATA.test.fields["x"]})), "mine has no labels in its test split"),
        (dataset(train=[1, 2], validation=[], test=[2, 4]), "class 4 of the test split has no training row"),
        (dataset(train=[1, 1], validation=[], test=[1]), "all training rows are of class 1; expected two classes"),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(data, words):
    with pytest.raises(DataError, match=words):
        partly_labelled(data, 0.5)


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_impossible_shares_are_refused(share):
    with pytest.raises(UsageError, match="label_share"):
        partly_labelled(DATA, share)
