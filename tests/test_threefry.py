import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.threefry import threefry_2x32, written_out

FUNCTIONS = {
    "8 bits": lambda key: jax.random.bits(key, (3, 5), jnp.uint8),
    "16 bits": lambda key: jax.random.bits(key, (3, 5), jnp.uint16),
    "32 bits": lambda key: jax.random.bits(key, (3, 5)),
    "one value": lambda key: jax.random.bits(key),
    "no value": lambda key: jax.random.bits(key, (0, 2)),
    "normal": lambda key: jax.random.normal(key, (2, 3, 5)),
    "integers": lambda key: jax.random.randint(key, (20,), -3, 11),
    "permutation": lambda key: jax.random.permutation(key, 50),
    "classes": lambda key: jax.random.categorical(key, jnp.zeros(7), shape=(9,)),
    "gamma": lambda key: jax.random.gamma(key, 0.7, (5,)),
    "split": lambda key: jax.random.key_data(jax.random.split(key, (2, 3))),
    "folded in": lambda key: jax.random.key_data(jax.random.fold_in(key, 2**32 - 1)),
    "of many keys": lambda key: jax.vmap(jax.random.uniform)(jax.random.split(key, 4)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_draws_the_bits_of_the_library(name):
    draw = FUNCTIONS[name]
    for seed in (0, 3, 2**31):
        key = jax.random.key(seed)
        np.testing.assert_array_equal(draw(written_out(key)), draw(key))


def test_64_bits_are_those_of_the_library():
    with jax.enable_x64(True):
        key = jax.random.key(5)
        bits = jax.random.bits(written_out(key), (4,), jnp.uint64)
        assert bits.dtype == jnp.uint64
        np.testing.assert_array_equal(bits, jax.random.bits(key, (4,), jnp.uint64))


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers_of_the_authors(key, counter, expected):
    high, low = threefry_2x32(jnp.array(key, jnp.uint32), *(jnp.uint32(word) for word in counter))
    assert (int(high), int(low)) == expected


def test_other_generators_are_left_alone():
    key = jax.random.key(0, impl="rbg")
    assert written_out(key) is key
    once = written_out(jax.random.key(0))
    assert written_out(once) is once


def test_the_older_threefry_is_left_alone():
    key = jax.random.key(0)
    with jax.threefry_partitionable(False):
        assert written_out(key) is key
