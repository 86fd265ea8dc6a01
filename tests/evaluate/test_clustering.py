"""Scores against scikit-learn and brute force over all matchings; clusters of blobs are found; the odd cases."""

import itertools

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from seqjax.errors import DataError, UsageError
from seqjax.evaluate.cluster_scores import (
    accuracy,
    cluster_sizes,
    clustering_scores,
    collapsed,
    matched_classes,
    silhouette,
)
from seqjax.evaluate.clustering import dbscan, gaussian_mixture, k_means

RNG = np.random.default_rng(0)
CENTRES = np.asarray([[0.0, 0], [10, 0], [0, 10]])
LABELS = np.repeat([0, 1, 2], 40)
BLOBS = CENTRES[LABELS] + RNG.normal(size=(120, 2))


def brute_force_accuracy(clusters, labels):
    """The best share over all one-to-one matchings of clusters with classes."""
    numbers, classes = [n for n in np.unique(clusters) if n != -1], list(np.unique(labels))
    spare = [None] * len(numbers)
    return max(
        np.mean([dict(zip(numbers, order, strict=False)).get(c) == y for c, y in zip(clusters, labels, strict=True)])
        for order in itertools.permutations(classes + spare, len(numbers))
    )


@pytest.mark.parametrize(("num_clusters", "num_classes"), [(1, 3), (2, 4), (3, 3), (4, 2), (4, 4)])
@pytest.mark.parametrize("noise", [False, True])
def test_accuracy_is_the_best_of_all_matchings(num_clusters, num_classes, noise):
    random = np.random.default_rng(num_clusters + 10 * num_classes)
    for _ in range(5):
        clusters = random.integers(-1 if noise else 0, num_clusters, 23)
        labels = random.integers(0, num_classes, 23)
        assert accuracy(clusters, labels) == pytest.approx(brute_force_accuracy(clusters, labels))


def test_scores_are_scikit_learns():
    clusters, labels = RNG.integers(0, 5, 200), RNG.integers(0, 3, 200)
    found = clustering_scores(clusters, labels)
    assert found["nmi"] == normalized_mutual_info_score(labels, clusters)
    assert found["ari"] == adjusted_rand_score(labels, clusters)


def test_names_of_clusters_do_not_matter():
    renamed = np.asarray([7, 2, 5])[LABELS]
    assert clustering_scores(renamed, LABELS) == {"accuracy": 1.0, "nmi": 1.0, "ari": 1.0}
    np.testing.assert_array_equal(matched_classes(renamed, LABELS), LABELS)


def test_a_shuffled_labelling_scores_what_chance_predicts():
    """For K equal classes and as many clusters: accuracy little above 1/K, an ARI about 0 (Hubert & Arabie 1985)."""
    labels = np.repeat(np.arange(4), 500)
    found = [clustering_scores(np.random.default_rng(k).permutation(labels), labels) for k in range(20)]
    mean = {name: np.mean([scores[name] for scores in found]) for name in found[0]}
    # the ARI's expectation is exactly 0, and its spread 1e-3 here
    assert abs(mean["ari"]) < 1e-3
    # mutual information of independent variables is about (K - 1)^2 / 2N nats, of log K
    assert mean["nmi"] == pytest.approx(9 / (2 * 2000) / np.log(4), rel=0.3)
    assert 0.25 < mean["accuracy"] < 0.29


def test_rows_of_no_cluster_are_wrong():
    clusters = np.asarray([0, 0, -1, -1, 1])
    assert accuracy(clusters, np.asarray([0, 0, 1, 1, 1])) == pytest.approx(3 / 5)
    np.testing.assert_array_equal(matched_classes(clusters, np.asarray([0, 0, 1, 1, 1])), [0, 0, -1, -1, 1])


def test_labels_that_do_not_fit_are_told():
    with pytest.raises(DataError, match="found 2 for 3 rows"):
        clustering_scores(np.zeros(3, int), np.zeros(2, int))


@pytest.mark.parametrize("method", [k_means, gaussian_mixture])
def test_blobs_are_found(method):
    found = method(BLOBS, 3, seed=1)
    assert clustering_scores(found.assign(BLOBS), LABELS)["accuracy"] == 1.0
    order = np.argsort(found.centres @ [1, 2])
    np.testing.assert_allclose(found.centres[order], CENTRES, atol=0.5)
    # new rows as well
    assert len(np.unique(found.assign(CENTRES))) == 3


def test_k_means_is_scikit_learns_and_repeats():
    rows = RNG.normal(size=(300, 5))
    fitted = KMeans(4, n_init=20, random_state=3).fit(rows)
    found = k_means(rows, 4, seed=3)
    np.testing.assert_array_equal(found.assign(rows), fitted.labels_)
    again = k_means(rows, 4, seed=3)
    assert found.centres.tobytes() == again.centres.tobytes()


def test_dbscan_is_scikit_learns():
    rows = np.concatenate([BLOBS, [[50.0, 50.0]]])
    reference = DBSCAN(eps=1.5, min_samples=5).fit(rows)
    found = dbscan(rows, radius=1.5)
    assert found.assign(rows)[-1] == -1
    np.testing.assert_array_equal(found.assign(rows) == -1, reference.labels_ == -1)
    assert adjusted_rand_score(found.assign(rows), reference.labels_) > 0.99
    # with the radius it chooses, each blob is a cluster
    own = dbscan(BLOBS)
    assert len(own.centres) == 3
    assert clustering_scores(own.assign(BLOBS), LABELS)["accuracy"] > 0.85


def test_dbscan_may_find_nothing():
    found = dbscan(CENTRES, radius=0.1, min_neighbours=2)
    assert found.centres.shape == (0, 2)
    np.testing.assert_array_equal(found.assign(CENTRES), [-1, -1, -1])


def test_silhouette_is_scikit_learns_and_needs_two_clusters():
    assert silhouette(BLOBS, LABELS) == pytest.approx(silhouette_score(BLOBS, LABELS), rel=1e-12)
    assert silhouette(BLOBS, np.zeros(120, int)) == 0
    assert silhouette(BLOBS, np.arange(120)) == 0


@pytest.mark.parametrize("method", [k_means, gaussian_mixture])
def test_too_few_rows_and_bad_values_are_told(method):
    with pytest.raises(DataError, match="2 rows are fewer than 3 clusters"):
        method(BLOBS[:2], 3)
    with pytest.raises(DataError, match="row 1, column 0"):
        method(np.asarray([[0.0], [np.nan], [1.0]]), 2)
    with pytest.raises(UsageError, match="num_clusters=0"):
        method(BLOBS, 0)


@pytest.mark.parametrize("method", [k_means, gaussian_mixture])
def test_equal_rows_are_one_cluster(method):
    rows = np.ones((10, 3))
    sizes = cluster_sizes(method(rows, 3).assign(rows))
    assert sizes == {"clusters_used": 1.0, "largest_share": 1.0}


def test_collapse_is_told_in_any_seed():
    def metrics(used, largest):
        return {"dec/clusters_used": {"per_seed": used}, "dec/largest_share": {"per_seed": largest}}

    assert not collapsed(metrics([3, 3], [0.5, 0.6]), "dec", num_clusters=3)
    assert collapsed(metrics([3, 2], [0.5, 0.6]), "dec", num_clusters=3)
    assert collapsed(metrics([3, 3], [0.5, 0.95]), "dec", num_clusters=3)
