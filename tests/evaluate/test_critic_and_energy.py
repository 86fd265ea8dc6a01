"""How well a critic separates, and the energy distance, against definitions by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import DataError
from seqjax.evaluate.critic import separation
from seqjax.evaluate.energy_distance import energy_distance

RNG = np.random.default_rng(0)


def test_separation_counts_pairs():
    real, fake = RNG.integers(0, 6, 30).astype(np.float32), RNG.integers(-2, 4, 17).astype(np.float32)
    pairs = np.sign(real[:, None] - fake[None, :])
    assert separation(real, fake) == pytest.approx(((pairs + 1) / 2).mean())
    assert separation(real, real) == pytest.approx(0.5)
    assert separation(real + 100, fake) == 1
    # the order of the logits counts alone
    assert separation(1e4 * real - 7, 1e4 * fake - 7) == pytest.approx(separation(real, fake))
    with pytest.raises(DataError, match="1 of 47 logits are not finite"):
        separation(np.r_[real[1:], np.nan].astype(np.float32), fake)


def distances(one, other):
    return np.linalg.norm(one[:, None] - other[None], axis=2)


def test_energy_distance_by_brute_force():
    one, other = RNG.normal(size=(12, 3)) + 50, RNG.normal(size=(9, 3)) + 50.5
    expected = 2 * distances(one, other).mean()
    for rows in (one, other):
        expected -= distances(rows, rows)[~np.eye(len(rows), dtype=bool)].mean()
    found = jax.jit(energy_distance)(jnp.asarray(one, jnp.float32), jnp.asarray(other, jnp.float32))
    assert float(found) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(DataError, match="1 and 9 rows"):
        energy_distance(jnp.ones((1, 3)), jnp.ones((9, 3)))


def test_energy_distance_of_one_distribution_is_zero_on_average_and_of_constant_rows_finite():
    draws = jnp.asarray(RNG.normal(size=(200, 2, 20, 2)), jnp.float32)
    found = np.asarray(jax.vmap(lambda pair: energy_distance(pair[0], pair[1]))(draws))
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
    assert float(energy_distance(jnp.ones((4, 2)), jnp.ones((3, 2)))) == 0
