"""Data of which only some training rows show their class."""

import math

import numpy as np

from seqjax.errors import DataError, require
from seqjax.types import Dataset, Split


def partly_labelled(data: Dataset, share: float) -> Dataset:
    """`label` as numbers 0 to K - 1 of the classes, and `labelled [N]`, which training rows may be asked for theirs.

    They are `share` of the training rows of each class, rounded up, the first in a pinned order; those of a smaller
    share are among those of a greater one. Raises DataError where a split has no labels, where there is one class only,
    and for a class that no training row has.
    """
    require(0 < share <= 1, "label_share", share, "a share in (0, 1]")
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    without = [name for name, split in splits.items() if "label" not in split.fields]
    if without:
        raise DataError(f"{data.name} has no labels in its {without[0]} split; expected an array `label` [N].")
    classes = np.unique(data.train.fields["label"])
    for name, split in splits.items():
        unseen = np.setdiff1d(split.fields["label"], classes)
        if unseen.size:
            raise DataError(
                f"{data.name}: class {unseen[0]} of the {name} split has no training row; expected some of each class."
            )
    if len(classes) < 2:
        raise DataError(f"{data.name}: all training rows are of class {classes[0]}; expected two classes or more.")

    def numbered(split: Split) -> Split:
        return Split(split.fields | {"label": np.searchsorted(classes, split.fields["label"]).astype(np.int32)})

    train, validation, test = (numbered(split) for split in splits.values())
    labelled = np.zeros(train.num_examples, bool)
    order = np.random.RandomState(0).permutation(train.num_examples)
    for number in range(len(classes)):
        own = order[train.fields["label"][order] == number]
        labelled[own[: math.ceil(share * len(own))]] = True
    train = Split(train.fields | {"labelled": labelled})
    return data._replace(train=train, validation=validation, test=test)
