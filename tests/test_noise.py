import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import noise

KEY = jax.random.key(3)
X = jnp.ones((8, 50))
INDEX = jnp.asarray([5, 9, 2, 7, 1, 0, 100, 3])


@pytest.mark.parametrize(
    "draw",
    [
        lambda x, i: noise.gaussian(x, KEY, i, stddev=0.5),
        lambda x, i: noise.masking(x, KEY, i, rate=0.3),
        lambda x, i: noise.bernoulli(0.3 * x, KEY, i),
    ],
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


def test_binary_values_have_their_intensities_as_rates_and_the_sure_ones_stay():
    rates = jnp.asarray([0.0, 1 / 255, 0.25, 0.5, 254 / 255, 1.0])
    drawn = noise.bernoulli(jnp.broadcast_to(rates[None], (40_000, 6)), KEY, jnp.arange(40_000))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn[:, [0, 5]], jnp.broadcast_to(jnp.asarray([[0.0, 1.0]]), (40_000, 2)))
    # four standard deviations of each mean
    assert (np.abs(drawn.mean(axis=0) - rates) <= 4 * np.sqrt(rates * (1 - rates) / 40_000)).all()
