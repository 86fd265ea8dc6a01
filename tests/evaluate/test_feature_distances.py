"""Distances of distributions against SciPy, scikit-learn and closed forms."""

import jax
import jaxtyping
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.pairwise import polynomial_kernel

from seqjax.errors import DataError
from seqjax.evaluate.feature_distances import (
    frechet_distance,
    halves,
    kernel_distance,
    sliced_wasserstein_distance,
)
from seqjax.evaluate.generation import measures

RNG = np.random.default_rng(0)
MIXED = RNG.normal(size=(6, 6))
REAL = RNG.normal(size=(200, 6)) @ MIXED + 1
GENERATED = RNG.normal(size=(150, 6)) @ (MIXED + 0.3 * RNG.normal(size=(6, 6)))
KEY = jax.random.key(0)


def frechet_by_scipy(one, other):
    covariances = [np.cov(rows, rowvar=False) for rows in (one, other)]
    shift = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    return shift + np.trace(sum(covariances)) - 2 * np.trace(sqrtm(covariances[0] @ covariances[1])).real


def test_frechet_distance_equals_scipys():
    np.testing.assert_allclose(frechet_distance(GENERATED, REAL), frechet_by_scipy(GENERATED, REAL), rtol=1e-10)
    np.testing.assert_allclose(frechet_distance(REAL, GENERATED), frechet_by_scipy(GENERATED, REAL), rtol=1e-10)


def test_frechet_distance_of_known_gaussians():
    """Whitened rows have exactly the moments that are asked for, and commuting covariances a closed form."""
    centred = REAL - REAL.mean(axis=0)
    white = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred, rowvar=False)).T)
    one, other = np.asarray([1.0, 2, 3, 0.5, 1, 1]), np.asarray([1.0, 1, 5, 0.5, 0, 2])
    found = frechet_distance(white * one + 2, white * other)
    np.testing.assert_allclose(found, 6 * 2**2 + np.square(one - other).sum(), rtol=1e-10)
    np.testing.assert_allclose(frechet_distance(REAL + 3, REAL), 6 * 3**2, rtol=1e-10)
    assert frechet_distance(REAL, REAL) < 1e-20


@pytest.mark.parametrize("rank", [0, 2])
def test_frechet_distance_of_singular_covariances(rank):
    """Rank 2 of 6, or constant rows, in closed form: the root of a product of singular matrices may not exist."""
    base = RNG.normal(size=(40, rank)) @ RNG.normal(size=(rank, 6))
    spread = np.cov(base, rowvar=False).trace()
    expected = 4 * np.square(base.mean(axis=0)).sum() + 4 * spread
    np.testing.assert_allclose(frechet_distance(3 * base, base), expected, rtol=1e-10, atol=1e-25)
    np.testing.assert_allclose(frechet_distance(base, np.ones((3, 6)) * base.mean(axis=0)), spread, rtol=1e-10)


def test_frechet_distance_of_fewer_rows_than_features():
    one, other = RNG.normal(size=(4, 9)), RNG.normal(size=(7, 9))
    covariances = [np.cov(rows, rowvar=False) for rows in (one, other)]
    # the eigenvalues of a product of covariances are real and not negative, its root's are their roots
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0))
    shift = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    expected = shift + np.trace(sum(covariances)) - 2 * roots.sum()
    np.testing.assert_allclose(frechet_distance(one, other), expected, rtol=1e-6)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_kernel_distance_equals_scikit_learns_kernel(chunk):
    def kernel(one, other):
        return polynomial_kernel(one, other, degree=3, gamma=1 / 6, coef0=1)

    def off_diagonal(matrix):
        return (matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1))

    expected = (
        off_diagonal(kernel(GENERATED, GENERATED))
        + off_diagonal(kernel(REAL, REAL))
        - 2 * kernel(GENERATED, REAL).mean()
    )
    np.testing.assert_allclose(kernel_distance(GENERATED, REAL, chunk=chunk), expected, rtol=1e-10)


def test_kernel_distance_is_unbiased():
    """Of equal distributions it is 0 on average: 200 draws, within four standard errors; the biased one is not."""
    draws = RNG.normal(size=(200, 2, 12, 3))
    found = np.asarray([kernel_distance(one, other) for one, other in draws])
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 4 * error
    assert (found < 0).any()
    linear = np.asarray([kernel_distance(one, other + 1, degree=1) for one, other in draws])
    assert abs(linear.mean() - 1) < 4 * linear.std() / np.sqrt(len(linear))  # |m_1 - m_2|^2 / D


def test_sliced_distance_in_one_dimension_is_the_best_assignment():
    one, other = RNG.normal(size=(12, 1)), RNG.normal(2, 3, size=(12, 1))
    cost = np.square(one - other.T)
    expected = np.sqrt(cost[linear_sum_assignment(cost)].mean())
    np.testing.assert_allclose(sliced_wasserstein_distance(one, other, KEY, projections=2), expected, rtol=1e-10)
    # repeated rows are the same distribution, of another size
    repeated = sliced_wasserstein_distance(np.repeat(one, 5, axis=0), np.repeat(other, 3, axis=0), KEY)
    np.testing.assert_allclose(repeated, expected, rtol=1e-10)


def test_sliced_distance_of_a_shift_is_its_length_over_the_root_of_the_dimension():
    found = sliced_wasserstein_distance(REAL + 2, REAL, KEY, projections=4000)
    assert found == pytest.approx(2, rel=0.05)  # |shift| = 2 sqrt(6)
    assert sliced_wasserstein_distance(REAL, REAL[::-1], KEY) < 1e-12
    assert sliced_wasserstein_distance(REAL, np.repeat(REAL, 2, axis=0), KEY) < 1e-12


def test_halves_part_the_rows():
    one, other = halves(np.arange(21.0)[:, None], KEY)
    assert one.shape == other.shape == (10, 1)
    assert len({*one[:, 0], *other[:, 0]}) == 20
    assert sorted(one[:, 0]) != list(range(10))


def test_a_table_row_of_the_floor_and_of_a_collapse():
    reference, rest = halves(REAL, KEY)
    floor = measures("real", rest, reference, KEY)
    collapse = measures("collapsed", np.repeat(REAL[:4], 25, axis=0), reference, KEY)
    assert set(collapse) == {name.replace("real", "collapsed") for name in floor}
    for measure in ("frechet_distance", "kernel_distance", "sliced_wasserstein"):
        assert collapse[f"collapsed/{measure}"] > 2 * floor[f"real/{measure}"]
    for measure in ("recall", "coverage"):
        assert collapse[f"collapsed/{measure}"] < 0.3 < floor[f"real/{measure}"]


def test_constant_and_huge_features_are_finite():
    constant = np.full((30, 6), 7.0)
    for values in (measures("c", constant, REAL, KEY), measures("c", constant, constant, KEY)):
        assert np.isfinite(list(values.values())).all()
    assert measures("c", constant, constant, KEY)["c/frechet_distance"] == 0
    assert np.isfinite(list(measures("h", GENERATED * 1e4, REAL, KEY).values())).all()


def test_refusals(monkeypatch):
    with pytest.raises(DataError, match="generated features: found 1 rows, expected at least 2"):
        frechet_distance(GENERATED[:1], REAL)
    with pytest.raises(DataError, match="real features: found inf at row 0"):
        kernel_distance(GENERATED, np.full((3, 6), np.inf))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(DataError, match="generated features have 5 features and real features 6"):
        sliced_wasserstein_distance(GENERATED[:, :5], REAL, KEY)
