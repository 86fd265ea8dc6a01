"""What the cells share about their weights: drawing them gate by gate, checking them, multiplying by them."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float

from seqjax.errors import UsageError
from seqjax.types import Key, Params

Initializer = Callable[[Key, tuple[int, ...]], Array]

glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
orthogonal: Initializer = jax.nn.initializers.orthogonal()


def identity(key: Key, shape: tuple[int, ...]) -> Array:
    """The identity matrix, whatever the key: a state that nothing is added to stays as it is (Le et al. 2015)."""
    return jnp.eye(*shape)


def gate_blocks(init: Initializer, key: Key, rows: int, columns: int, num_gates: int) -> Float[Array, "rows gates"]:
    """`num_gates` kernels `[rows, columns]` side by side, each drawn alone, so that its fan is that of one gate."""
    return jnp.concatenate([init(k, (rows, columns)) for k in jax.random.split(key, num_gates)], axis=1)


def require_weights(params: Params, expected: dict[str, tuple[int, ...]]) -> None:
    """Raises `UsageError` unless `params` is a dict with exactly the names and shapes of `expected`."""
    if not isinstance(params, dict):
        raise UsageError(f"params: found {type(params).__name__}, expected a dict with the weights {sorted(expected)}")
    if set(params) != set(expected):
        unknown, missing = sorted(set(params) - set(expected)), sorted(set(expected) - set(params))
        raise UsageError(f"params: unknown weights {unknown}, missing weights {missing}; expected {sorted(expected)}")
    for name, shape in expected.items():
        if jnp.shape(params[name]) != shape:
            of_inputs = f" for inputs of size {shape[0]}" if name == "input_kernel" else ""
            raise UsageError(f"params[{name!r}]: found shape {jnp.shape(params[name])}, expected {shape}{of_inputs}")


def own_input_size(params: Params) -> int:
    """D as the weights have it; 0 where they are none of a cell's, for `require_weights` to say so."""
    shape = jnp.shape(params["input_kernel"]) if isinstance(params, dict) and "input_kernel" in params else ()
    return shape[0] if shape else 0


def require_matrix(name: str, value: Array) -> None:
    """Raises `UsageError` unless `value` has the two axes `[B, D]`."""
    if jnp.ndim(value) != 2:
        raise UsageError(f"{name}: found shape {jnp.shape(value)} at a step, expected [B, D]")


def matmul(x: Float[Array, "... D"], kernel: Float[Array, "D H"], product_dtype: DTypeLike | None) -> Array:
    """`x @ kernel`; factors rounded to `product_dtype` where given, sums kept in the dtype of `x @ kernel`."""
    if product_dtype is None:
        return x @ kernel
    return lax.dot_general(
        x.astype(product_dtype),
        kernel.astype(product_dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=jnp.result_type(x, kernel),
    )


def affine(x: Float[Array, "... D"], kernel: Float[Array, "D H"], bias: Float[Array, " H"], product_dtype) -> Array:
    """`x @ kernel + bias`, see `matmul`."""
    z = matmul(x, kernel, product_dtype)
    return z + jnp.broadcast_to(bias, z.shape)


def summed_outer(
    xs: Float[Array, "*batch D"], deltas: Float[Array, "*batch H"], product_dtype: DTypeLike | None
) -> Float[Array, "D H"]:
    """The gradient of a kernel as one matrix product: `sum_n xs[n]^T deltas[n]` over all leading axes."""
    xs, deltas = xs.reshape(-1, xs.shape[-1]), deltas.reshape(-1, deltas.shape[-1])
    return matmul(xs.T, deltas, product_dtype)


def summed_outers(
    inputs: Sequence[Float[Array, "*batch _"]], deltas: Float[Array, "*batch H"], product_dtype: DTypeLike | None
) -> list[Float[Array, "_ H"]]:
    """`summed_outer` of each input with the same deltas, by one product for all."""
    # transposed by a copy of its own: of the factors of one large product XLA on CPUs reads rows faster than columns
    joined = lax.optimization_barrier(jnp.concatenate([xs.reshape(-1, xs.shape[-1]).T for xs in inputs]))
    gradients = matmul(joined, deltas.reshape(-1, deltas.shape[-1]), product_dtype)
    return jnp.split(gradients, np.cumsum([xs.shape[-1] for xs in inputs])[:-1])


def summed(deltas: Float[Array, "*batch H"]) -> Float[Array, " H"]:
    """The gradient of a bias: the sum over all leading axes."""
    return deltas.sum(axis=tuple(range(deltas.ndim - 1)))


def batched(row: Float[Array, " H"], batch_size: int) -> Float[Array, "B H"]:
    """The same row for every example."""
    return jnp.broadcast_to(row, (batch_size, *row.shape))
