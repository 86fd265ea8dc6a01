"""Estimators of rows: scikit-learn's own checks, the numbers of the functions they adapt, pipelines and searches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from seqjax import losses, train
from seqjax.errors import DataError, NonFiniteError, UsageError
from seqjax.evaluate.clustering import k_means
from seqjax.interop.estimators import (
    AutoencoderTransformer,
    DeepClustering,
    DeepOutlierDetector,
    NetworkClassifier,
    VAETransformer,
)
from seqjax.interop.estimators.training import drawn_key, shuffled_rows
from seqjax.models.autoencoder import Autoencoder, starting_at
from seqjax.models.latent_space import posterior_draws
from seqjax.models.mlp import MLP
from seqjax.models.vae import VAE, initial

pytestmark = pytest.mark.usefixtures("quick_compilation")

# one set of sizes for nearly all tests, so that they share compiled programs
SHORT = {"hidden": (), "steps": 40, "batch_size": 32, "learning_rate": 1e-2, "random_state": 0}
AUTOENCODER = AutoencoderTransformer(code_size=2, **SHORT)
ESTIMATORS = {
    "autoencoder": AUTOENCODER,
    "vae": VAETransformer(latent_size=2, num_draws=4, **SHORT),
    "clustering": DeepClustering(AUTOENCODER, n_clusters=3, random_state=0),
    "outliers": DeepOutlierDetector(AUTOENCODER),
    "classifier": NetworkClassifier(**(SHORT | {"learning_rate": 0.1})),
}


@functools.cache
def blobs():
    """90 rows of 5 values around 3 centres, of about unit scale."""
    x, y = make_blobs(90, 5, centers=3, cluster_std=0.6, random_state=1)
    return StandardScaler().fit_transform(x).astype(np.float32), y


@functools.cache
def fitted(name):
    return clone(ESTIMATORS[name]).fit(*blobs())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_scikit_learns_checks(name):
    check_estimator(clone(ESTIMATORS[name]), on_skip=None)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_searched_in_a_pipeline(name):
    x, y = blobs()
    owner = {"clustering": "encoder__", "outliers": "scorer__"}.get(name, "")
    step = clone(ESTIMATORS[name])
    grid = {f"{type(step).__name__.lower()}__{owner}learning_rate": [1e-6, 3e-2]}
    scoring = {"clustering": "adjusted_rand_score", "outliers": "roc_auc"}.get(name)
    y = np.where(y == 0, -1, 1) if name == "outliers" else y
    search = GridSearchCV(make_pipeline(StandardScaler(), step), grid, scoring=scoring, cv=2).fit(x, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    if scoring is None:
        assert list(search.best_params_.values()) == [3e-2]
    assert len(search.best_estimator_[:-1].transform(x)) == 90


def trained_by_functions(loss, init, fields, learning_rate=1e-2):
    """The same training in the terms of `seqjax.train`, step by step."""
    random = np.random.RandomState(0)
    key = drawn_key(random)
    rows = shuffled_rows(random, 90, steps=40, batch_size=32)
    learner = train.minimise(
        loss, init, train.optimizer("adam", train.schedule("cosine", learning_rate, steps=len(rows)))
    )
    state, step = jax.jit(learner.init)(key), jax.jit(learner.step)
    for row in rows:
        state, _ = step(state, {name: field[row] for name, field in fields.items()} | {"index": row})
    return state.params


def assert_near(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(jax.tree.map(np.asarray, expected))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_rows_come_once_an_epoch():
    rows = shuffled_rows(np.random.RandomState(3), 10, steps=7, batch_size=4).ravel()
    assert len(rows) == 28
    for epoch in (rows[:10], rows[10:20]):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len(set(rows[20:])) == 8
    assert not np.array_equal(rows[:10], rows[10:20])


def test_the_autoencoder_is_the_one_of_the_functions():
    x, model, estimator = jnp.asarray(blobs()[0]), Autoencoder((5, 2), "elu"), fitted("autoencoder")

    def loss(params, batch, key, state):
        return losses.squared_error(model.apply(params, batch["x"])[0], batch["x"]), train.Aux({})

    assert_near(
        estimator.params_, trained_by_functions(loss, lambda k: starting_at(model.init(k, x[:1]), x.mean(0)), {"x": x})
    )
    params = jax.tree.map(jnp.asarray, estimator.params_)
    codes = model.apply(params, x, method="encode")
    np.testing.assert_allclose(estimator.transform(x), codes, atol=1e-5)
    told = model.apply(params, codes, method="decode")
    np.testing.assert_allclose(estimator.inverse_transform(codes), told, atol=1e-5)
    np.testing.assert_allclose(estimator.score_samples(x), -np.square(told - x).sum(axis=1), rtol=1e-4)
    assert list(estimator.get_feature_names_out()) == ["autoencodertransformer0", "autoencodertransformer1"]


def test_the_autoencoder_learns_what_components_know():
    x, _ = blobs()
    pca = PCA(2).fit(x)
    least = np.square(x - pca.inverse_transform(pca.transform(x))).sum(axis=1).mean()
    error = -clone(AUTOENCODER).set_params(steps=2000, learning_rate=0.03).fit(x).score(x)
    assert 0.999 * least < error < 1.02 * least


def test_the_classifier_is_the_one_of_the_functions():
    x, y = map(jnp.asarray, blobs())
    model = MLP((8, 3), "tanh")
    estimator = clone(ESTIMATORS["classifier"]).set_params(hidden=(8,), activation="tanh").fit(*blobs())

    def loss(params, batch, key, state):
        return losses.categorical_cross_entropy(model.apply(params, batch["x"]), batch["label"]), train.Aux({})

    fields = {"x": x, "label": y.astype(jnp.int32)}
    assert_near(estimator.params_, trained_by_functions(loss, lambda k: model.init(k, x[:1]), fields, 0.1))
    logits = np.asarray(model.apply(jax.tree.map(jnp.asarray, estimator.params_), x), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(estimator.predict_proba(x), expected, atol=1e-5)
    assert estimator.score(x, y) == 1
    assert set(clone(estimator).fit(x, np.asarray(["a", "b", "c"])[np.asarray(y)]).predict(x)) == {"a", "b", "c"}


def test_the_variational_autoencoder_is_the_one_of_the_functions():
    x, model = jnp.asarray(blobs()[0]), VAE(5, ((),), (2,), "tanh", "gaussian", "shared")

    def init(key):
        weights = initial(model, key, np.zeros(5))["params"]
        weights["p_0"]["mean"]["bias"] = x.mean(axis=0)
        return {"params": weights}

    def loss(params, batch, key, state):
        draws = posterior_draws(model, params, batch, key, jnp.zeros(1, jnp.int32))
        return draws.kl_of_units.sum(axis=1) - draws.log_likelihood[:, 0], train.Aux({})

    assert_near(fitted("vae").params_, trained_by_functions(loss, init, {"x": x}))


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_variational_autoencoder_begins_at_the_mean_and_draws_from_the_prior(likelihood):
    x = np.random.default_rng(0).uniform(size=(90, 5)).astype(np.float32) ** np.arange(1, 6)
    options = {"likelihood": likelihood, "learning_rate": 1e-6}
    estimator = clone(ESTIMATORS["vae"]).set_params(**options).fit(x)
    found = estimator.inverse_transform(np.zeros((1, 2)))[0]
    np.testing.assert_allclose(found, x.mean(axis=0), rtol=1e-3)
    if likelihood == "gaussian":
        # without hidden layers what is drawn is linear in latents of variance 1 each
        axes = estimator.inverse_transform(np.eye(2)) - found
        drawn = estimator.sample(4000, random_state=1)
        np.testing.assert_allclose(np.cov(drawn.T), axes.T @ axes, atol=0.05 * np.square(axes).sum(axis=0).max())


def test_the_variational_bound_is_that_of_its_formula():
    x, _ = blobs()
    estimator = fitted("vae")
    model = VAE(5, ((),), (2,), "tanh", "gaussian", "shared")
    draws = model.apply(jax.tree.map(jnp.asarray, estimator.params_), jnp.asarray(x), (jnp.zeros((90, 1, 2)),))
    mean, log_stddev = (np.asarray(a, np.float64)[:, 0] for a in draws.posteriors[0])
    stddev = np.exp(log_stddev)
    np.testing.assert_allclose(estimator.transform(x), mean, atol=1e-5)
    # a learned scale stays above a hundredth
    scale = 0.01 + np.exp(estimator.params_["params"]["p_0"]["log_stddev"])
    told = np.stack([estimator.inverse_transform(mean + stddev * epsilon) for epsilon in estimator.epsilon_])
    log_likelihood = norm.logpdf(x, told, scale).sum(axis=2).mean(axis=0)
    kl = 0.5 * (np.square(mean) + np.square(stddev) - 1 - 2 * log_stddev).sum(axis=1)
    np.testing.assert_allclose(estimator.score_samples(x), log_likelihood - kl, rtol=1e-4)
    assert estimator.score(x) > estimator.score(x + 5) + 10
    assert estimator.sample(7, random_state=1).shape == (7, 5)


def test_clusters_are_those_of_k_means_on_the_codes():
    x, y = blobs()
    estimator = fitted("clustering")
    codes = estimator.encoder_.transform(x)
    expected = k_means(codes, 3).assign(codes)
    assert adjusted_rand_score(expected, estimator.labels_) == 1
    assert adjusted_rand_score(y, estimator.labels_) == 1
    np.testing.assert_array_equal(estimator.predict(x), estimator.labels_)
    np.testing.assert_array_equal(clone(estimator).fit_predict(x), estimator.labels_)


def test_more_starts_find_clusters_of_less_spread():
    x, _ = blobs()
    spread = {}
    for n_init in (1, 30):
        found = DeepClustering(StandardScaler(), n_clusters=12, n_init=n_init, random_state=0).fit(x)
        codes = found.encoder_.transform(x)
        spread[n_init] = np.square(codes - found.cluster_centers_[found.labels_]).sum()
    assert spread[30] < 0.999 * spread[1]


@pytest.mark.parametrize("owner", [DeepClustering, DeepOutlierDetector])
def test_the_owners_seed_is_that_of_an_encoder_without_one(owner):
    x, _ = blobs()
    inner = clone(AUTOENCODER).set_params(random_state=None)
    codes = [
        vars(owner(inner, random_state=seed).fit(x))[f"{'encoder' if owner is DeepClustering else 'scorer'}_"]
        for seed in (1, 1, 2)
    ]
    one, again, other = (encoder.transform(x) for encoder in codes)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_outliers_lie_below_the_threshold():
    x, _ = blobs()
    estimator = fitted("outliers")
    assert (estimator.predict(x) == -1).sum() == 9
    np.testing.assert_allclose(estimator.decision_function(x), estimator.score_samples(x) - estimator.offset_)
    np.testing.assert_allclose(estimator.score_samples(x), estimator.scorer_.score_samples(x))
    assert (estimator.predict(10 + 10 * x) == -1).mean() > 0.9


@pytest.mark.parametrize(
    ("estimator", "change", "error", "words"),
    [
        (AUTOENCODER, {"steps": 0}, UsageError, "steps=0: expected at least 1"),
        (AUTOENCODER, {"learning_rate": -1.0}, UsageError, "learning_rate=-1.0"),
        (AUTOENCODER, {"output": "sigmoid"}, UsageError, r"expected \[0, 1\] with output='sigmoid'"),
        (ESTIMATORS["vae"], {"num_draws": 0}, UsageError, "num_draws=0"),
        (ESTIMATORS["vae"], {"likelihood": "bernoulli"}, UsageError, "likelihood='bernoulli'"),
        (ESTIMATORS["clustering"], {"n_clusters": 91}, DataError, "n_samples=90: expected at least n_clusters=91"),
        (ESTIMATORS["outliers"], {"contamination": 0.6}, UsageError, "contamination=0.6"),
        (ESTIMATORS["classifier"], {"batch_size": 0}, UsageError, "batch_size=0"),
    ],
)
def test_impossible_settings_are_refused_in_fit(estimator, change, error, words):
    with pytest.raises(error, match=words):
        clone(estimator).set_params(**change).fit(*blobs())


def test_codes_of_another_size_and_values_that_overflow_are_refused():
    with pytest.raises(DataError, match="found 3 units, expected 2"):
        fitted("autoencoder").inverse_transform(np.zeros((4, 3)))
    with pytest.raises(NonFiniteError, match="not finite in 40 steps in a row"):
        clone(AUTOENCODER).fit(1e30 * blobs()[0])
