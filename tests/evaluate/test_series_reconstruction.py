"""Series told again: loops and scikit-learn's PCA as the reference, and padding that counts for nothing."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from seqjax.data.scaling import observed
from seqjax.errors import DataError
from seqjax.evaluate.series_reconstruction import (
    error_a_value,
    last_values,
    mean_series,
    pca_errors,
    pca_series,
    prediction_baselines,
    told_baselines,
    values_before,
)
from seqjax.types import Split

RNG = np.random.default_rng(0)


def ragged(count, spoilt=0.0):
    """Series `[count 6 2]` of 1 to 6 steps, some values missing, with `spoilt` wherever a value does not count."""
    length = np.arange(count) % 6 + 1
    fields = {"x": RNG.normal(size=(count, 6, 2)), "length": length, "mask": RNG.uniform(size=(count, 6, 2)) < 0.8}
    fields["mask"][0] = True
    fields["x"] = np.where(observed(Split(fields)), fields["x"], spoilt)
    return Split(fields)


TRAIN, TEST = ragged(30), ragged(12)


def values(split):
    """(series, step, channel, value) of every value that counts, by a loop."""
    x, length, mask = (split.fields[name] for name in ("x", "length", "mask"))
    return [(n, t, d, x[n, t, d]) for n in range(len(x)) for t in range(length[n]) for d in range(2) if mask[n, t, d]]


def test_the_error_is_the_mean_over_values_that_count():
    told = RNG.normal(size=TEST.fields["x"].shape)
    expected = np.mean([(told[n, t, d] - value) ** 2 for n, t, d, value in values(TEST)])
    spoilt = np.where(observed(TEST), TEST.fields["x"], np.nan)
    assert error_a_value(told, spoilt, observed(TEST)) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(DataError, match="no value counts"):
        error_a_value(told, told, np.zeros(told.shape, bool))


def test_the_mean_is_of_those_that_have_the_step_and_no_other_constant_is_better():
    found = mean_series(TRAIN, TRAIN)
    for t in range(6):
        for d in range(2):
            own = [value for _, step, channel, value in values(TRAIN) if (step, channel) == (t, d)]
            assert found[0, t, d] == pytest.approx(np.mean(own), rel=1e-12)
    assert mean_series(TRAIN, TEST).shape == (12, 6, 2)
    error = error_a_value(found, TRAIN.fields["x"], observed(TRAIN))
    assert error < error_a_value(found + 0.01, TRAIN.fields["x"], observed(TRAIN))
    never = Split(TRAIN.fields | {"mask": np.zeros((30, 6, 2), bool)})
    np.testing.assert_array_equal(mean_series(never, TEST), 0)


def test_components_are_scikit_learns_of_the_padded_rows():
    pca = PCA(3, svd_solver="full").fit(TRAIN.fields["x"].reshape(30, 12))
    rows = TEST.fields["x"].reshape(12, 12)
    expected = pca.inverse_transform(pca.transform(rows)).reshape(12, 6, 2)
    np.testing.assert_allclose(pca_series(TRAIN, TEST, 3), expected, atol=1e-10)
    one, all_of_them = pca_errors(TRAIN, TEST, (3, 12))
    assert one == pytest.approx(error_a_value(expected, TEST.fields["x"], observed(TEST)))
    assert all_of_them < 1e-20


def test_the_last_value_of_a_channel_is_the_last_that_was_seen():
    seen = np.maximum(TEST.fields["length"] - 2, 0)
    found = last_values(TEST, seen)
    for n in range(12):
        for d in range(2):
            own = [value for row, t, channel, value in values(TEST) if (row, channel) == (n, d) and t < seen[n]]
            assert found[n, d] == (own[-1] if own else 0)


@pytest.mark.parametrize("frame", [1, 2, 4])
def test_the_value_before_is_the_last_that_counts_before_the_frame(frame):
    spoilt = Split(TEST.fields | {"x": np.where(observed(TEST), TEST.fields["x"], np.nan)})
    found, every = values_before(spoilt, frame), values(TEST)
    for n, t, d in np.ndindex(12, 6, 2):
        own = [value for row, step, channel, value in every if (row, channel) == (n, d) and step < t // frame * frame]
        assert found[n, t, d] == (own[-1] if own else 0)


@pytest.mark.parametrize(("frame", "last"), [(1, False), (2, False), (1, True), (4, True)])
def test_baselines_are_asked_about_the_values_that_have_a_step_before(frame, last):
    found, before = prediction_baselines(TEST, frame, last=last), values_before(TEST, frame)
    ends = (TEST.fields["length"] - 1) // frame
    asked = [v for v in values(TEST) if v[1] >= frame and (v[1] // frame == ends[v[0]] or not last)]
    assert len(asked) < len(values(TEST))
    assert found["mean"] == pytest.approx(np.mean([value**2 for *_, value in asked]))
    assert found["last_value"] == pytest.approx(np.mean([(before[n, t, d] - value) ** 2 for n, t, d, value in asked]))


def test_told_baselines_are_those_of_the_components_and_the_mean():
    found, counts = told_baselines(TRAIN, TEST, 3), observed(TEST)
    assert found["pca"] == pytest.approx(pca_errors(TRAIN, TEST, (3,))[0])
    assert found["mean"] == pytest.approx(error_a_value(mean_series(TRAIN, TEST), TEST.fields["x"], counts))
