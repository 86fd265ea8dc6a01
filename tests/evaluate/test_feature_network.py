"""The network that features come from: what it learns, that it is the same again, and what its features tell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.data.load import load
from seqjax.errors import DataError, UsageError
from seqjax.evaluate.feature_distances import frechet_distance, halves
from seqjax.evaluate.feature_network import accuracy, feature_network
from seqjax.evaluate.judge import fitted
from seqjax.models.image_classifier import patches
from seqjax.types import Split

KEY = jax.random.key(0)


@functools.cache
def digits():
    return load("digits")


@functools.cache
def network():
    return feature_network(digits().train, KEY, steps=300)


def test_it_tells_digits_and_its_features_are_what_the_logits_are_linear_in():
    assert accuracy(network(), digits().test) > 0.95
    x = digits().test.fields["x"]
    features = network().features(x)
    assert features.shape == (len(x), 64)
    weights = network().params["params"]["Dense_3"]
    np.testing.assert_allclose(
        features @ np.asarray(weights["kernel"]) + np.asarray(weights["bias"]), network().logits(x), atol=1e-3
    )


def test_bytes_and_intensities_have_the_same_features():
    x = np.random.default_rng(0).integers(0, 256, (5, 64)).astype(np.uint8)
    np.testing.assert_allclose(network().features(x), network().features(x.astype(np.float32) / 255), atol=1e-4)


def test_the_hash_is_that_of_data_and_key():
    turned = Split({name: np.roll(field, 1, axis=0) for name, field in digits().train.fields.items()})
    again, other_key, other_rows = (
        feature_network(split, jax.random.key(seed), steps=300).sha256
        for split, seed in ((digits().train, 0), (digits().train, 1), (turned, 0))
    )
    assert again == network().sha256
    assert len({again, other_key, other_rows}) == 3


def test_features_tell_images_that_pixels_do_not():
    """Images with their rows upside down keep most pixel moments; noise of the same mean and spread keeps the first."""
    reference, rest = halves(network().features(digits().test.fields["x"]), KEY)
    images = digits().validation.fields["x"][: len(reference)].astype(np.float32)
    spread = images.std(axis=0)
    noise = images.mean(axis=0) + spread * np.random.default_rng(0).normal(size=images.shape)
    floor = frechet_distance(rest, reference)
    made = network().features(np.clip(noise, 0, 255).astype(np.uint8))
    assert frechet_distance(made, reference) > 3 * floor


@pytest.mark.parametrize("side", [7, 8])
def test_patches_and_a_product_are_a_convolution(side):
    images = jax.random.normal(KEY, (2, side, side, 3))
    kernel = jax.random.normal(KEY, (3, 3, 3, 4))
    expected = jax.lax.conv_general_dilated(
        images, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(patches(images) @ kernel.reshape(-1, 4), expected, rtol=1e-4, atol=1e-5)


def test_a_judge_finds_the_least_squares_solution_from_every_key():
    x = jax.random.normal(KEY, (64, 3))
    target = x @ jnp.asarray([1.0, -2, 0.5]) + jax.random.normal(jax.random.key(1), (64,))
    expected = np.linalg.lstsq(np.asarray(x), np.asarray(target))[0]
    keys = jax.random.split(KEY, 3)

    def run(keys):
        return fitted(
            lambda params, batch: jnp.square(batch["x"] @ params - batch["target"]),
            lambda key: jax.random.normal(key, (3,)),
            lambda source, key, step: source,
            {"x": x, "target": target},
            keys,
            steps=300,
            optimizer=optax.sgd(0.1),
        )

    found = jax.jit(run)(keys)
    np.testing.assert_allclose(found, np.tile(expected, (3, 1)), atol=1e-5)


def test_refusals():
    with pytest.raises(DataError, match="no field 'label'"):
        feature_network(Split({"x": np.zeros((4, 64), np.uint8)}), KEY)
    with pytest.raises(DataError, match="labels from 0 to 0"):
        feature_network(Split({"x": np.zeros((4, 64), np.uint8), "label": np.zeros(4, np.int32)}), KEY)
    with pytest.raises(UsageError, match="rows of 63 values"):
        feature_network(Split({"x": np.zeros((4, 63), np.uint8), "label": np.arange(4)}), KEY, steps=1)
