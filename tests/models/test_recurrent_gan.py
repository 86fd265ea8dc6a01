"""Recurrent players: second derivatives through the fast recurrence, values by hand, causality, noise by index."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.adversarial_losses import gradient_penalty
from seqjax.errors import UsageError
from seqjax.models.recurrent_gan import SeriesCritic, SeriesGenerator, series_noise, step_moments
from seqjax.recurrent import gru, lstm

pytestmark = pytest.mark.usefixtures("quick_compilation")

CELLS = {"gru": gru, "lstm": lstm}
BATCH, STEPS, FEATURES = 4, 6, 3
RNG = np.random.default_rng(0)


def series(count=BATCH):
    return jnp.asarray(RNG.normal(size=(count, STEPS, FEATURES)))


def noisy(params):
    """With biases that are not zero, in float64."""
    leaves, structure = jax.tree.flatten(params)
    moved = [jnp.asarray(leaf, jnp.float64) + 0.3 * RNG.normal(size=leaf.shape) for leaf in leaves]
    return jax.tree.unflatten(structure, moved)


def critic_of(cell, residuals):
    return SeriesCritic(CELLS[cell], 5, residuals=residuals)


def cost(critic, params, real, fake):
    """The critic's whole loss, Wasserstein's with a penalty, each series weighted differently."""
    logits_of = functools.partial(critic.apply, params)
    weights = jnp.arange(1.0, 1 + len(real), dtype=real.dtype)
    penalty = gradient_penalty(logits_of, real, fake, jax.random.key(1), jnp.arange(len(real)))
    return jnp.sum(weights * (logits_of(fake) - logits_of(real) + 10 * penalty))


@pytest.mark.parametrize("cell", CELLS)
def test_the_penalty_through_the_fast_recurrence_has_the_gradient_of_the_plain_one(cell):
    with jax.enable_x64(True):
        real, fake = series(), series()
        params = noisy(jax.jit(critic_of(cell, None).init)(jax.random.key(0), real))
        of = {
            residuals: jax.jit(jax.value_and_grad(functools.partial(cost, critic_of(cell, residuals))))
            for residuals in ("full", None)
        }
        (value, slopes), (expected, expected_slopes) = (f(params, real, fake) for f in of.values())
        assert float(value) == pytest.approx(float(expected), rel=1e-12)
        for (path, found), wanted in zip(
            jax.tree_util.tree_leaves_with_path(slopes), jax.tree.leaves(expected_slopes), strict=True
        ):
            # one readout bias moves the logits of real and generated series alike
            assert np.linalg.norm(wanted) > 1e-3 or "readout" in jax.tree_util.keystr(path)
            assert np.linalg.norm(found - wanted) <= 1e-10 * max(1, np.linalg.norm(wanted)), path
        # and that of finite differences, along a line
        line = noisy(jax.tree.map(jnp.zeros_like, params))
        ahead, behind = (
            of["full"](jax.tree.map(lambda p, d, s=s: p + s * d, params, line), real, fake)[0] for s in (1e-5, -1e-5)
        )
        along = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(line), strict=True))
        assert float(along) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-6)


def test_a_row_of_a_penalty_may_be_a_series():
    weights = jnp.asarray(RNG.normal(size=(STEPS, FEATURES)), jnp.float32)
    real, fake = (jnp.asarray(series(), jnp.float32) for _ in range(2))
    index = jnp.arange(BATCH)
    critic = lambda x: jnp.sin(jnp.sum(x * weights[None], axis=(1, 2)))  # noqa: E731
    flat = lambda x: x.reshape(len(x), -1)  # noqa: E731
    whole = gradient_penalty(critic, real, fake, jax.random.key(3), index)
    of_rows = lambda rows: critic(rows.reshape(-1, STEPS, FEATURES))  # noqa: E731
    np.testing.assert_allclose(
        whole, gradient_penalty(of_rows, flat(real), flat(fake), jax.random.key(3), index), rtol=1e-5
    )
    norm = np.linalg.norm(weights)
    linear = gradient_penalty(lambda x: jnp.sum(x * weights[None], axis=(1, 2)), real, fake, jax.random.key(3), index)
    np.testing.assert_allclose(linear, (norm - 1) ** 2, rtol=1e-5)


def test_players_by_hand():
    """Cell by cell: a sigmoid of the readout at each step, and the mean of the readouts of all steps."""
    with jax.enable_x64(True):
        z = series()
        generator, critic = SeriesGenerator(lstm, 4, 2), SeriesCritic(gru, 5)
        params = noisy(jax.jit(generator.init)(jax.random.key(0), z)), noisy(jax.jit(critic.init)(jax.random.key(0), z))

        def readouts(cell, variables):
            own = variables["params"]
            weights, step = own["recurrence"]["layer_0_forward"], jax.jit(cell.step)
            carry, found = cell.initial_carry(weights, BATCH), []
            for t in range(STEPS):
                carry, h = step(weights, carry, z[:, t])
                found.append(np.asarray(h) @ np.asarray(own["readout"]["kernel"]) + np.asarray(own["readout"]["bias"]))
            return np.stack(found, axis=1)

        expected = 1 / (1 + np.exp(-readouts(lstm(4), params[0])))
        np.testing.assert_allclose(generator.apply(params[0], z), expected, rtol=1e-10)
        np.testing.assert_allclose(
            critic.apply(params[1], z), readouts(gru(5), params[1]).mean(axis=(1, 2)), rtol=1e-10
        )


def test_no_step_is_made_of_later_noise_and_no_series_of_anothers():
    z = jnp.asarray(series(), jnp.float32)
    generator = SeriesGenerator(gru, 4, 2)
    params = jax.jit(generator.init)(jax.random.key(0), z)
    slope = jax.jit(jax.grad(lambda z, t: generator.apply(params, z)[1, t].sum()), static_argnums=1)(z, 4)
    np.testing.assert_array_equal(slope[:, 5:], 0)
    np.testing.assert_array_equal(np.delete(slope, 1, axis=0), 0)
    assert (np.abs(slope[1, :5]).max(axis=1) > 0).all()


def test_noise_belongs_to_the_example_and_what_is_held_stays():
    draw = functools.partial(series_noise, jax.random.key(3), length=6, step_size=2, held_size=3)
    whole = draw(jnp.arange(3000))
    assert whole.shape == (3000, 6, 5)
    np.testing.assert_array_equal(draw(jnp.asarray([2999, 7])), whole[jnp.asarray([2999, 7])])
    steps, held = np.asarray(whole[..., :2]), np.asarray(whole[..., 2:])
    np.testing.assert_array_equal(held, np.broadcast_to(held[:, :1], held.shape))
    values = np.concatenate([steps.reshape(3000, -1), held[:, 0]], axis=1).astype(np.float64)
    # fifteen values of each example, independent and standard normal; 3,000 draws spread a moment by 0.02
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(np.cov(values.T), np.eye(15), atol=0.12)
    for sizes in ({"step_size": 0, "held_size": 0}, {"step_size": -1, "held_size": 3}):
        with pytest.raises(UsageError, match="noise sizes"):
            series_noise(jax.random.key(0), jnp.arange(2), length=3, **sizes)
    with pytest.raises(UsageError, match="length=0"):
        series_noise(jax.random.key(0), jnp.arange(2), length=0, step_size=1, held_size=0)


def test_moments_bring_values_and_changes_to_mean_0_and_deviation_1():
    x = (3 + np.arange(1.0, 7)[None, :, None] * RNG.normal(size=(500, 6, 3))).astype(np.float32)
    moments = step_moments(x)
    seen = np.asarray(moments.seen(jnp.asarray(x)))
    assert seen.shape == (500, 6, 6)
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(seen[:, :, :3].std(axis=0), 1, rtol=1e-4)
    np.testing.assert_allclose(seen[:, 1:, 3:].std(axis=0), 1, rtol=1e-4)
    # no change leads to the first step
    np.testing.assert_array_equal(seen[:, 0, 3:], 0)
    # by hand: the change from step 1 to step 2 of one value
    changes = x[:, 2, 1].astype(np.float64) - x[:, 1, 1]
    np.testing.assert_allclose(seen[:, 2, 4], (changes - changes.mean()) / changes.std(), atol=1e-4)
    # what is placed is seen where it was placed
    z = jnp.asarray(RNG.normal(size=(4, 6, 3)), jnp.float32)
    np.testing.assert_allclose(moments.seen(moments.placed(z))[:, :, :3], z, atol=1e-4)


def test_moments_of_what_never_varies():
    x = np.full((20, 4, 2), 0.1, np.float32)
    x[:, :, 1] += RNG.normal(size=(20, 4))
    moments = step_moments(x)
    made = np.asarray(moments.placed(jnp.asarray(RNG.normal(size=(5, 4, 2)), jnp.float32)))
    np.testing.assert_array_equal(made[:, :, 0], np.float32(0.1))
    assert made[:, :, 1].std() > 0.5
    assert np.isfinite(moments.seen(jnp.asarray(made))).all()
