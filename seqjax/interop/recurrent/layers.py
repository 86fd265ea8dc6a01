"""A stack of recurrent layers as a list, and the order of the gates in their arrays."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from seqjax.errors import UsageError
from seqjax.types import Params

GATES = {1: "h", 3: "rzn", 4: "ifgo"}
"""The order of the gates here, by their number: Elman, GRU, LSTM."""

SHARED_NAMES = ("input_kernel", "recurrent_kernel", "bias", "candidate_bias", "projection")
"""The weights that other frameworks have too."""

Weights = Mapping[str, Any]


class Layer(NamedTuple):
    """One direction of one layer.

    name: `layer_0_forward` and so on.
    index, backward: which layer, which direction.
    params: the cell's weights, or only their shapes and dtypes.
    hidden_size, gates: H, and the letters of the gates in the order of the arrays, one of `GATES`.
    """

    name: str
    index: int
    backward: bool
    params: Weights
    hidden_size: int
    gates: str


def stack_of(params: Weights, known: Sequence[str] = SHARED_NAMES) -> list[Layer]:
    """The layers of `models.RNN`'s params, or of one cell's, in the order of the computation.

    Raises `UsageError` for names that are none of theirs, and for weights that other frameworks lack.
    """
    if "input_kernel" in params:
        params = {"layer_0_forward": params}
    layers = []
    for name, weights in params.items():
        match = re.fullmatch(r"layer_(\d+)_(forward|backward)", name)
        if not match:
            raise UsageError(f"params: unknown name {name!r}, expected layer_0_forward, layer_0_backward, ...")
        unknown = sorted(set(weights) - set(known))
        missing = sorted({"input_kernel", "recurrent_kernel", "bias"} - set(weights))
        if unknown or missing:
            raise UsageError(
                f"params[{name!r}]: found the weights {sorted(weights)}, expected some of {list(known)}; "
                f"unknown {unknown}, missing {missing}"
            )
        shape, *projection = (weights[kind].shape for kind in ("recurrent_kernel", "projection") if kind in weights)
        gates = None
        if all(len(s) == 2 and s[0] for s in (shape, *projection)):
            hidden_size = projection[0][0] if projection else shape[0]
            num_gates, left_over = divmod(shape[1], hidden_size)
            gates = None if left_over else GATES.get(num_gates)
        if gates is None:
            raise UsageError(
                f"params[{name!r}]['recurrent_kernel']: found shape {shape}, expected [H H], [H 3H] or [H 4H]"
            )
        layers.append(Layer(name, int(match[1]), match[2] == "backward", weights, hidden_size, gates))
    return sorted(layers, key=lambda layer: (layer.index, layer.backward))


def assembled(like: Weights, layers: Sequence[Layer], arrays: Sequence[Mapping[str, np.ndarray]]) -> Params:
    """The arrays as params of the form, shapes and dtypes of `like`; raises `UsageError` where a shape differs."""
    found = {}
    for layer, weights in zip(layers, arrays, strict=True):
        if set(weights) != set(layer.params):
            raise UsageError(f"{layer.name}: found the weights {sorted(weights)}, expected {sorted(layer.params)}")
        for name, expected in layer.params.items():
            require_shape(f"{layer.name}/{name}", weights[name], expected.shape)
        found[layer.name] = {name: jnp.asarray(weights[name], layer.params[name].dtype) for name in layer.params}
    return found["layer_0_forward"] if "input_kernel" in like else found


def require_shape(name: str, array: Any, expected: tuple[int, ...]) -> None:
    if np.shape(array) != tuple(expected):
        raise UsageError(f"{name}: found shape {np.shape(array)}, expected {tuple(expected)}")


def reordered(array: Any, found: str, expected: str) -> np.ndarray:
    """The blocks of the last axis, one a gate, from the order of the letters `found` to that of `expected`."""
    if sorted(found) != sorted(expected):
        raise UsageError(f"gate order: found {','.join(found)}, expected an order of {','.join(expected)}")
    blocks = dict(zip(found, np.split(np.asarray(array), len(found), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in expected], axis=-1)
