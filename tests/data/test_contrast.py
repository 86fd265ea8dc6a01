import jax
import numpy as np

from seqjax.data.contrast import contrast_normalised, stretched, with_contrast_normalised
from seqjax.types import Split

X = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)


def test_every_example_has_mean_nought_and_mean_absolute_value_one():
    found = contrast_normalised(X)
    assert found.dtype == np.float32
    assert found.shape == X.shape
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(np.abs(found).mean(axis=(1, 2)), 1, rtol=1e-6)
    # by hand: mean 2, mean absolute deviation 1
    np.testing.assert_allclose(contrast_normalised(np.array([[1.0, 1.0, 3.0, 3.0]])), [[-1, -1, 1, 1]])


def test_brightness_and_contrast_make_no_difference():
    np.testing.assert_allclose(contrast_normalised(0.3 * X + 20.0), contrast_normalised(X), atol=1e-5)


def test_a_constant_example_becomes_noughts():
    assert (contrast_normalised(np.full((1, 6), 0.1)) == 0).all()


def test_traced_examples_come_out_as_on_the_host():
    np.testing.assert_allclose(jax.jit(contrast_normalised)(X), contrast_normalised(X), atol=1e-6)
    assert (jax.jit(contrast_normalised)(np.full((1, 6), 0.1, np.float32)) == 0).all()


def test_other_fields_of_a_split_stay():
    split = with_contrast_normalised(Split({"x": X, "label": np.arange(5)}))
    np.testing.assert_array_equal(split.fields["label"], np.arange(5))
    np.testing.assert_array_equal(split.fields["x"], contrast_normalised(X))


def test_stretched_to_be_looked_at():
    np.testing.assert_allclose(stretched(np.array([[-2.0, 0.0, 2.0], [5.0, 5.0, 5.0]])), [[0, 0.5, 1], [0, 0, 0]])
