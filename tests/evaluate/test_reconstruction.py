import numpy as np
import pytest
from sklearn.metrics import log_loss

from seqjax.evaluate import reconstruction
from seqjax.types import Dataset, Split

RNG = np.random.default_rng(0)


def data_of(x, test):
    return Dataset("made", Split({"x": x}), Split({"x": x}), Split({"x": test}), "")


@pytest.mark.parametrize("shape", [(60, 8), (6, 20)])
def test_pca_equals_an_svd(shape):
    train, test = RNG.normal(size=shape), RNG.normal(size=(9, shape[1]))
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:3]
    expected = (test - mean) @ axes.T @ axes + mean
    np.testing.assert_allclose(reconstruction.pca_reconstruction(train, test, 3), expected, atol=1e-10)


def test_error_curve_equals_one_decomposition_per_size():
    train, test = RNG.normal(size=(60, 8)), RNG.normal(size=(9, 8))
    curve = reconstruction.pca_squared_errors(train, test, [0, 1, 3, 7])
    mean = reconstruction.squared_errors(reconstruction.mean_of(train, test), test).mean()
    each = [
        reconstruction.squared_errors(reconstruction.pca_reconstruction(train, test, k), test).mean() for k in (1, 3, 7)
    ]
    np.testing.assert_allclose(curve, [mean, *each], rtol=1e-10)


def test_cross_entropy_equals_scikit_learns_log_loss():
    targets, probabilities = RNG.integers(0, 2, (4, 6)), RNG.uniform(0.05, 0.95, (4, 6))
    expected = [log_loss(t, p, labels=[0, 1]) for t, p in zip(targets, probabilities, strict=True)]
    np.testing.assert_allclose(reconstruction.cross_entropies(probabilities, targets.astype(float)), expected)
    assert reconstruction.cross_entropies(np.asarray([[0.0, 1.0]]), np.asarray([[0.0, 1.0]])) == 0.0


def test_bytes_are_intensities():
    split = Split({"x": np.asarray([[[0, 255], [51, 0]]], np.uint8)})
    np.testing.assert_allclose(reconstruction.values_of(split), [[0, 1, 0.2, 0]])


def test_measures_and_baselines_of_known_data():
    train = np.asarray([[0.0, 1.0], [1.0, 0.0]] * 10)
    data = data_of(train, np.asarray([[0.5, 0.5], [1.0, 0.0]]))
    found = reconstruction.measures("exact", np.asarray([[0.5, 0.5], [1.0, 0.0]]), data, probabilities=True)
    assert found["exact/squared_error"] == 0.0
    assert found["exact/cross_entropy"] == pytest.approx(np.log(2) / 2, abs=1e-6)
    baselines = reconstruction.baseline_measures(data, 1)
    # the data lie on a line: one component is exact, the mean (0.5, 0.5) is wrong by 1/4 twice in the second row
    assert baselines["pca/squared_error"] == pytest.approx(0.0, abs=1e-12)
    assert baselines["mean/squared_error"] == pytest.approx(0.25)
    assert baselines["mean/cross_entropy"] == pytest.approx(np.log(2))
    assert baselines["pca/cross_entropy"] < baselines["mean/cross_entropy"]


class NeverWhole:
    """Rows of which no more than some may be asked for, as where they are larger than the memory."""

    def __init__(self, array, most):
        self.array, self.most = array, most
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows):
        part = self.array[rows]
        assert len(part) <= self.most
        return part


def test_the_unit_interval_is_looked_for_without_holding_all_rows():
    bytes_ = NeverWhole(np.zeros((9, 2), np.uint8), most=0)
    assert reconstruction.in_unit_interval(data_of(bytes_, bytes_))
    wide = np.zeros((5, 2**21), np.float32)
    assert reconstruction.in_unit_interval(data_of(NeverWhole(wide, most=2), NeverWhole(wide, most=2)))
    wide[4, -1] = 1.5
    assert not reconstruction.in_unit_interval(data_of(NeverWhole(wide, most=2), NeverWhole(wide, most=2)))


def test_the_mean_row_is_that_of_all_rows_at_once_to_the_last_bit(monkeypatch):
    x = RNG.integers(0, 256, (1000, 7)).astype(np.uint8)
    monkeypatch.setattr(reconstruction, "BLOCK", 7 * 30)
    found = reconstruction.mean_row(Split({"x": NeverWhole(x, most=30)}))
    np.testing.assert_array_equal(found, reconstruction.values_of(Split({"x": x})).mean(axis=0))


def test_baselines_of_very_many_rows_are_fitted_on_evenly_spaced_ones(monkeypatch):
    x = RNG.normal(size=(100, 4))
    monkeypatch.setattr(reconstruction, "MOST_FITTED", 4 * 34)
    np.testing.assert_array_equal(reconstruction.fitting_values(Split({"x": NeverWhole(x, most=34)})), x[::3])
    monkeypatch.setattr(reconstruction, "MOST_FITTED", 4 * 100)
    np.testing.assert_array_equal(reconstruction.fitting_values(Split({"x": x})), x)


def test_no_cross_entropy_outside_the_unit_interval():
    data = data_of(RNG.normal(size=(20, 3)), RNG.normal(size=(4, 3)))
    assert not reconstruction.in_unit_interval(data)
    inside = RNG.uniform(size=(20, 3))
    assert reconstruction.in_unit_interval(data_of(inside, inside))
    assert not reconstruction.in_unit_interval(data_of(inside, inside + 0.5))
    assert set(reconstruction.baseline_measures(data, 2)) == {"pca/squared_error", "mean/squared_error"}
    assert set(reconstruction.measures("a", np.zeros((4, 3)), data, probabilities=False)) == {"a/squared_error"}
