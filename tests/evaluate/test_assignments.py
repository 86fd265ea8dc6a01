"""What is said of clusters, with labels and without, beside k-means fitted on the training split alone."""

import jax
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from seqjax.evaluate.assignments import assignment_measures, baseline_measures, seed_of
from seqjax.types import Dataset, Split

RNG = np.random.default_rng(0)
CENTRES = 4 * RNG.normal(size=(3, 5))


def split_of(size):
    label = RNG.integers(3, size=size)
    return Split({"x": (CENTRES[label] + RNG.normal(size=(size, 5))).astype(np.float32), "label": label})


DATA = Dataset("mine", split_of(60), split_of(0), split_of(40), "sha")


def test_measures_are_scikit_learns():
    clusters, label = RNG.integers(3, size=40), DATA.test.fields["label"]
    found = assignment_measures("own", clusters, DATA.test)
    assert found["own/nmi"] == pytest.approx(normalized_mutual_info_score(label, clusters))
    assert found["own/ari"] == pytest.approx(adjusted_rand_score(label, clusters))
    assert found["own/silhouette"] == pytest.approx(silhouette_score(DATA.test.fields["x"], clusters))
    assert found["own/clusters_used"] == 3
    assert found["own/largest_share"] == np.bincount(clusters).max() / 40


def test_without_labels_the_silhouette_is_left():
    found = assignment_measures("own", np.arange(40) % 2, Split({"x": DATA.test.fields["x"]}))
    assert set(found) == {"own/silhouette", "own/clusters_used", "own/largest_share"}


def test_baselines_are_fitted_on_the_training_split():
    found = baseline_measures(DATA, 3, 2, seed=1, num_starts=3)
    train, test = (np.asarray(s.fields["x"], np.float64) for s in (DATA.train, DATA.test))
    pca = PCA(2).fit(train)
    for row, (own, theirs) in {"kmeans": (train, test), "pca_kmeans": map(pca.transform, (train, test))}.items():
        clusters = KMeans(3, n_init=3, random_state=1).fit(own).predict(theirs)
        assert found[f"{row}/ari"] == pytest.approx(adjusted_rand_score(DATA.test.fields["label"], clusters))
    assert found["kmeans/accuracy"] > 0.9


def test_a_seed_is_one_that_scikit_learn_takes_and_the_keys_own():
    seeds = [seed_of(jax.random.key(number)) for number in range(20)]
    assert len(set(seeds)) == 20
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seed_of(jax.random.key(3)) == seeds[3]
