"""Recurrent weights in `.npz` and `.safetensors` files: plain arrays by name, and the order of their gates."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from seqjax.errors import DataError, UsageError
from seqjax.interop.recurrent.layers import SHARED_NAMES, Weights, assembled, reordered, stack_of
from seqjax.numpy_files import npz_names, read_npz
from seqjax.types import Params

GATE_ORDER = "gate_order"
GATED = ("input_kernel", "recurrent_kernel", "bias", "input_scale", "recurrent_scale")
OWN_NAMES = (*SHARED_NAMES, *GATED[3:], "memory_scale", "memory_bias", "initial_h", "initial_c")


def save_weights(path: str | Path, params: Weights) -> None:
    """Writes arrays named `layer_0_forward/input_kernel` and so on; the suffix of `path` says in which format.

    Beside them stands `gate_order`, such as `i,f,g,o`: as metadata in a `.safetensors`, as a text array in an `.npz`.
    NumPy has no bfloat16: in an `.npz` such weights are float32, of the same values.
    """
    layers = stack_of(params, OWN_NAMES)
    orders = {layer.gates for layer in layers}
    if len(orders) != 1:
        raise UsageError(f"params: found cells with the gates {sorted(orders)}, expected one kind of cell in a file")
    order = ",".join(orders.pop())
    arrays = {f"{layer.name}/{name}": np.asarray(a) for layer in layers for name, a in layer.params.items()}
    if suffix_of(path) == ".npz":
        arrays = {name: a.astype(np.float32) if a.dtype == jnp.bfloat16 else a for name, a in arrays.items()}
        np.savez(path, **arrays, **{GATE_ORDER: np.array(order)})
    else:
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path, {GATE_ORDER: order})


def load_weights(path: str | Path, like: Weights) -> Params:
    """The weights of a file as params with the form of `like`; gates in another order are put into the order here.

    Raises `UsageError` on missing and unknown names, on wrong shapes, and on a gate order that is missing or another
    cell's; `DataError` on a file that cannot be read.
    """
    arrays, order = read_arrays(Path(path))
    if order is None:
        raise UsageError(f"{path}: found no {GATE_ORDER!r}, expected one such as i,f,g,o beside the arrays")
    layers = stack_of(like, OWN_NAMES)
    found = order.replace(",", "")
    for layer in layers:
        # before the names: of another cell's file this says more than a list of them
        if sorted(found) != sorted(layer.gates):
            raise UsageError(f"{path}: found the gate order {order!r}, expected an order of {','.join(layer.gates)}")
    expected = {f"{layer.name}/{name}" for layer in layers for name in layer.params}
    if set(arrays) != expected:
        unknown, missing = sorted(set(arrays) - expected), sorted(expected - set(arrays))
        raise UsageError(f"{path}: unknown weights {unknown}, missing weights {missing}")
    converted = []
    for layer in layers:
        weights = {name: arrays[f"{layer.name}/{name}"] for name in layer.params}
        for name in GATED:
            if name in weights and weights[name].shape[-1] % len(found) == 0:
                weights[name] = reordered(weights[name], found, layer.gates)
        converted.append(weights)
    return assembled(like, layers, converted)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays of a file and its gate order."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    suffix = suffix_of(path)
    try:
        if suffix == ".npz":
            arrays = read_npz(path, npz_names(path))
            order = arrays.pop(GATE_ORDER, None)
            return arrays, None if order is None else _text(order, path)
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get(GATE_ORDER)  # noqa: SIM118
    except DataError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as {suffix}: {error}") from error


def _text(array: np.ndarray, path: Path) -> str:
    """The text of an array of one, by its code points: of those that are none NumPy makes a string that crashes."""
    kind, byte_order = array.dtype.kind, array.dtype.byteorder
    codes = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(byte_order)) if kind == "U" else None
    if codes is None or array.ndim or (codes >= 128).any():
        raise DataError(f"{path}: {GATE_ORDER!r} is {array.dtype} {list(array.shape)}, expected a text such as i,f,g,o")
    return codes.astype(np.uint8).tobytes().rstrip(b"\0").decode()


def suffix_of(path: str | Path) -> str:
    suffix = Path(path).suffix
    if suffix not in (".npz", ".safetensors"):
        raise UsageError(f"path: found the suffix {suffix!r}, expected .npz or .safetensors")
    return suffix
