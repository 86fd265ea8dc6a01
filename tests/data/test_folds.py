"""Folds: every example is held out once, classes alike, and what is left out weighs nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.folds import fold_numbers, kept_weights
from seqjax.errors import UsageError

KEY = jax.random.key(3)


@pytest.mark.parametrize(("count", "folds"), [(10, 5), (11, 3), (7, 7)])
def test_every_example_is_held_out_once_in_folds_of_one_size(count, folds):
    found = np.asarray(fold_numbers(KEY, count, num_folds=folds))
    sizes = np.bincount(found, minlength=folds)
    assert (len(found), len(sizes)) == (count, folds)
    assert sizes.max() - sizes.min() <= 1
    assert (found == fold_numbers(KEY, count, num_folds=folds)).all()


def test_other_keys_deal_out_otherwise_and_evenly():
    draw = jax.jit(lambda keys: jax.lax.map(lambda key: fold_numbers(key, 6, num_folds=3), keys))
    draws = np.asarray(draw(jax.random.split(KEY, 3000)))
    # each example is in each fold a third of the time; a pair shares one 1 time in 5
    np.testing.assert_allclose((draws == 1).mean(axis=0), 1 / 3, atol=0.03)
    np.testing.assert_allclose((draws[:, 0] == draws[:, 5]).mean(), 1 / 5, atol=0.03)


def test_classes_are_dealt_out_alike():
    labels = np.repeat([0, 1, 5], [7, 2, 11])[np.random.default_rng(0).permutation(20)]
    found = np.asarray(fold_numbers(KEY, 20, num_folds=4, labels=labels))
    assert np.bincount(found).tolist() == [5] * 4
    for number in np.unique(labels):
        counts = np.bincount(found[labels == number], minlength=4)
        assert counts.max() - counts.min() <= 1
    # and within its class by chance
    other = np.asarray(fold_numbers(jax.random.key(4), 20, num_folds=4, labels=labels))
    assert (found != other).any()


@pytest.mark.parametrize("folds", [1, 0, 9])
def test_impossible_folds_are_refused(folds):
    with pytest.raises(UsageError, match=f"folds={folds}: expected 2 to 8"):
        fold_numbers(KEY, 8, num_folds=folds)


def test_weights_leave_out_a_fold_and_keep_the_mean():
    folds = jnp.asarray([0, 1, 2, 0, 1, 2, 0])
    losses = jnp.asarray([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    order = jnp.asarray([3, 0, 6, 2, 1, 5, 4])
    weights = jax.jit(lambda left_out: kept_weights(folds != left_out, order))
    for left_out in range(4):
        kept = np.asarray(folds) != left_out
        found = weights(left_out)
        np.testing.assert_array_equal(np.asarray(found) == 0, ~kept[order])
        np.testing.assert_allclose((found * losses[order]).mean(), np.asarray(losses)[kept].mean(), rtol=1e-6)
    assert weights._cache_size() == 1
