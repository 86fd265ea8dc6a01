"""What the players pay: values by hand, the optimum, extreme logits, and penalties against derivatives by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import adversarial_losses as al
from seqjax.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

OBJECTIVES = {
    "minimax": al.minimax,
    "non_saturating": al.non_saturating,
    "least_squares": al.least_squares,
    "hinge": al.hinge,
    "wasserstein": al.wasserstein,
}


def log_sigmoid(logit):
    return -np.log1p(np.exp(-logit))


# from the equations of the papers, with D = sigmoid(logit) where they have a probability
BY_HAND = {
    "minimax": (lambda d: -log_sigmoid(d), lambda d: -log_sigmoid(-d), lambda d: log_sigmoid(-d)),
    "non_saturating": (lambda d: -log_sigmoid(d), lambda d: -log_sigmoid(-d), lambda d: -log_sigmoid(d)),
    "least_squares": (lambda d: (d - 1) ** 2 / 2, lambda d: d**2 / 2, lambda d: (d - 1) ** 2 / 2),
    "hinge": (lambda d: max(0, 1 - d), lambda d: max(0, 1 + d), lambda d: -d),
    "wasserstein": (lambda d: -d, lambda d: d, lambda d: -d),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_values_by_hand(name):
    logits = np.asarray([-3.0, -0.5, 0.0, 0.25, 2.0])
    for function, by_hand in zip(OBJECTIVES[name], BY_HAND[name], strict=True):
        found = function(jnp.asarray(logits, jnp.float32))
        np.testing.assert_allclose(found, [by_hand(d) for d in logits], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "logit", "cost"),
    [
        ("minimax", 0.0, 2 * np.log(2)),
        ("non_saturating", 0.0, 2 * np.log(2)),
        ("least_squares", 0.5, 0.25),
        ("hinge", 0.0, 2.0),
        ("wasserstein", 0.0, 0.0),
    ],
)
def test_where_nobody_can_tell_no_logit_is_better_than_the_optimum(name, logit, cost):
    """The generator makes the data: every logit is that of a real and of a generated row alike."""
    objective = OBJECTIVES[name]
    pays = lambda logit: (objective.real(logit) + objective.fake(logit))[0]  # noqa: E731
    assert pays(jnp.full(1, logit)) == pytest.approx(cost, rel=1e-6)
    others = np.linspace(-4, 4, 81)
    assert min(pays(jnp.full(1, other)) for other in others) >= cost - 1e-6


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_extreme_logits_give_finite_values_and_gradients(name, logit):
    for function in OBJECTIVES[name]:
        value, slope = jax.value_and_grad(lambda d, f=function: f(d)[0])(jnp.full(1, logit))
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


def test_the_minimax_generator_has_no_gradient_where_the_critic_is_sure_and_the_other_has():
    slopes = {name: jax.grad(lambda d, o=o: o.generator(d)[0])(jnp.full(1, -30.0))[0] for name, o in OBJECTIVES.items()}
    assert abs(slopes["minimax"]) < 1e-12
    assert slopes["non_saturating"] == pytest.approx(-1)


def quadratic(x):
    """Its gradient at x is A x + b, by hand."""
    return 0.5 * jnp.einsum("bi,ij,bj->b", x, jnp.asarray(A, x.dtype), x) + x @ jnp.asarray(b, x.dtype)


A, b = np.asarray([[2.0, -1.0], [-1.0, 0.5]]), np.asarray([0.3, -0.7])
REAL, FAKE = np.random.default_rng(0).normal(size=(2, 7, 2))
INDEX = jnp.arange(7) * 3


def places(key, index):
    """The shares drawn for each pair, from the definition."""
    return np.asarray([jax.random.uniform(jax.random.fold_in(key, i), (1,), jnp.float64)[0] for i in index])


def test_penalties_by_hand_in_float64():
    with jax.enable_x64(True):
        real, fake, key = jnp.asarray(REAL), jnp.asarray(FAKE), jax.random.key(5)
        share = places(key, INDEX)[:, None]
        slopes = (share * REAL + (1 - share) * FAKE) @ A + b
        expected = (np.linalg.norm(slopes, axis=1) - 1) ** 2
        np.testing.assert_allclose(al.gradient_penalty(quadratic, real, fake, key, INDEX), expected, rtol=1e-12)
        assert ((share > 0) & (share < 1)).all()
        assert len(np.unique(share)) == 7
        expected = 0.5 * np.square(REAL @ A + b).sum(axis=1)
        np.testing.assert_allclose(al.r1_penalty(quadratic, real), expected, rtol=1e-12)


def test_penalties_have_the_right_derivatives_to_the_critics_weights():
    """The gradient of a gradient, against central differences of the weights in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        weights = {"w": jnp.asarray(rng.normal(size=(2, 5))), "v": jnp.asarray(rng.normal(size=5))}
        real, fake, key = jnp.asarray(REAL), jnp.asarray(FAKE), jax.random.key(5)

        def total(weights):
            critic = lambda x: jnp.tanh(x @ weights["w"]) @ weights["v"]  # noqa: E731
            return (al.gradient_penalty(critic, real, fake, key, INDEX) + al.r1_penalty(critic, real)).sum()

        slopes, value = jax.jit(jax.grad(total))(weights), jax.jit(total)
        for name, array in weights.items():
            for place in np.ndindex(array.shape):
                up, down = (value(weights | {name: array.at[place].add(d)}) for d in (1e-5, -1e-5))
                assert float(slopes[name][place]) == pytest.approx(float(up - down) / 2e-5, rel=1e-6, abs=1e-8)
                assert slopes[name][place] != 0


def test_a_pair_is_penalised_alike_in_any_company():
    real, fake, key = jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32), jax.random.key(5)
    whole = al.gradient_penalty(quadratic, real, fake, key, INDEX)
    part = al.gradient_penalty(quadratic, real[4:6], fake[4:6], key, INDEX[4:6])
    np.testing.assert_allclose(part, whole[4:6], rtol=1e-6)
    other = al.gradient_penalty(quadratic, real, fake, jax.random.key(6), INDEX)
    assert not np.isclose(other, whole).any()


def test_a_critic_without_slope_is_penalised_and_has_no_gradient():
    """Constant images and a dead critic: the norm's derivative at 0 is taken to be 0, not NaN."""

    def penalty(weight):
        critic = lambda x: weight * x.sum(axis=1)  # noqa: E731
        ones = jnp.ones((3, 2))
        return al.gradient_penalty(critic, ones, ones, jax.random.key(0), jnp.arange(3)).sum()

    value, slope = jax.value_and_grad(penalty)(0.0)
    assert value == 3
    assert slope == 0


def test_packs_hold_neighbouring_rows_side_by_side():
    rows = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(al.packed(rows, 1), rows)
    np.testing.assert_array_equal(al.packed(rows, 3), [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    with pytest.raises(UsageError, match="6 rows cannot be packed by 4"):
        al.packed(rows, 4)
