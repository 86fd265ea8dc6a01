import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models.autoencoder import Autoencoder
from seqjax.models.mlp import MLP, activation_function

X = jax.random.normal(jax.random.key(0), (5, 6))


def numpy_layers(params, x, names, activation):
    for position, (kernel, bias) in enumerate(names, start=1):
        x = x @ np.asarray(params[kernel], np.float64) + np.asarray(params[bias], np.float64)
        x = activation(x) if position < len(names) else x
    return x


def with_random_biases(params):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(9), len(leaves))
    return tree.unflatten([p + 0.3 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)])


@pytest.mark.parametrize("tied", [False, True])
def test_equals_a_numpy_loop_in_float64(tied):
    model = Autoencoder((6, 4, 3), "tanh", tied=tied)
    params = with_random_biases(model.init(jax.random.key(1), X))
    flat = params["params"]
    output, code = model.apply(params, X)
    x = np.asarray(X, np.float64)
    expected = numpy_layers(
        flat, x, [("encoder_kernel_0", "encoder_bias_0"), ("encoder_kernel_1", "encoder_bias_1")], np.tanh
    )
    np.testing.assert_allclose(code, expected, atol=1e-5)
    kernels = (
        {f"up_{i}": np.asarray(flat[f"encoder_kernel_{1 - i}"]).T for i in (0, 1)}
        if tied
        else {f"up_{i}": flat[f"decoder_kernel_{i}"] for i in (0, 1)}
    )
    names = [("up_0", "decoder_bias_0"), ("up_1", "decoder_bias_1")]
    np.testing.assert_allclose(output, numpy_layers(flat | kernels, expected, names, np.tanh), atol=1e-5)


def test_tied_decoder_has_no_kernels_of_its_own_and_both_uses_reach_the_gradient():
    model = Autoencoder((6, 3), "linear", tied=True)
    params = model.init(jax.random.key(1), X)
    assert set(params["params"]) == {"encoder_kernel_0", "encoder_bias_0", "decoder_bias_0"}

    def error(kernel):
        output, _ = model.apply({"params": params["params"] | {"encoder_kernel_0": kernel}}, X)
        return jnp.square(output - X).sum()

    kernel = params["params"]["encoder_kernel_0"]
    expected = jax.grad(lambda k: jnp.square(X @ k @ k.T - X).sum())(kernel)
    np.testing.assert_allclose(jax.grad(error)(kernel), expected, rtol=1e-5, atol=1e-5)


def test_sparse_code_keeps_the_largest_units():
    dense = Autoencoder((6, 5), "linear")
    sparse = Autoencoder((6, 5), "linear", active_units=2)
    params = dense.init(jax.random.key(1), X)
    full = np.asarray(dense.apply(params, X, method="encode"))
    kept = np.asarray(sparse.apply(params, X, method="encode"))
    for row, kept_row in zip(full, kept, strict=True):
        largest = np.sort(row)[-2:]
        np.testing.assert_array_equal(np.sort(kept_row[kept_row != 0]), largest)


def test_bfloat16_products_keep_float32_weights_and_outputs():
    model = Autoencoder((6, 4, 3), "relu", dtype="bfloat16")
    params = model.init(jax.random.key(1), X)
    output, code = model.apply(params, X)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert output.dtype == code.dtype == jnp.float32
    exact, _ = Autoencoder((6, 4, 3), "relu").apply(params, X)
    assert 0 < float(jnp.abs(output - exact).max()) < 0.1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0.0, 0.0, 1.0]),
        ("elu", [np.expm1(-1.0), 0.0, 1.0]),
        ("gelu", [-0.158808, 0.0, 0.841192]),
        ("tanh", [-0.7615942, 0.0, 0.7615942]),
        ("sigmoid", [0.2689414, 0.5, 0.7310586]),
        ("linear", [-1.0, 0.0, 1.0]),
    ],
)
def test_activations(name, expected):
    np.testing.assert_allclose(activation_function(name)(jnp.asarray([-1.0, 0.0, 1.0])), expected, atol=1e-6)


def test_mlp_equals_a_numpy_loop():
    model = MLP((4, 2), "tanh")
    params = jax.tree.map(np.asarray, with_random_biases(model.init(jax.random.key(2), X))["params"])
    hidden = np.tanh(np.asarray(X) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
    expected = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(model.apply({"params": params}, X), expected, atol=1e-5)
