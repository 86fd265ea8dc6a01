"""Encoders against scikit-learn, tasks against scikit-learn and by hand, and the matrix of both."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from seqjax.errors import UsageError
from seqjax.evaluate.cluster_scores import clustering_scores
from seqjax.evaluate.clustering import k_means
from seqjax.evaluate.embedding_tasks import clustering, explained_variance, linear_probe, nearest_neighbours, one_class
from seqjax.evaluate.embeddings import embedded, embedding_matrix, learned, principal_components, random_projection
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Dataset, Split

RNG = np.random.default_rng(0)
CENTRES = 4 * RNG.normal(size=(3, 2, 4))


def split(count, *, labels=True):
    label = RNG.permutation(np.arange(count) % 3).astype(np.int32)
    x = (CENTRES[label] + RNG.normal(size=(count, 2, 4))).astype(np.float32)
    return Split({"x": x} | ({"label": label} if labels else {}))


DATA = Dataset("blobs", split(60), split(20), split(45), "0")
NO_LABELS = DATA._replace(
    **{name: Split({"x": getattr(DATA, name).fields["x"]}) for name in ("train", "validation", "test")}
)


def test_principal_components_are_scikit_learns():
    train, test = values_of(DATA.train), values_of(DATA.test)
    expected = PCA(3, svd_solver="full").fit(train).transform(test)
    found = principal_components(DATA.train, 3)(DATA.test)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-9)


def test_components_of_an_empty_split_are_no_rows():
    empty = Split({name: field[:0] for name, field in DATA.train.fields.items()})
    assert principal_components(DATA.train, 3)(empty).shape == (0, 3)


def test_random_projection_keeps_squared_lengths_on_average():
    rows = values_of(DATA.test)
    found = [random_projection(DATA.train, 4, seed=seed)(DATA.test) for seed in range(300)]
    kept = np.mean([np.square(one).sum() for one in found]) / np.square(rows).sum()
    assert found[0].shape == (45, 4)
    assert kept == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(found[0], random_projection(DATA.test, 4, seed=0)(DATA.test))


def test_learned_runs_in_chunks_and_on_nothing():
    encoder = learned(lambda batch: 2 * batch["x"].reshape(len(batch["x"]), -1), chunk=7)
    np.testing.assert_allclose(encoder(DATA.test), 2 * values_of(DATA.test))
    empty = Split({name: field[:0] for name, field in DATA.test.fields.items()})
    assert encoder(empty).shape == (0, 8)


def test_matrix_has_every_measure_of_every_encoder_and_encodes_once():
    calls = []

    def counted(split):
        calls.append(split)
        return values_of(split)

    encoders = {"raw": counted, "pca": principal_components(DATA.train, 2)}
    found = embedding_matrix(encoders, (clustering(3), nearest_neighbours()), DATA)
    assert len(calls) == 3
    measures = ("accuracy", "nmi", "ari", "silhouette", "clusters_used", "largest_share", "neighbour_accuracy")
    assert set(found) == {f"{encoder}/{measure}" for encoder in encoders for measure in measures}
    # blobs this far apart are found by everything
    assert found["raw/accuracy"] == found["pca/nmi"] == found["raw/neighbour_accuracy"] == 1


@pytest.mark.parametrize("method", ["k_means", "gaussian_mixture", "dbscan"])
def test_clustering_counts_the_classes_itself(method):
    rows = embedded(values_of, DATA)
    found = clustering(method=method, seed=2, prefix="own_")(rows)
    assert found["own_clusters_used"] == 3
    if method == "k_means":
        assigned = k_means(rows.test, 3, seed=2).assign(rows.test)
        assert found["own_nmi"] == clustering_scores(assigned, DATA.test.fields["label"])["nmi"]


def test_without_labels_the_silhouette_is_left():
    rows = embedded(values_of, NO_LABELS)
    assert set(clustering(3)(rows)) == {"silhouette", "clusters_used", "largest_share"}
    assert linear_probe()(rows) == nearest_neighbours()(rows) == one_class()(rows) == {}
    with pytest.raises(UsageError, match="num_clusters"):
        clustering()(rows)


def test_neighbours_are_scikit_learns():
    noisy = embedded(lambda s: values_of(s)[:, :1], DATA)
    reference = KNeighborsClassifier(1).fit(noisy.train, DATA.train.fields["label"])
    expected = reference.score(noisy.test, DATA.test.fields["label"])
    assert nearest_neighbours(k=1)(noisy)["neighbour_accuracy"] == pytest.approx(expected)
    # by hand: neighbours of classes 1, 0, 0 vote 0; 2, 1, 0 are a tie, which the nearest wins
    train = Split(
        {"x": np.asarray([[0.1], [0.2], [0.3], [9.9], [9.8], [9.7]]), "label": np.asarray([1, 0, 0, 2, 1, 0])}
    )
    test = Split({"x": np.asarray([[0.0], [10.0]]), "label": np.asarray([0, 2])})
    rows = embedded(values_of, Dataset("hand", train, test, test, "0"))
    assert nearest_neighbours(k=3)(rows)["neighbour_accuracy"] == 1
    assert nearest_neighbours(k=1)(rows)["neighbour_accuracy"] == 0.5


def test_probe_tells_linear_from_chance():
    rows = embedded(values_of, DATA)
    assert linear_probe()(rows)["probe_accuracy"] == 1
    nothing = embedded(lambda s: np.zeros((s.num_examples, 2)), DATA)
    assert linear_probe()(nothing)["probe_accuracy"] == pytest.approx(1 / 3, abs=0.01)


def test_probe_of_one_class_and_of_classes_never_trained_on():
    one = DATA._replace(train=Split({n: f[DATA.train.fields["label"] == 2] for n, f in DATA.train.fields.items()}))
    assert linear_probe()(embedded(values_of, one))["probe_accuracy"] == pytest.approx(1 / 3, abs=0.01)
    two = DATA._replace(train=Split({n: f[DATA.train.fields["label"] != 0] for n, f in DATA.train.fields.items()}))
    assert linear_probe()(embedded(values_of, two))["probe_accuracy"] == pytest.approx(2 / 3, abs=0.01)


def test_one_class_is_the_mean_over_classes():
    rows = embedded(lambda s: values_of(s)[:, :2] + 3 * np.sin(values_of(s)[:, 2:4]), DATA)
    train, test = DATA.train.fields["label"], DATA.test.fields["label"]
    expected = []
    for number in range(3):
        own = rows.train[train == number]
        distances = np.sqrt(np.square(rows.test[:, None] - own[None]).sum(axis=2)).min(axis=1)
        expected.append(roc_auc_score(test != number, distances))
    assert one_class()(rows)["one_class_auroc"] == pytest.approx(np.mean(expected), abs=1e-3)


def test_explained_variance_is_that_of_least_squares():
    rows = embedded(lambda s: np.tanh(values_of(s)), DATA)
    found = explained_variance([2, 5])(rows)
    train, test = values_of(DATA.train), values_of(DATA.test)
    for size in (2, 5):
        axes = PCA(size, svd_solver="full").fit(rows.train)
        read = LinearRegression().fit(axes.transform(rows.train), train).predict(axes.transform(rows.test))
        expected = 1 - np.square(test - read).sum() / np.square(test - train.mean(axis=0)).sum()
        assert found[f"explained_{size}"] == pytest.approx(expected, rel=1e-9)
    # all eight components explain everything
    assert explained_variance([8])(embedded(values_of, DATA))["explained_8"] == pytest.approx(1)


def test_bad_options_are_told():
    with pytest.raises(UsageError, match="method=ward"):
        clustering(3, method="ward")
    with pytest.raises(UsageError, match="size=0"):
        principal_components(DATA.train, 0)
    with pytest.raises(UsageError, match="sizes"):
        explained_variance([])


def test_learned_takes_jax_arrays():
    encoder = learned(lambda batch: jnp.mean(batch["x"], axis=1))
    assert encoder(DATA.train).dtype == np.float64
