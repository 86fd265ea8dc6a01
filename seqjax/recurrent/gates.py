"""What a cell shows of its insides, for diagnosis."""

from typing import NamedTuple

from jax import Array


class Gate(NamedTuple):
    """A squashed value inside a cell, and the slope of the squashing there as a share of its steepest; both `[B H]`.

    A slope near 0 means a saturated unit: no gradient passes it.
    """

    value: Array
    slope: Array


def sigmoid_gate(value: Array) -> Gate:
    return Gate(value, 4 * value * (1 - value))


def tanh_gate(value: Array) -> Gate:
    return Gate(value, 1 - value**2)
