"""Series as scikit-learn's pipelines have them: codes of the functions, NaN for what is not there, and searches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from seqjax.errors import DataError, UsageError
from seqjax.interop.estimators import DeepClustering, DeepOutlierDetector, SequenceTransformer
from seqjax.interop.estimators.sequences import series_of
from seqjax.models.sequence_encoders import recurrent_autoencoder
from seqjax.recurrent import gru

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENCODER = SequenceTransformer(
    hidden_size=8, latent_size=3, frame=2, steps=60, batch_size=16, learning_rate=2e-2, random_state=0
)


@functools.cache
def waves():
    """60 series of 10 steps and 2 channels, slow or fast, each with a phase of its own, far from unit scale."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    phase = 0.5 * rng.normal(size=(60, 1))
    angle = np.arange(10)[None, :] * np.where(y, 1.5, 0.4)[:, None] + phase
    x = np.stack([np.sin(angle), 30 * np.cos(angle) + 100], axis=2)
    return x + 0.1 * np.asarray([1, 30]) * rng.normal(size=x.shape), y


@functools.cache
def fitted():
    return clone(ENCODER).fit(waves()[0])


def test_codes_and_scores_are_those_of_the_encoder():
    x, _ = waves()
    estimator, encoder = fitted(), recurrent_autoencoder(gru, 8, 3, pooling="mean")
    params = jax.tree.map(jnp.asarray, estimator.params_)
    standard = ((x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))).astype(np.float32)
    batch = {"x": jnp.asarray(standard.reshape(60, 5, 4)), "length": jnp.full(60, 5), "index": jnp.arange(60)}
    np.testing.assert_allclose(estimator.transform(x), encoder.encode(params, batch), atol=1e-4)
    errors = np.square(encoder.reconstruct(params, batch) - batch["x"]).sum(axis=(1, 2))
    np.testing.assert_allclose(-estimator.score_samples(x), errors, rtol=1e-3)
    assert errors.mean() < 0.6 * 20  # of the mean
    np.testing.assert_array_equal(clone(ENCODER).fit(x).transform(x), estimator.transform(x))


def test_what_is_nan_does_not_matter():
    x, _ = waves()
    short = x.copy()
    short[:, 7:] = np.nan
    short[:, 3, 1] = np.nan
    series = series_of(short).fields
    assert set(series["length"]) == {7}
    assert series["mask"].sum(axis=(1, 2)).tolist() == [13] * 60
    codes = fitted().transform(short)
    assert np.isfinite(codes).all()
    # a series does not know those beside it, nor how they are cut
    mixed = np.concatenate([x[:3], short[3:5]])
    np.testing.assert_allclose(fitted().transform(mixed)[3:], codes[3:5], atol=1e-6)
    assert np.isfinite(clone(ENCODER).fit(short).score(short))


def test_clusters_and_outliers_of_series():
    x, y = waves()
    clusters = DeepClustering(ENCODER, n_clusters=2, random_state=0)
    found = clusters.fit_predict(x)
    assert adjusted_rand_score(found, y) > 0.9
    np.testing.assert_array_equal(clusters.predict(x), found)
    detector = DeepOutlierDetector(ENCODER).fit(x)
    assert (detector.predict(x) == -1).sum() == 6
    assert (detector.predict(np.random.default_rng(1).permuted(x, axis=1)) == -1).mean() > 0.8


@pytest.mark.parametrize("last", [LogisticRegression(), DeepClustering(ENCODER, n_clusters=2, random_state=0), None])
def test_searched_in_a_pipeline(last):
    x, y = waves()
    if isinstance(last, LogisticRegression):
        pipeline, name, scoring = make_pipeline(clone(ENCODER), last), "sequencetransformer", None
    elif last is None:
        pipeline, name, scoring = make_pipeline(clone(ENCODER)), "sequencetransformer", None
    else:
        pipeline, name, scoring = make_pipeline(clone(last)), "deepclustering__encoder", "adjusted_rand_score"
    search = GridSearchCV(pipeline, {f"{name}__learning_rate": [1e-6, 2e-2]}, scoring=scoring, cv=2).fit(x, y)
    worse, better = search.cv_results_["mean_test_score"]
    assert better > (worse if last is None else 0.6)


@pytest.mark.parametrize("learner", ["autoencoder", "vae", "sequence_vae", "next_step"])
def test_every_learner_learns_series_of_one_channel(learner):
    x = waves()[0][:, :, 0]
    few, many = (clone(ENCODER).set_params(learner=learner, learning_rate=rate).fit(x) for rate in (1e-6, 2e-2))
    assert many.score(x) > few.score(x) + 1
    codes = many.transform(x)
    assert codes.shape == (60, len(many.get_feature_names_out()))
    np.testing.assert_allclose(many.score_samples(x[:2]), many.score_samples(x)[:2], rtol=1e-4)


@pytest.mark.parametrize(
    ("x", "changes", "error", "words"),
    [
        (np.zeros((4, 3, 2, 1)), {}, DataError, r"shape \[4, 3, 2, 1\]: expected series"),
        (np.asarray([[1.0, 2], [np.nan, np.nan]]), {}, DataError, "series 1 .* has no observed value"),
        (np.asarray([[1.0, np.inf]]), {}, ValueError, "infinity"),
        (np.ones((4, 2)), {"learner": "next_step"}, DataError, "series of one step"),
        (np.ones((4, 6)), {"learner": "pca"}, UsageError, "learner=pca: expected recurrent_autoencoder or"),
        (np.ones((4, 6)), {"hidden_size": 0}, UsageError, "hidden_size=0"),
        (np.ones((4, 6)), {"frame": 0}, UsageError, "frame=0"),
    ],
)
def test_what_are_no_series_is_refused(x, changes, error, words):
    with pytest.raises(error, match=words):
        clone(ENCODER).set_params(**changes).fit(x)


def test_series_of_other_lengths_or_channels_than_those_of_fit_are_refused():
    with pytest.raises(DataError, match="found series of 9 steps and 2 channels, expected 10 and 2"):
        fitted().transform(waves()[0][:, :9])
