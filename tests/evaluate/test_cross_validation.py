"""The curve of cross-validation: scikit-learn's folds as the reference, and the rule worked out by hand."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_score

from seqjax.errors import DataError, UsageError
from seqjax.evaluate.cross_validation import curve, curve_measures, fold_errors

RNG = np.random.default_rng(0)


def test_errors_and_their_spread_are_scikit_learns():
    x, folds = RNG.normal(size=(23, 4)), np.arange(23) % 5
    y = x @ RNG.normal(size=(4, 3)) + RNG.normal(size=(23, 3))
    found, expected = [], []
    for penalty in (0.01, 1.0, 100.0):
        model = Ridge(alpha=penalty)
        said = [model.fit(x[folds != k], y[folds != k]).predict(x) for k in range(5)]
        errors = np.stack([np.square(values - y).sum(axis=1) for values in said])
        found.append(fold_errors(errors, np.full(23, 3), folds))
        expected.append(-cross_val_score(model, x, y, scoring="neg_mean_squared_error", cv=PredefinedSplit(folds)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    result = curve(np.asarray(found))
    np.testing.assert_allclose(result.mean, np.mean(expected, axis=1))
    np.testing.assert_allclose(result.standard_error, np.std(expected, axis=1, ddof=1) / np.sqrt(5))


def test_examples_count_by_their_values():
    errors, values = np.asarray([[1.0, 6.0, 50.0], [70.0, 80.0, 9.0]]), np.asarray([1, 3, 2])
    np.testing.assert_allclose(fold_errors(errors, values, np.asarray([0, 0, 1])), [7 / 4, 9 / 2])
    with pytest.raises(DataError, match="fold 1 holds no value"):
        fold_errors(errors, np.asarray([1, 3, 0]), np.asarray([0, 0, 1]))


# means 5, 3.2, 3, 2.9 and 3.5
ERRORS = np.asarray([[4.9, 5.1], [3.1, 3.3], [2.9, 3.1], [2.75, 3.05], [3.4, 3.6]])


def test_the_simplest_within_one_standard_error_of_the_best_is_chosen():
    found = curve(ERRORS)
    assert found.best == 3
    # deviations of 0.15 about 2.9: stddev 0.2121 with one degree of freedom, over sqrt(2) 0.15, so up to 3.05
    assert found.standard_error[3] == pytest.approx(0.15)
    assert found.chosen == 2
    assert curve(ERRORS, rule="best").chosen == 3
    wider = curve(np.where(np.arange(5)[:, None] == 3, [[2.5, 3.3]], ERRORS))
    assert (wider.best, wider.chosen) == (3, 1)
    assert curve(ERRORS[::-1]).chosen == 1  # the best is the simplest of those within


def test_candidates_that_diverged_are_never_chosen():
    spoilt = ERRORS.copy()
    spoilt[2, 1], spoilt[0, 0] = np.nan, np.inf
    found = curve(spoilt)
    assert (found.best, found.chosen) == (3, 3)
    assert np.isnan(found.mean[[0, 2]]).all()
    with pytest.raises(DataError, match="no candidate has finite errors"):
        curve(np.full((2, 3), np.nan))
    with pytest.raises(UsageError, match="folds=1"):
        curve(ERRORS[:, :1])


def test_measures_have_a_row_for_each_candidate_the_best_and_the_chosen():
    found = curve_measures("hidden_size", [4, 8, 16, 32, 64], curve(ERRORS), [9.0, 8.0, 7.0, 6.0, 5.0])
    assert len(found) == 5 * 3 + 2 * 4
    assert found["hidden_size_8/fold_error"] == pytest.approx(3.2)
    assert found["hidden_size_8/standard_error"] == pytest.approx(0.1)
    assert (found["best/hidden_size"], found["best/test_error"]) == (32, 6)
    assert (found["chosen/hidden_size"], found["chosen/test_error"]) == (16, 7)
    assert found["chosen/fold_error"] == pytest.approx(3.0)
