"""Weights of Flax Linen's `SimpleCell`, `LSTMCell`, `OptimizedLSTMCell` and `GRUCell`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqjax.errors import UsageError
from seqjax.interop.recurrent.layers import Layer, Weights, assembled, require_shape, stack_of
from seqjax.types import Params


def linen_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """Shapes by `dense/kernel` and `dense/bias`, a dense for each gate and each of input (i) and state (h)."""
    if "projection" in layer.params or (layer.gates == "rzn" and "candidate_bias" not in layer.params):
        raise UsageError(f"{layer.name}: found a projection or a GRU with reset before, which Flax lacks")
    # where a gate's bias sits differs from cell to cell; the GRU's candidate has two
    biased = {"h": ["i"], "rzn": ["ir", "iz", "in", "hn"], "ifgo": ["hi", "hf", "hg", "ho"]}[layer.gates]
    shapes = {}
    for source, rows in (("i", layer.params["input_kernel"].shape[0]), ("h", layer.hidden_size)):
        for gate in layer.gates:
            dense = source if layer.gates == "h" else source + gate
            shapes[f"{dense}/kernel"] = (rows, layer.hidden_size)
            if dense in biased:
                shapes[f"{dense}/bias"] = (layer.hidden_size,)
    return shapes


def from_flax(cells: Sequence[Mapping[str, Any]], like: Weights) -> Params:
    """The params of Flax cells as params with the form of `like`, which may hold shapes alone (`jax.eval_shape`).

    cells: one `{"ii": {"kernel": ...}, ...}` for each layer in turn, the forward before the backward direction.

    Raises `UsageError` on another number of cells, on missing and unknown names, and on wrong shapes.
    """
    layers = stack_of(like)
    if len(cells) != len(layers):
        raise UsageError(f"cells: found {len(cells)}, expected {len(layers)}, one for each layer and direction")
    converted = []
    for layer, cell in zip(layers, cells, strict=True):
        shapes = linen_shapes(layer)
        arrays = {f"{dense}/{part}": np.asarray(a) for dense, parts in cell.items() for part, a in parts.items()}
        if set(arrays) != set(shapes):
            raise UsageError(f"{layer.name}: found the weights {sorted(arrays)}, expected {sorted(shapes)}")
        for name, shape in shapes.items():
            require_shape(f"{layer.name}, {name}", arrays[name], shape)
        elman = layer.gates == "h"

        def side_by_side(source, part, arrays=arrays, layer=layer, elman=elman):
            return np.concatenate([arrays[f"{source}{'' if elman else gate}/{part}"] for gate in layer.gates], axis=-1)

        converted.append(
            {
                "input_kernel": side_by_side("i", "kernel"),
                "recurrent_kernel": side_by_side("h", "kernel"),
                "bias": side_by_side("h" if layer.gates == "ifgo" else "i", "bias"),
            }
            | ({"candidate_bias": arrays["hn/bias"]} if layer.gates == "rzn" else {})
        )
    return assembled(like, layers, converted)


def to_flax(params: Weights) -> list[dict[str, dict[str, np.ndarray]]]:
    """The params of one Flax cell for each layer in turn, the forward before the backward direction."""
    cells = []
    for layer in stack_of(params):
        weights = {name: np.asarray(value) for name, value in layer.params.items()}
        blocks = {
            name: dict(zip(layer.gates, np.split(weights[name], len(layer.gates), axis=-1), strict=True))
            for name in ("input_kernel", "recurrent_kernel", "bias")
        }
        cell: dict[str, dict[str, np.ndarray]] = {}
        for name in linen_shapes(layer):
            dense, part = name.split("/")
            gate = "h" if layer.gates == "h" else dense[1]
            if name == "hn/bias":
                array = weights["candidate_bias"]
            elif part == "bias":
                array = blocks["bias"][gate]
            else:
                array = blocks["input_kernel" if dense[0] == "i" else "recurrent_kernel"][gate]
            cell.setdefault(dense, {})[part] = array
        cells.append(cell)
    return cells
