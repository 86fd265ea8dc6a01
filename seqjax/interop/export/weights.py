"""Weights by names such as `encoder/dense_0/kernel`, as arrays of a safetensors file, bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import PyTree, Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seqjax.errors import DataError, UsageError
from seqjax.storage import write_atomically

Named = dict[str, Array]


def named_weights(tree: PyTree[Array]) -> Named:
    """The leaves of a tree of arrays by their path, `/` between its parts; levels called `params` are left out.

    Flax puts all weights of a model below `params`, which says nothing. Raises `UsageError` where two leaves would have
    one name.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import named_weights
        >>> sorted(named_weights({"params": {"encoder": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}}))
        ['encoder/bias', 'encoder/kernel']
    """
    found: Named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = path_name(path)
        if name in found:
            raise UsageError(f"weights: found {name!r} twice, expected another name for each below `params`")
        found[name] = leaf
    return found


def path_name(path: tuple[Any, ...]) -> str:
    parts = [str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path]
    return "/".join(part for part in parts if part != "params")


def weights_like(weights: Mapping[str, Any], like: PyTree[Any]) -> PyTree[Array]:
    """The arrays of `named_weights` as a tree of the form of `like`, which may hold shapes alone (`jax.eval_shape`).

    Raises `UsageError` on missing and unknown names and on another shape or dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax.interop.export import named_weights, weights_like
        >>> params = {"params": {"encoder": {"kernel": jnp.ones((2, 3))}}}
        >>> weights_like(named_weights(params), like=params)["params"]["encoder"]["kernel"].shape
        (2, 3)
    """
    expected = named_weights(like)
    if set(weights) != set(expected):
        unknown, missing = sorted(set(weights) - set(expected)), sorted(set(expected) - set(weights))
        raise UsageError(f"weights: unknown {unknown}, missing {missing}")
    for name, leaf in expected.items():
        found = weights[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise UsageError(
                f"weights: {name!r} is {found.dtype}{list(found.shape)}, expected {leaf.dtype}{list(leaf.shape)}"
            )
    return jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(weights[path_name(path)]), like)


def save_named_weights(
    path: str | Path,
    weights: Mapping[str, Shaped[Array | np.ndarray, "..."]],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes arrays by name into a `.safetensors` file; the file is there whole or not at all."""
    arrays = {name: np.asarray(value, order="C") for name, value in weights.items()}
    write_atomically(Path(path), save(arrays, dict(metadata) if metadata else None))


def load_named_weights(path: str | Path) -> Named:
    """The arrays of a `.safetensors` file by name, bit for bit.

    Raises `DataError` for a file that cannot be read, or holds 64 bits a number where JAX is set to keep 32.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # NumPy has not all kinds of numbers that the format has
    except (OSError, ValueError, AttributeError, TypeError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as safetensors: {' '.join(str(error).split())}") from None
    found = {name: jnp.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if found[name].dtype != array.dtype:
            raise DataError(f"{path}: {name!r} is {array.dtype}, which JAX keeps with jax_enable_x64 alone.")
    return found
