"""What a cell shows of its insides, for diagnosis."""

from typing import NamedTuple

from jax import Array


class Gate(NamedTuple):
    """A squashed value inside a cell, and how steep the squashing is there.

    value: `[B H]`.
    slope: `[B H]`, as a share of the steepest; near 0 the unit is saturated, and no gradient passes it.
    centre: the value at which a unit is neither low nor high.
    """

    value: Array
    slope: Array
    centre: float = 0.0


def sigmoid_gate(value: Array) -> Gate:
    return Gate(value, 4 * value * (1 - value), 0.5)


def tanh_gate(value: Array) -> Gate:
    return Gate(value, 1 - value**2)
