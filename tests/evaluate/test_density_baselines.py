import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.decomposition import PCA

from seqjax.data.binarised import binarised
from seqjax.errors import DataError, UsageError
from seqjax.evaluate import density_baselines as densities
from seqjax.types import Dataset, Split

RNG = np.random.default_rng(0)
RATES = np.asarray([[0.9, 0.9, 0.1, 0.1, 0.5, 0.0], [0.1, 0.2, 0.8, 0.9, 0.5, 0.0]])
CLASS = RNG.integers(0, 2, 3000)
BINARY = (RNG.uniform(size=(3000, 6)) < RATES[CLASS]).astype(np.float64)
GAUSSIAN = RNG.normal(size=(200, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(200, 5)) + 1.0


def by_hand(weights, rates, x):
    pairs = zip(weights, rates, strict=True)
    parts = [np.log(w) + np.where(x > 0, np.log(r), np.log1p(-r)).sum(axis=1) for w, r in pairs]
    return np.logaddexp.reduce(np.stack(parts), axis=0)


def test_one_component_is_each_value_on_its_own_and_finite_where_a_value_was_never_seen():
    mixture = densities.fitted_bernoulli_mixture(BINARY, 1)
    rates = (BINARY.sum(axis=0) + 1) / (len(BINARY) + 2)
    unseen = np.ones((1, 6))
    for x in (BINARY[:50], unseen):
        found = mixture.log_likelihood(jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(found, by_hand([1.0], rates[None], x), rtol=1e-5)


def test_two_components_find_the_two_that_made_the_data():
    mixture = densities.fitted_bernoulli_mixture(BINARY, 2)
    test = (RNG.uniform(size=(2000, 6)) < RATES[RNG.integers(0, 2, 2000)]).astype(np.float64)
    found = np.asarray(mixture.log_likelihood(jnp.asarray(test, jnp.float32))).mean()
    true = by_hand([0.5, 0.5], np.clip(RATES, 1e-9, 1), test).mean()
    single = np.asarray(densities.fitted_bernoulli_mixture(BINARY, 1).log_likelihood(jnp.asarray(test, jnp.float32)))
    assert found == pytest.approx(true, abs=0.01)
    assert single.mean() < true - 0.5
    assert float(jnp.exp(mixture.log_weights).sum()) == pytest.approx(1, rel=1e-5)


def test_more_components_than_rows_and_constant_rows_stay_finite():
    for x in (BINARY[:3], np.zeros((4, 6)), np.ones((1, 6))):
        mixture = densities.fitted_bernoulli_mixture(x, 10)
        assert np.isfinite(mixture.log_likelihood(jnp.asarray(BINARY[:20], jnp.float32))).all()
    with pytest.raises(UsageError, match="mixture_components=0"):
        densities.fitted_bernoulli_mixture(BINARY, 0)


def test_gaussians_of_single_values_are_those_of_scipy():
    found = densities.gaussian_log_likelihoods(GAUSSIAN[:150], GAUSSIAN[150:], min_stddev=0.01)
    expected = norm.logpdf(GAUSSIAN[150:], GAUSSIAN[:150].mean(axis=0), GAUSSIAN[:150].std(axis=0)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("code_size", [1, 2, 4])
def test_probabilistic_pca_is_that_of_scikit_learn_up_to_its_divisor(code_size):
    train, test = GAUSSIAN[:150], GAUSSIAN[150:]
    found = densities.probabilistic_pca_log_likelihoods(train, test, code_size, min_stddev=1e-6)
    pca = PCA(code_size, svd_solver="full").fit(train)
    # scikit-learn divides by N - 1 where the maximum of the likelihood has N
    covariance = pca.get_covariance() * 149 / 150
    expected = multivariate_normal.logpdf(test, train.mean(axis=0), covariance)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_probabilistic_pca_of_constant_columns_and_of_constant_data_is_finite():
    flat = np.concatenate([GAUSSIAN, np.zeros((200, 1))], axis=1)
    for train, code_size in ((flat, 6), (flat, 50), (np.ones((10, 3)), 2), (GAUSSIAN[:, :1], 1)):
        found = densities.probabilistic_pca_log_likelihoods(train, train, code_size, min_stddev=0.01)
        assert np.isfinite(found).all()


def dataset(x, test):
    empty = Split({"x": x[:0]})
    return Dataset("own", Split({"x": x}), empty, Split({"x": test}), "0" * 64)


def test_rows_of_the_table():
    rows = np.full((400, 6), 128, np.uint8)
    binary = binarised(dataset(rows, rows[:50]))
    found = densities.bernoulli_baselines(binary, 3)
    assert found["marginal/nll"] == pytest.approx(6 * np.log(2), rel=0.01)
    assert found["mixture/nll"] == pytest.approx(6 * np.log(2), rel=0.05)
    found = densities.gaussian_baselines(dataset(GAUSSIAN, GAUSSIAN[:50]), 2, min_stddev=0.01)
    assert found["ppca/nll"] < found["marginal/nll"] - 1


def test_binary_values_are_drawn_once_with_the_intensities_as_rates():
    x = np.tile(np.asarray([0, 64, 255], np.uint8), (20_000, 1))
    data = binarised(dataset(x, x[:9000]))
    np.testing.assert_array_equal(data.train.fields["x"], x)
    test = data.test.fields["x"]
    assert set(np.unique(test)) == {0, 255}
    np.testing.assert_allclose((test / 255).mean(axis=0), [0, 64 / 255, 1], atol=0.015)
    np.testing.assert_array_equal(test, binarised(dataset(x, x[:9000])).test.fields["x"])
    # a row's draw is its own, however many rows there are beside it
    np.testing.assert_array_equal(test[:100], binarised(dataset(x, x[:100])).test.fields["x"])
    drawn = binarised(dataset(x, x[:100]), train=True).train.fields["x"]
    assert set(np.unique(drawn)) == {0, 255}
    assert not np.array_equal(drawn[:100], test[:100])
    with pytest.raises(DataError, match=r"own: has values from 0 to 1\.5"):
        binarised(dataset(np.asarray([[0.0, 1.5]]), np.asarray([[0.0, 1.0]])))
