import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import noise

KEY = jax.random.key(3)
X = jnp.ones((8, 50))
INDEX = jnp.asarray([5, 9, 2, 7, 1, 0, 100, 3])


@pytest.mark.parametrize(
    "draw", [lambda x, i: noise.gaussian(x, KEY, i, stddev=0.5), lambda x, i: noise.masking(x, KEY, i, rate=0.3)]
)
def test_noise_follows_the_example_wherever_it_stands(draw):
    together = draw(X, INDEX)
    order = np.asarray([3, 1, 7, 0, 2, 6, 5, 4])
    np.testing.assert_array_equal(draw(X[order], INDEX[order]), together[order])
    shards = [draw(X[:4], INDEX[:4]), draw(X[4:], INDEX[4:])]
    np.testing.assert_array_equal(np.concatenate(shards), together)
    assert len({row.tobytes() for row in np.asarray(together)}) == 8


def test_moments():
    many, index = jnp.ones((400, 100)), jnp.arange(400)
    noisy = noise.gaussian(many, KEY, index, stddev=0.5) - 1
    assert float(noisy.mean()) == pytest.approx(0, abs=0.01)
    assert float(noisy.std()) == pytest.approx(0.5, abs=0.01)
    masked = noise.masking(many, KEY, index, rate=0.3)
    assert set(np.unique(masked)) == {0.0, 1.0}
    assert float(masked.mean()) == pytest.approx(0.7, abs=0.01)
