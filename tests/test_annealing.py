import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import annealing
from seqjax.errors import UsageError


def over(schedule, steps):
    return np.asarray(jax.vmap(schedule)(jnp.arange(steps)))


def test_linear_annealing_by_hand():
    np.testing.assert_allclose(over(lambda s: annealing.linear(s, rising_steps=4), 7), [0, 0.25, 0.5, 0.75, 1, 1, 1])
    np.testing.assert_array_equal(over(lambda s: annealing.linear(s, rising_steps=0), 3), 1)


def test_cyclical_annealing_by_hand():
    # two cycles of eight steps, each rising over half of it
    expected = [0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2 + [1, 1, 1]
    np.testing.assert_allclose(over(lambda s: annealing.cyclical(s, steps=16, cycles=2, rising=0.5), 19), expected)
    whole = over(lambda s: annealing.cyclical(s, steps=1000, cycles=4, rising=1.0), 1000)
    np.testing.assert_allclose(whole, np.arange(1000) % 250 / 250, atol=1e-6)


def test_rises_that_cannot_be():
    with pytest.raises(UsageError, match="rising_steps"):
        annealing.linear(0, rising_steps=-1)
    with pytest.raises(UsageError, match="cycles"):
        annealing.cyclical(0, steps=3, cycles=4)
    with pytest.raises(UsageError, match="rising"):
        annealing.cyclical(0, steps=3, cycles=1, rising=0.0)
