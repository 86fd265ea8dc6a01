"""Windows of one long series as examples: every one once, scaled by those that train."""

import numpy as np
import pytest

from seqjax.data.long_series import in_time_order
from seqjax.data.series_windows import window_examples
from seqjax.errors import DataError, UsageError

# features from which the step and the feature can be told; the last stands still
X = np.stack([100 + np.arange(40.0), -2 * np.arange(40.0), np.full(40, 7.0)], axis=1).astype(np.float32)


def examples(x=X, width=6):
    return window_examples(in_time_order("own", {"x": x}, "abc"), width)


def test_every_window_is_in_one_split_and_is_a_slice_of_the_series():
    data, scale = examples()
    assert (data.name, data.sha256) == ("own", "abc")
    parts = [split.fields["x"] for split in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [25, 5, 5]
    starts = []
    for window in np.concatenate(parts) * (scale.high - scale.low) + scale.low:
        start = round(float(window[0, 0])) - 100
        np.testing.assert_allclose(window, X[start : start + 6], atol=1e-4)
        starts.append(start)
    assert sorted(starts) == list(range(35))
    assert starts != sorted(starts)


def test_the_range_is_that_of_the_training_windows():
    spike = X.copy()
    data, scale = examples()
    outside = [round(float(w[0, 0] * (scale.high - scale.low)[0] + scale.low[0])) - 100 for w in data.test.fields["x"]]
    start = outside[0]
    train = data.train.fields["x"]
    assert (train.dtype, train.min(), train.max()) == (np.float32, 0, 1)
    np.testing.assert_array_equal(train[..., 2], 0)
    assert (scale.low[2], scale.high[2]) == (7, 8)
    # a value that test windows alone hold would not move it; one within training windows does
    spike[start + 3, 0] = 1000
    moved, wide = examples(spike)
    assert wide.high[0] == 1000
    assert moved.train.fields["x"].max() == 1


def test_too_short_series_are_refused():
    with pytest.raises(DataError, match="own: 40 time steps make 9 windows of 32, expected at least 10"):
        examples(width=32)
    with pytest.raises(DataError, match="make 0 windows of 50"):
        examples(width=50)
    with pytest.raises(UsageError, match="width=0"):
        examples(width=0)
