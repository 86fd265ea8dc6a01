"""`first_non_finite`: known culprits in plain code, calls, loops, branches and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from seqjax.train.non_finite import first_non_finite

X = jnp.arange(12.0).reshape(4, 3)
BAD = np.where(X[2, 1] == X, np.float32(np.nan), X)


def blamed(function, argument):
    return {path: origin.operation for path, origin in first_non_finite(function, argument).items()}


def test_finite_values_have_no_culprit():
    assert first_non_finite(lambda x: {"a": jnp.log(x + 1), "b": x.sum()}, X) == {}


def test_the_operation_its_line_and_its_values_are_named():
    def function(x):
        y = x * 2
        return {"good": y.sum(), "bad": (jnp.log(y - 30) + 1).sum()}

    (path, origin), *others = first_non_finite(function, X).items()
    assert (path, origin.operation, others) == ("['bad']", "log", [])
    assert "test_non_finite.py:" in origin.where
    assert "(test_the_operation_its_line_and_its_values_are_named.<locals>.function)" in origin.where
    assert origin.found == "12 nan of 12 values of float32[4,3], from float32[4,3] up to 30"


LIBRARY_CALLS = {
    "where": lambda x: jnp.where(x > 0, jnp.inf, x),
    "norm": lambda x: jnp.linalg.norm(x * 1e30),
    "gradient of norm": lambda x: jax.grad(lambda x: jnp.linalg.norm(x * 0))(x),
    "var": lambda x: jnp.var(x * 1e30),
    "inv": lambda x: jnp.linalg.inv(x[:3] * 0),
}


@pytest.mark.parametrize("name", LIBRARY_CALLS)
def test_inside_a_function_of_the_library_the_line_that_calls_it_is_named(name):
    function = LIBRARY_CALLS[name]
    # elsewhere first: the library keeps what it has traced
    first_non_finite(lambda x: function(x + 0), X)
    (origin,) = first_non_finite(function, X).values()
    assert f"test_non_finite.py:{function.__code__.co_firstlineno}:" in origin.where


@pytest.mark.parametrize("whole", [lambda x: x, jax.jit])
def test_of_the_cases_of_a_choice_the_chosen_one_is_blamed(whole):
    def function(x):
        return jnp.where(x > -1, x * jnp.float32(3e38), jnp.nan), jnp.var(x * 1e30)

    assert blamed(whole(function), X) == {"[0]": "mul", "[1]": "square"}


def test_an_input_is_named_by_its_path():
    found = first_non_finite(
        lambda given: given["batch"]["x"].sum() + given["scale"], {"scale": 1.0, "batch": {"x": BAD}}
    )
    assert str(found[""]) == "['batch']['x'] came with 1 nan of 12 values of float32[4,3]"


def test_an_infinity_that_a_mask_removes_is_no_fault():
    def function(x):
        masked = jnp.where(x > 0, jnp.log(x), 0.0).sum()
        return masked, jnp.sqrt(x - 20).sum()

    assert blamed(function, X) == {"[1]": "sqrt"}


def scanned(x, reverse=False):
    def body(carry, row):
        carry = carry + row.sum()
        # rows sum to 3, 12, 21 and 30: the third carry is 36, or 63 from the end
        return carry, jnp.log(jnp.where(carry > 35, -1.0, 1.0))

    return lax.scan(body, jnp.float32(0), x, reverse=reverse)


def looped(x):
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.sqrt(s[1] - 5)), (0, x))[1]


def branched(x):
    return lax.switch(jnp.int32(x[0, 1]), [lambda x: x, lambda x: jnp.arccosh(x * 0)], x)


@jax.custom_vjp
def own_gradient(x):
    return x.sum()


own_gradient.defvjp(lambda x: (x.sum(), x), lambda x, g: (g / (x * 0),))


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: scanned(x)[1], "log"),
        (lambda x: scanned(x, reverse=True)[1], "log"),
        (lambda x: jax.jit(lambda x: jnp.log(x - 30))(x), "log"),
        (jax.checkpoint(lambda x: jnp.log(x - 30)), "log"),
        (lambda x: jax.vmap(lambda row: lax.cond(row.sum() > 0, jnp.log, jnp.exp, row - 30))(x), "log"),
        (looped, "sqrt"),
        (branched, "acosh"),
        (lambda x: jax.grad(own_gradient)(x), "div"),
        (lambda x: jax.nn.relu(x * jnp.float32(3e38)) * 0, "mul"),
        (lambda x: jax.grad(lambda x: jnp.linalg.norm(x * 0))(x), "div"),
        (lambda x: jax.grad(lambda x: scanned(x / 0)[0])(x), "div"),
    ],
)
def test_calls_loops_branches_and_gradients_are_entered(function, operation):
    for whole in (function, jax.jit(function)):
        (found,) = blamed(whole, X).values()
        assert found == operation


def test_a_carry_that_is_bad_before_the_end_is_followed_to_its_step():
    def function(x):
        def body(carry, row):
            return carry / (row[0] - 3), carry

        return lax.scan(body, jnp.float32(1), x)

    assert blamed(function, X) == {"[0]": "div", "[1]": "div"}


def test_the_first_of_several_faults_is_blamed():
    def function(x):
        return jnp.sqrt(jnp.log(x - 30)) / 0

    (origin,) = first_non_finite(function, X).values()
    assert origin.operation == "log"


def test_keys_integers_and_no_arguments_are_no_hindrance():
    def function(given):
        noise = jax.random.normal(given["key"], (3,))
        return noise / (given["count"] - 2)

    assert blamed(function, {"key": jax.random.key(0), "count": np.int32(2)}) == {"": "div"}
