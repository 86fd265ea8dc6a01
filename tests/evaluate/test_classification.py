"""Measures by hand and by scikit-learn; the linear classifier against Bayes' rule of two Gaussians."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, log_loss

from seqjax.evaluate.classification import class_shares, logistic_regression, measures


def test_measures_are_scikit_learns():
    random = np.random.default_rng(0)
    said, labels = log_softmax(random.normal(size=(50, 4)), axis=1), random.integers(0, 4, 50)
    found = measures("row", said, labels)
    assert found["row/accuracy"] == accuracy_score(labels, said.argmax(axis=1))
    assert found["row/nats"] == pytest.approx(log_loss(labels, np.exp(said), labels=range(4)), rel=1e-12)


def test_one_who_looks_at_nothing():
    labels = np.asarray([0, 1, 1, 2, 1, 0])
    found = measures("row", class_shares(labels, 6), labels)
    assert found["row/accuracy"] == 0.5
    shares = np.asarray([2, 3, 1]) / 6
    assert found["row/nats"] == pytest.approx(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("num_classes", [2, 3])
def test_logistic_regression_comes_near_bayes_rule(num_classes):
    """Gaussians of variance 1 about points on a line are told apart best by a linear rule."""
    random = np.random.default_rng(1)

    def drawn(count):
        labels = random.integers(0, num_classes, count)
        return random.normal(size=(count, 2)) + 3.0 * labels[:, None] * [[1, 0]], labels

    train, validation, (rows, labels) = drawn(3000), drawn(500), drawn(4000)
    found = measures("own", logistic_regression(train, validation, rows), labels)
    best = log_softmax(-0.5 * np.square(rows[:, :1] - 3.0 * np.arange(num_classes)[None, :]), axis=1)
    bayes = measures("best", best, labels)
    assert found["own/nats"] == pytest.approx(bayes["best/nats"], rel=0.05)
    assert found["own/accuracy"] == pytest.approx(bayes["best/accuracy"], abs=0.01)


def test_the_strength_is_chosen_on_validation():
    """Training labels that are half noise: the weakest fit forecasts best."""
    random = np.random.default_rng(2)
    x, rows = random.normal(size=(60, 40)), random.normal(size=(400, 40))
    labels, truth = random.integers(0, 2, 60), random.integers(0, 2, 400)
    validation = (rows[:200], truth[:200])
    empty = (rows[:0], truth[:0])
    weakest = logistic_regression((x, labels), empty, rows[200:])
    np.testing.assert_array_equal(logistic_regression((x, labels), validation, rows[200:]), weakest)
    # and on labels that follow from the rows, a strong one
    clear = (x[:, 0] > 0).astype(int)
    strong = logistic_regression((x, clear), (rows[:200], (rows[:200, 0] > 0).astype(int)), rows[200:])
    assert not np.array_equal(strong, logistic_regression((x, clear), empty, rows[200:]))


def test_sure_answers_cost_finite_nats():
    rows = np.asarray([[-1e4], [1e4]])
    said = logistic_regression((rows, np.asarray([0, 1])), (rows[:0], np.zeros(0, int)), 1e3 * rows)
    assert np.isfinite(measures("own", said, np.asarray([1, 0]))["own/nats"])
