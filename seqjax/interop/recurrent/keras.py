"""Weights of Keras' `SimpleRNN`, `LSTM` and `GRU`, as the arrays of `get_weights`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.errors import UsageError
from seqjax.interop.recurrent.layers import Layer, Weights, assembled, reordered, require_shape, stack_of
from seqjax.types import Params

KERAS_GATES = {"h": "h", "rzn": "zrn", "ifgo": "ifgo"}  # Keras writes h for n, c for g


def keras_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    if "projection" in layer.params:
        raise UsageError(f"{layer.name}: found an LSTM with a projection, which Keras lacks")
    columns = len(layer.gates) * layer.hidden_size
    return {
        "kernel": (layer.params["input_kernel"].shape[0], columns),
        "recurrent_kernel": (layer.hidden_size, columns),
        "bias": (2, columns) if "candidate_bias" in layer.params else (columns,),
    }


def from_keras(weights: Sequence[Any], like: Weights) -> Params:
    """The arrays of `get_weights` as params with the form of `like`, which may hold shapes alone (`jax.eval_shape`).

    weights: kernel, recurrent kernel and bias of each layer in turn, the forward before the backward direction: the
        order in which a Keras model of recurrent layers, `Bidirectional` or not, lists them.

    Raises `UsageError` on another number of arrays and on wrong shapes, such as those of another kind of cell.
    """
    layers = stack_of(like)
    if len(weights) != 3 * len(layers):
        raise UsageError(
            f"weights: found {len(weights)} arrays, expected {3 * len(layers)}: kernel, recurrent_kernel and bias of "
            f"{len(layers)} layers and directions"
        )
    converted = []
    for k, layer in enumerate(layers):
        parts = {}
        for (part, shape), array in zip(keras_shapes(layer).items(), weights[3 * k : 3 * k + 3], strict=True):
            require_shape(f"weights of {layer.name}, {part}", array, shape)
            parts[part] = reordered(array, KERAS_GATES[layer.gates], layer.gates)
        arrays = {"input_kernel": parts["kernel"], "recurrent_kernel": parts["recurrent_kernel"], "bias": parts["bias"]}
        if "candidate_bias" in layer.params:
            given, recurrent = parts["bias"]
            size = 2 * layer.hidden_size
            arrays["bias"] = np.concatenate([given[:size] + recurrent[:size], given[size:]])
            arrays["candidate_bias"] = recurrent[size:]
        converted.append(arrays)
    return assembled(like, layers, converted)


def to_keras(params: Weights) -> list[np.ndarray]:
    """NumPy arrays in the order of `set_weights`; where Keras adds two biases, the second is zero."""
    arrays = []
    for layer in stack_of(params):
        keras_shapes(layer)
        weights = {name: np.asarray(value) for name, value in layer.params.items()}
        bias = weights["bias"]
        if "candidate_bias" in weights:
            recurrent = np.concatenate([np.zeros_like(bias[: 2 * layer.hidden_size]), weights["candidate_bias"]])
            bias = np.stack([bias, recurrent])
        parts = (weights["input_kernel"], weights["recurrent_kernel"], bias)
        arrays += [reordered(part, layer.gates, KERAS_GATES[layer.gates]) for part in parts]
    return arrays
