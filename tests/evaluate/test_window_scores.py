"""Scores of steps from windows, one step and one window at a time."""

import jax
import numpy as np
import pytest

from seqjax.evaluate.window_scores import last_of_windows, mean_over_windows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("count", "width"), [(1, 4), (3, 5), (9, 4), (6, 1)])
def test_against_one_step_at_a_time(count, width):
    errors = RNG.uniform(size=(count, width))
    mean, last = mean_over_windows(errors), last_of_windows(errors)
    assert len(mean) == len(last) == count + width - 1
    for t in range(count + width - 1):
        held = {n: errors[n, t - n] for n in range(count) if 0 <= t - n < width}
        assert mean[t] == pytest.approx(np.mean(list(held.values())))
        # where most of the past is known: in the earliest of the windows that hold the step
        assert last[t] == held[min(held)]
    for scores, expected in ((mean_over_windows, mean), (last_of_windows, last)):
        np.testing.assert_allclose(jax.jit(scores)(errors.astype(np.float32)), expected, rtol=1e-6)
