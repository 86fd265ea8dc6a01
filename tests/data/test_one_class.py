"""Classes side by side in one batch, each in epochs of its own; and labels that cannot say what is normal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.one_class import class_batch_at, gathered, normal_classes, rows_by_class, side_by_side
from seqjax.errors import DataError
from seqjax.types import Dataset, Split

pytestmark = pytest.mark.usefixtures("quick_compilation")


LABEL = np.asarray([3, 1, 3, 3, 1, 3, 1, 3, 3, 1])
SPLIT = Split({"x": np.arange(20, dtype=np.uint8).reshape(10, 2), "label": LABEL})


def dataset(train=(0, 1), validation=(0, 1), test=(0, 1)):
    splits = [
        Split({"x": np.zeros((len(label), 2)), "label": np.asarray(label)}) for label in (train, validation, test)
    ]
    return Dataset("own", *splits, "0")


def test_rows_side_by_side():
    rows = rows_by_class(SPLIT, (1, 3))
    np.testing.assert_array_equal(rows[0], [1, 4, 6, 9])
    np.testing.assert_array_equal(rows[1], [0, 2, 3, 5, 7, 8])
    places, valid = side_by_side(rows)
    np.testing.assert_array_equal(places, [[1, 0], [4, 2], [6, 3], [9, 5], [1, 7], [1, 8]])
    np.testing.assert_array_equal(valid, [[True, True]] * 4 + [[False, True]] * 2)
    batch = gathered(SPLIT, jnp.asarray(places))
    np.testing.assert_allclose(batch["x"], SPLIT.fields["x"][places] / 255, rtol=1e-6)
    np.testing.assert_array_equal(batch["index"], places)


def test_each_class_has_epochs_of_its_own_whatever_the_others():
    key, rows = jax.random.key(0), rows_by_class(SPLIT, (1, 3))

    @jax.jit
    def batches(steps):
        both, alone = class_batch_at((1, 3), rows), class_batch_at((3,), rows[1:])
        shards = [both(SPLIT, key, 1, batch_size=2, shard=shard, num_shards=2)["index"] for shard in (0, 1)]
        return (
            jax.lax.map(lambda step: both(SPLIT, key, step, batch_size=2)["index"], steps),
            alone(SPLIT, key, 4, batch_size=2)["index"],
            jnp.concatenate(shards),
        )

    seen, alone, shards = batches(jnp.arange(6))
    for column, (own, epochs) in enumerate(zip(rows, (3, 2), strict=True)):
        for epoch in np.split(seen[:, :, column].reshape(-1), epochs):
            assert sorted(epoch.tolist()) == own.tolist()
    assert seen[:2, :, 0].tolist() != seen[2:4, :, 0].tolist()
    np.testing.assert_array_equal(alone[:, 0], seen[4, :, 1])
    np.testing.assert_array_equal(shards, seen[1])


def test_every_class_of_the_training_split_is_normal_in_turn_or_the_one_asked_for():
    data = dataset((5, 2, 2), (2, 5), (2, 5, 9))
    assert normal_classes(data, None) == (2, 5)
    assert normal_classes(data, 5) == (5,)
    # one class to train on is what the protocol is about
    assert normal_classes(dataset((2, 2), (2,), (2, 5)), None) == (2,)


@pytest.mark.parametrize(
    ("data", "normal_class", "words"),
    [
        (
            dataset(validation=(0,)),
            None,
            "class 1 has no validation example; .*\nChoose --normal-class among 0, or",
        ),
        (dataset(test=(0,)), None, "own: class 1 has no test example"),
        (dataset(test=(0, 0)), 0, "own: all test examples are of class 0"),
        (dataset(), 7, "class 7 has no training example; .*\nChoose --normal-class among 0, 1"),
        (dataset()._replace(train=Split({"x": np.zeros((2, 2))})), None, "own: has no labels"),
    ],
)
def test_labels_that_cannot_say_what_is_normal(data, normal_class, words):
    with pytest.raises(DataError, match=words):
        normal_classes(data, normal_class)
