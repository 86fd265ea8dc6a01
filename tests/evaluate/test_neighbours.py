"""Nearest rows against scikit-learn and by hand; copies of training rows are found."""

import jaxtyping
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from seqjax.errors import DataError
from seqjax.evaluate.neighbours import copying, measures, nearest, squared_distances, squared_radii

RNG = np.random.default_rng(0)
POINTS, REFERENCES = RNG.normal(size=(37, 6)), RNG.normal(3, 2, size=(53, 6))


@pytest.mark.parametrize("chunk", [1, 10, 37, 1000])
def test_equal_scikit_learns(chunk):
    distances, rows = NearestNeighbors(n_neighbors=4).fit(REFERENCES).kneighbors(POINTS)
    found = nearest(POINTS, REFERENCES, k=4, chunk=chunk)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    np.testing.assert_array_equal(found.rows, rows)


def test_radii_are_distances_to_other_rows():
    expected = NearestNeighbors(n_neighbors=4).fit(REFERENCES).kneighbors(REFERENCES)[0][:, 3]
    np.testing.assert_allclose(squared_radii(REFERENCES, k=3, chunk=7), expected**2, rtol=1e-6)


def test_distances_far_from_the_origin_keep_their_digits():
    # squared norms of 1e16 would leave nothing of differences of 1, were they not taken about the references' mean
    shifted = np.concatenate([block for _, block in squared_distances(POINTS + 1e8, REFERENCES + 1e8)])
    direct = np.square(POINTS[:, None] - REFERENCES[None]).sum(axis=2)
    np.testing.assert_allclose(shifted, direct, rtol=1e-6)


def test_equal_rows_are_at_distance_zero_and_ties_compare_as_equal():
    rows = RNG.normal(size=(200, 50)).astype(np.float32)
    assert nearest(rows, rows).distances.max() == 0
    one = np.concatenate([block for _, block in squared_distances(rows, rows, chunk=200)])
    other = np.concatenate([block for _, block in squared_distances(rows, rows, chunk=3)]).T
    np.testing.assert_array_equal(one, other)


def test_copies_are_found():
    train, held_out, fresh = (RNG.normal(size=(count, 5)) for count in (400, 300, 500))
    new = copying(fresh, train, held_out)
    assert new.ratio == pytest.approx(1, abs=0.1)
    assert new.share < 0.05
    copied = copying(train[:100] + 1e-3 * RNG.normal(size=(100, 5)), train, held_out)
    assert copied.ratio < 0.01
    assert copied.share == 1
    np.testing.assert_array_equal(copied.nearest.rows[:, 0], np.arange(100))
    # a tenth of copies hides from the median, not from the share
    some = copying(np.concatenate([fresh[:450], train[:50]]), train, held_out)
    assert some.ratio > 0.8
    assert measures("gan", some) == {"gan/copy_ratio": some.ratio, "gan/copy_share": some.share}
    assert 0.1 <= some.share < 0.15


def test_the_ratio_by_hand():
    train = np.asarray([[0.0], [10.0]])
    found = copying(np.asarray([[1.0], [9.0], [11.0]]), train, np.asarray([[4.0], [6.0], [12.0]]))
    assert found.ratio == pytest.approx(1 / 4)
    assert found.share == 1


def test_copies_are_found_where_held_out_rows_hold_some_too():
    train, held_out = RNG.normal(size=(100, 3)), RNG.normal(size=(50, 3))
    held_out[:5] = train[:5]
    assert copying(train[50:], train, held_out).share == 1


def test_refusals(monkeypatch):
    broken = POINTS.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match=r"points: found nan at row 3, column 2 .* and 0 more"):
        nearest(broken, REFERENCES)
    with pytest.raises(DataError, match="references: found 3 rows, expected at least 4"):
        nearest(POINTS, REFERENCES[:3], k=4)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(DataError, match="points have 5 features and references 6"):
        nearest(POINTS[:, :5], REFERENCES)
    with pytest.raises(DataError, match=r"points: found shape \[2, 3, 4\]"):
        nearest(np.zeros((2, 3, 4)), REFERENCES)
    with pytest.raises(DataError, match="held-out rows: at least half of them are training rows"):
        copying(POINTS, REFERENCES, REFERENCES)
