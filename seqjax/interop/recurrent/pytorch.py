"""Weights of `torch.nn.RNN`, `LSTM` and `GRU`, as the arrays of a `state_dict`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from seqjax.errors import UsageError
from seqjax.interop.recurrent.layers import Layer, Weights, assembled, require_shape, stack_of
from seqjax.types import Params

# the gates have the same order there: i, f, g, o and r, z, n


def torch_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """PyTorch's shapes by the part of their names before `_l0`; two biases are added there."""
    rows = len(layer.gates) * layer.hidden_size
    if layer.gates == "rzn" and "candidate_bias" not in layer.params:
        raise UsageError(f"{layer.name}: found a GRU with reset before, expected reset after, the one of PyTorch")
    shapes = {
        "weight_ih": (rows, layer.params["input_kernel"].shape[0]),
        "weight_hh": (rows, layer.params["recurrent_kernel"].shape[0]),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }
    return shapes | ({"weight_hr": layer.params["projection"].shape[::-1]} if "projection" in layer.params else {})


def torch_name(part: str, layer: Layer, prefix: str) -> str:
    return f"{prefix}{part}_l{layer.index}{'_reverse' if layer.backward else ''}"


def from_pytorch(state_dict: Mapping[str, Any], like: Weights, *, prefix: str = "") -> Params:
    """The arrays of a `state_dict` as params with the form of `like`, which may hold shapes alone (`jax.eval_shape`).

    prefix: what stands before the names, such as `encoder.rnn.`; entries without it are another module's. A module
    without biases (`bias=False`) gets zeros.

    Raises `UsageError` on missing and unknown names and on wrong shapes, such as those of another kind of cell.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import RNN, from_pytorch, gru, to_pytorch
        >>> params = RNN(gru, 5).init(jax.random.key(0), jnp.ones((1, 1, 3)))["params"]
        >>> arrays = to_pytorch(params)  # as those of torch.nn.GRU(3, 5).state_dict()
        >>> again = from_pytorch(arrays, like=params)
        >>> bool(jnp.allclose(again["layer_0_forward"]["input_kernel"], params["layer_0_forward"]["input_kernel"]))
        True
    """
    arrays = {name: np.asarray(value) for name, value in state_dict.items() if name.startswith(prefix)}
    layers, converted, unused = stack_of(like), [], set(arrays)
    biased = any(name.removeprefix(prefix).startswith("bias_") for name in arrays)
    for layer in layers:
        parts = {}
        for part, shape in torch_shapes(layer).items():
            name = torch_name(part, layer, prefix)
            if name not in arrays and (biased or part.startswith("weight_")):
                raise UsageError(f"state_dict: {name!r} is missing, expected an array of shape {shape}")
            parts[part] = arrays.get(name, np.zeros(shape, np.float32))
            require_shape(f"state_dict[{name!r}]", parts[part], shape)
            unused.discard(name)
        weights = {"input_kernel": parts["weight_ih"].T, "recurrent_kernel": parts["weight_hh"].T}
        if layer.gates == "rzn":
            # the recurrent bias of the candidate is multiplied by the reset gate, so it cannot join the other
            merged = parts["bias_hh"].copy()
            merged[2 * layer.hidden_size :] = 0
            weights |= {"bias": parts["bias_ih"] + merged, "candidate_bias": parts["bias_hh"][2 * layer.hidden_size :]}
        else:
            weights |= {"bias": parts["bias_ih"] + parts["bias_hh"]}
        if "weight_hr" in parts:
            weights |= {"projection": parts["weight_hr"].T}
        converted.append(weights)
    if unused:
        raise UsageError(f"state_dict: unknown weights {sorted(unused)} for {len(layers)} layers and directions")
    return assembled(like, layers, converted)


def to_pytorch(params: Weights, *, prefix: str = "") -> dict[str, np.ndarray]:
    """NumPy arrays by the names of a `state_dict`; where PyTorch adds two biases, the second is zero.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import RNN, gru, to_pytorch
        >>> params = RNN(gru, 5).init(jax.random.key(0), jnp.ones((1, 1, 3)))["params"]
        >>> {name: array.shape for name, array in to_pytorch(params).items()}
        {'weight_ih_l0': (15, 3), 'weight_hh_l0': (15, 5), 'bias_ih_l0': (15,), 'bias_hh_l0': (15,)}
    """
    state_dict = {}
    for layer in stack_of(params):
        shapes = torch_shapes(layer)
        weights = {name: np.asarray(value) for name, value in layer.params.items()}
        parts = {
            "weight_ih": weights["input_kernel"].T,
            "weight_hh": weights["recurrent_kernel"].T,
            "bias_ih": weights["bias"],
            "bias_hh": np.zeros_like(weights["bias"]),
        }
        if layer.gates == "rzn":
            parts["bias_hh"][2 * layer.hidden_size :] = weights["candidate_bias"]
        if "projection" in weights:
            parts["weight_hr"] = weights["projection"].T
        state_dict |= {torch_name(part, layer, prefix): np.ascontiguousarray(parts[part]) for part in shapes}
    return state_dict
