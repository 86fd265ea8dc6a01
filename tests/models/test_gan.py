"""Generator and critic against NumPy: batch statistics, maxout, spectral norms, classes, packs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import UsageError
from seqjax.models.gan import (
    Critic,
    Generator,
    SpectralDense,
    initial_parameters,
    initial_statistics,
    latent_vectors,
    outputs_and_statistics,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def made(model, *inputs, key=0):
    """Parameters with biases that are not zero, and statistics."""
    params = jax.jit(functools.partial(initial_parameters, model))(jax.random.key(key), *inputs)
    leaves, structure = jax.tree.flatten(params)
    noise = [leaf + 0.3 * RNG.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, noise), initial_statistics(model, *inputs)


def trained_on(model):
    """A compiled `outputs_and_statistics(model, ...)`."""
    return jax.jit(functools.partial(outputs_and_statistics, model))


def weights(params, name):
    return {k: np.asarray(v, np.float64) for k, v in params["params"][name].items()}


def test_the_pair_of_the_speed_tables_by_hand():
    generator, critic = Generator((128, 784), output="sigmoid"), Critic((128,))
    z = normal(3, 100)
    params, statistics = made(generator, z)
    assert statistics == {}
    assert [v.shape for v in weights(params, "Dense_0").values()] == [(128,), (100, 128)]
    first, second = (weights(params, f"Dense_{i}") for i in range(2))
    hidden = np.maximum(np.asarray(z) @ first["kernel"] + first["bias"], 0)
    expected = 1 / (1 + np.exp(-(hidden @ second["kernel"] + second["bias"])))
    images = generator.apply(params, z)
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-6)

    params, _ = made(critic, images)
    first, second = (weights(params, f"Dense_{i}") for i in range(2))
    hidden = np.asarray(images) @ first["kernel"] + first["bias"]
    expected = np.where(hidden > 0, hidden, 0.2 * hidden) @ second["kernel"] + second["bias"]
    np.testing.assert_allclose(critic.apply(params, images), expected[:, 0], rtol=1e-4, atol=1e-4)


def test_batch_normalisation_and_its_running_averages():
    generator = Generator((4, 2), batch_norm=True)
    z = 100 + normal(16, 3)
    params, statistics = made(generator, z)
    layer, norm, last = (weights(params, name) for name in ("Dense_0", "BatchNorm_0", "Dense_1"))
    assert set(layer) == {"kernel"}

    def outputs(hidden, mean, variance):
        normal = (hidden - mean) / np.sqrt(variance + 1e-4) * norm["scale"] + norm["bias"]
        return np.maximum(normal, 0) @ last["kernel"] + last["bias"]

    mean, variance, made_of = np.zeros(4), np.ones(4), trained_on(generator)
    for step in range(3):
        rows = z + np.float32(step)
        hidden = np.asarray(rows, np.float64) @ layer["kernel"]
        found, statistics = made_of(params, statistics, rows)
        np.testing.assert_allclose(found, outputs(hidden, hidden.mean(axis=0), hidden.var(axis=0)), atol=2e-4)
        mean = 0.95 * mean + 0.05 * hidden.mean(axis=0)
        variance = 0.95 * variance + 0.05 * hidden.var(axis=0)
        kept = statistics["batch_stats"]["BatchNorm_0"]
        np.testing.assert_allclose(kept["mean"], mean, rtol=1e-5)
        np.testing.assert_allclose(kept["var"], variance, rtol=1e-4)
    # outside training a row does not depend on its batch
    evaluated, hidden = generator.apply({**params, **statistics}, z), np.asarray(z) @ layer["kernel"]
    np.testing.assert_allclose(evaluated, outputs(hidden, mean, variance), rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(generator.apply({**params, **statistics}, z[3:4]), evaluated[3:4], rtol=1e-6)


def test_a_batch_of_one_and_of_equal_rows_are_finite():
    generator = Generator((4, 2), batch_norm=True)
    params, statistics = made(generator, jnp.ones((1, 3)))

    def total(params, z):
        rows, after = outputs_and_statistics(generator, params, statistics, z)
        return rows.sum(), after

    slopes = jax.jit(jax.grad(total, has_aux=True))
    for z in (jnp.ones((1, 3)), jnp.ones((5, 3)), 1e4 * jnp.ones((5, 3))):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes(params, z)))


def test_batch_statistics_are_taken_over_the_device_axis():
    generator = Generator((4, 2), batch_norm=True)
    z = normal(16, 3)
    params, statistics = made(generator, z)
    whole, kept = outputs_and_statistics(generator, params, statistics, z)
    spread, on_devices = jax.pmap(
        lambda z: outputs_and_statistics(generator, params, statistics, z, axis_name="batch"), "batch"
    )(z.reshape(8, 2, 3))
    np.testing.assert_allclose(spread.reshape(16, 2), whole, atol=1e-5)
    for a, b in zip(jax.tree.leaves(on_devices), jax.tree.leaves(kept), strict=True):
        np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), atol=1e-6)


def test_maxout_by_hand_and_its_gradient_goes_to_the_largest_piece():
    critic = Critic((3,), pieces=4)
    x = normal(5, 2)
    params, _ = made(critic, x)
    first, last = weights(params, "Dense_0"), weights(params, "Dense_1")
    pieces = (np.asarray(x) @ first["kernel"] + first["bias"]).reshape(5, 3, 4)
    expected = pieces.max(axis=2) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(critic.apply(params, x), expected[:, 0], rtol=1e-4, atol=1e-5)
    slopes = jax.jit(jax.grad(lambda p: critic.apply(p, x).sum()))(params)["params"]["Dense_0"]["bias"].reshape(3, 4)
    wins = (pieces == pieces.max(axis=2, keepdims=True)).sum(axis=0)
    np.testing.assert_allclose(slopes, wins * last["kernel"], rtol=1e-4, atol=1e-6)


def test_spectral_norm_against_the_singular_values():
    layer = SpectralDense(6)
    x = normal(5, 4)
    params, statistics = made(layer, x)
    kernel, bias = (np.asarray(params["params"][name], np.float64) for name in ("kernel", "bias"))
    normalised = trained_on(layer)
    for _ in range(60):
        found, statistics = normalised(params, statistics, x)
    left, sizes, right = np.linalg.svd(kernel)
    rows = np.asarray(x, np.float64)
    np.testing.assert_allclose(found, rows @ kernel / sizes[0] + bias, rtol=1e-4, atol=1e-5)
    assert abs(np.asarray(statistics["spectral"]["u"]) @ right[0]) == pytest.approx(1, abs=1e-6)
    # the kept vector serves outside training, where nothing changes
    np.testing.assert_allclose(layer.apply({**params, **statistics}, x, training=False), found, rtol=1e-5, atol=1e-6)
    # d sigma / d W = v u^T
    slope = jax.jit(jax.grad(lambda p: normalised(p, statistics, x)[0][0, 0]))(params)["params"]["kernel"]
    expected = -(rows[0] @ kernel[:, 0]) / sizes[0] ** 2 * np.outer(left[:, 0], right[0])
    expected[:, 0] += rows[0] / sizes[0]
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-5)
    # one iteration from a start that is not the answer falls short of the norm
    _, first = normalised(params, initial_statistics(layer, x), x)
    u = np.asarray(first["spectral"]["u"], np.float64)
    assert np.linalg.norm(kernel @ u) < sizes[0] * (1 - 1e-6)


def test_a_critic_of_spectral_layers_is_lipschitz_and_a_zero_kernel_is_finite():
    critic = Critic((8, 8), spectral_norm=True)
    x = 5 * normal(64, 3)
    params, statistics = made(critic, x)
    logits = trained_on(critic)
    for _ in range(60):
        _, statistics = logits(params, statistics, x)
    slopes = jax.jit(jax.grad(lambda x: critic.apply({**params, **statistics}, x).sum()))(x)
    assert np.linalg.norm(slopes, axis=1).max() <= 1 + 1e-4
    nothing = jax.tree.map(jnp.zeros_like, params)
    value, slope = jax.jit(jax.value_and_grad(lambda p: logits(p, statistics, x)[0].sum()))(nothing)
    assert value == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("conditioning", ["concat", "projection"])
def test_classes_change_rows_and_logits_and_an_absent_class_learns_nothing(conditioning):
    label = jnp.asarray([0, 1, 0, 1])
    generator, critic = Generator((5, 2), num_classes=3), Critic((5,), num_classes=3, conditioning=conditioning)
    z = jnp.ones((4, 2))
    own, _ = made(generator, z, label)
    rows = generator.apply(own, z, label)
    np.testing.assert_array_equal(rows[0], rows[2])
    assert not np.isclose(rows[0], rows[1]).any()
    params, _ = made(critic, rows, label)
    logits = critic.apply(params, jnp.ones((4, 2)), label)
    assert logits[0] == logits[2]
    assert not np.isclose(logits[0], logits[1])
    slopes = jax.jit(jax.grad(lambda p: critic.apply(p, rows, label).sum()))(params)["params"]
    by_class = slopes["Dense_0"]["kernel"][2:] if conditioning == "concat" else slopes["Dense_2"]["kernel"]
    assert (np.asarray(by_class[2]) == 0).all()
    assert (np.abs(by_class[:2]).max(axis=1) > 0).all()


def test_projection_is_an_inner_product_with_the_last_hidden_layer():
    critic = Critic((4,), num_classes=2)
    x, label = normal(3, 2), jnp.asarray([1, 0, 1])
    params, _ = made(critic, x, label)
    first, last, classes = (weights(params, f"Dense_{i}") for i in range(3))
    hidden = np.asarray(x) @ first["kernel"] + first["bias"]
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    projected = (hidden * classes["kernel"][np.asarray(label)]).sum(axis=1)
    expected = hidden @ last["kernel"][:, 0] + last["bias"] + projected
    np.testing.assert_allclose(critic.apply(params, x, label), expected, rtol=1e-4, atol=1e-5)


def test_latent_vectors_belong_to_their_examples():
    key = jax.random.key(3)
    whole = latent_vectors(key, jnp.arange(2000), 2)
    np.testing.assert_array_equal(latent_vectors(key, jnp.asarray([7, 1999]), 2), whole[jnp.asarray([7, 1999])])
    assert abs(float(whole.mean())) < 0.05
    assert float(whole.std()) == pytest.approx(1, abs=0.05)


def test_impossible_sizes_are_refused():
    for model in (Generator(()), Generator((0, 2)), Critic((0,)), Critic((3,), pieces=0)):
        with pytest.raises(UsageError, match="expected"):
            initial_parameters(model, jax.random.key(0), jnp.ones((1, 2)))
