"""Features against scikit-learn and by their moments; nothing of other splits in them; constant columns and no rows."""

import jax
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from seqjax.errors import DataError, UsageError
from seqjax.evaluate.embeddings import principal_components, rows_of
from seqjax.evaluate.features import centroid_distances, explained_shares, side_by_side, standardised, whitened
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Split


def split_of(seed, num_rows=80):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_rows, 4)) @ rng.normal(size=(4, 4)) * [1, 5, 0.2, 1] + 3
    return Split({"x": np.concatenate([values, np.full((num_rows, 1), 0.1)], axis=1).astype(np.float32)})


TRAIN, TEST, NONE = split_of(0), split_of(1, 7), split_of(2, 0)


def test_standardised_values_are_those_of_scikit_learn():
    expected = StandardScaler().fit(values_of(TRAIN)).transform(values_of(TEST))
    found = standardised(TRAIN)(TEST)
    np.testing.assert_allclose(found[:, :4], expected[:, :4])
    np.testing.assert_array_equal(found[:, 4], 0)


def test_whitened_components_have_variance_one_and_are_those_of_scikit_learn():
    rows = whitened(TRAIN, 4)(TRAIN)
    np.testing.assert_allclose(np.cov(rows.T, ddof=0), np.eye(4), atol=1e-8)
    expected = PCA(3, whiten=True).fit(values_of(TRAIN)).transform(values_of(TEST))
    # which divides by one row less
    np.testing.assert_allclose(np.abs(whitened(TRAIN, 3)(TEST)), np.abs(expected) * np.sqrt(80 / 79), rtol=1e-8)


def test_a_component_of_no_variance_is_zero_and_a_floor_keeps_small_ones_small():
    assert whitened(TRAIN, 5)(TEST).shape == (7, 5)
    np.testing.assert_array_equal(whitened(TRAIN, 5)(TEST)[:, 4], 0)
    variances = PCA(4).fit(values_of(TRAIN)).explained_variance_ * 79 / 80
    floor = 0.5 * values_of(TRAIN).var(axis=0).mean()
    found = whitened(TRAIN, 4, floor=0.5)(TRAIN).var(axis=0)
    np.testing.assert_allclose(found, variances / (variances + floor), rtol=1e-6)


def test_distances_are_those_to_the_centroids_of_k_means():
    expected = KMeans(6, n_init=20, random_state=3).fit(values_of(TRAIN)).transform(values_of(TEST))
    np.testing.assert_allclose(centroid_distances(TRAIN, 6, seed=3)(TEST), expected, rtol=1e-6)


def test_side_by_side_and_of_no_rows():
    parts = [standardised(TRAIN), whitened(TRAIN, 3), centroid_distances(TRAIN, 6)]
    np.testing.assert_array_equal(side_by_side(parts)(TEST), np.concatenate([part(TEST) for part in parts], axis=1))
    assert side_by_side(parts)(NONE).shape == (0, 14)


@pytest.mark.parametrize(
    "encoder",
    [rows_of, standardised(TRAIN), principal_components(TRAIN, 3), whitened(TRAIN, 3), centroid_distances(TRAIN, 4)],
    ids=["raw", "standardised", "pca", "whitened", "centroids"],
)
def test_traced_rows_have_the_features_that_they_have_on_the_host(encoder):
    both = side_by_side([encoder, encoder])
    np.testing.assert_allclose(jax.jit(both)(TEST), both(TEST), rtol=1e-5, atol=2e-6)


def test_explained_shares_are_those_of_scikit_learn():
    np.testing.assert_allclose(
        explained_shares(TRAIN), PCA().fit(values_of(TRAIN)).explained_variance_ratio_, atol=1e-12
    )
    np.testing.assert_array_equal(explained_shares(Split({"x": np.ones((4, 3), np.float32)})), 0)


def test_what_cannot_be_had_is_refused():
    with pytest.raises(UsageError, match="floor=-1"):
        whitened(TRAIN, 3, floor=-1.0)
    with pytest.raises(DataError, match="80 rows are fewer than 81 clusters"):
        centroid_distances(TRAIN, 81)
