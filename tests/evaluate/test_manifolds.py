"""Precision, recall, density and coverage against loops, and of sets whose overlap is known."""

import numpy as np
import pytest

from seqjax.errors import DataError
from seqjax.evaluate.manifolds import density_coverage, precision_recall

RNG = np.random.default_rng(0)


def brute_force(generated, real, k):
    """The definitions, pair by pair."""

    def radius(rows, i):
        return sorted(np.linalg.norm(rows[i] - rows[j]) for j in range(len(rows)) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    generated_radii = [radius(generated, i) for i in range(len(generated))]
    held = np.asarray([[np.linalg.norm(g - r) < s for r, s in zip(real, real_radii, strict=True)] for g in generated])
    within = [any(np.linalg.norm(r - g) <= s for g, s in zip(generated, generated_radii, strict=True)) for r in real]
    return held.any(axis=1).mean(), np.mean(within), held.sum() / (k * len(generated)), held.any(axis=0).mean()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("chunk", [4, 1000])
def test_equal_brute_force(k, chunk):
    generated, real = RNG.normal(0.7, 1.5, size=(40, 3)), RNG.normal(size=(31, 3))
    found = (*precision_recall(generated, real, k=k, chunk=chunk), *density_coverage(generated, real, k=k, chunk=chunk))
    expected = brute_force(generated, real, k)
    assert all(0 < value < 2 for value in expected)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identical_sets_score_one(dtype):
    rows = RNG.normal(size=(300, 20)).astype(dtype)
    for chunk in (7, 500):
        assert precision_recall(rows, rows, chunk=chunk) == (1, 1)
        # k nearest others and itself, less the one on the surface: k rows in each ball, exactly
        assert density_coverage(rows, rows, chunk=chunk) == (1, 1)


def test_sets_apart_score_zero():
    rows = RNG.normal(size=(50, 4))
    assert precision_recall(rows + 100, rows) == (0, 0)
    assert density_coverage(rows + 100, rows) == (0, 0)


def test_a_dropped_half_costs_recall_and_invented_rows_cost_precision():
    modes = RNG.normal(size=(400, 2)) * 0.1 + np.repeat([[0.0, 0], [5, 5]], 200, axis=0)
    others = RNG.normal(size=(400, 2)) * 0.1 + np.repeat([[0.0, 0], [5, 5]], 200, axis=0)
    dropped = precision_recall(others[:200], modes)
    assert dropped.precision > 0.95
    assert dropped.recall < 0.55
    assert density_coverage(others[:200], modes).coverage < 0.55
    invented = precision_recall(np.concatenate([others, others + 20]), modes)
    assert invented.precision < 0.55
    assert invented.recall > 0.95


def test_two_samples_of_one_distribution_score_what_theory_says():
    k, count = 5, 2000
    found = density_coverage(RNG.normal(size=(count, 8)), RNG.normal(size=(count, 8)), k=k)
    short = np.prod([(count - i) / (2 * count - i) for i in range(1, k + 1)])
    assert found.coverage == pytest.approx(1 - short, abs=0.015)  # a share of 2000 balls: three standard errors
    assert found.density == pytest.approx(1, abs=0.05)


def test_constant_features_are_finite():
    same = np.full((10, 3), 0.1)
    assert precision_recall(same, same) == (1, 1)
    assert density_coverage(same, same, k=5) == (2, 1)  # all ten real rows hold each generated one
    assert precision_recall(same + 1, same) == (0, 0)
    assert density_coverage(same + 1, same) == (0, 0)


def test_refusals():
    rows = RNG.normal(size=(5, 2))
    with pytest.raises(DataError, match="generated features: found 3 rows, expected at least 4"):
        precision_recall(rows[:3], rows)
    with pytest.raises(DataError, match="real features: found 5 rows, expected at least 6"):
        density_coverage(rows, rows)
    with pytest.raises(DataError, match="generated features: found nan at row 0"):
        precision_recall(rows * np.nan, rows)
    with pytest.raises(DataError, match="generated features: found 0 rows"):
        density_coverage(rows[:0], rows, k=2)
