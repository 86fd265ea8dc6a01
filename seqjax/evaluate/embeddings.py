"""One matrix of encoders and tasks: any encoder of a data set meets any task on its rows.

    encoders = {"raw": values_of, "pca": principal_components(data.train, 10), "vae": learned(encode)}
    tasks = (clustering(10), linear_probe())
    embedding_matrix(encoders, tasks, data)  # {"pca/nmi": ..., "vae/probe_accuracy": ..., ...}

Encoders are fitted on the training split. Tasks stand in `seqjax.evaluate.embedding_tasks`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from seqjax.data.batches import intensities
from seqjax.errors import require
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.reconstruction import fitted_pca, values_of
from seqjax.types import Batch, Dataset, Split

Encoder = Callable[[Split], Float[np.ndarray | Array, "N Z"]]


class Embedded(NamedTuple):
    """The rows [N Z] of each split, float64, and the data they stand for."""

    train: Float[np.ndarray, "N Z"]
    validation: Float[np.ndarray, "V Z"]
    test: Float[np.ndarray, "M Z"]
    data: Dataset


Task = Callable[[Embedded], dict[str, float]]


def rows_of(split: Split) -> Float[np.ndarray | Array, "N D"]:
    """`values_of`; of a traced `x`, which the host cannot read, the same in float32."""
    x = split.fields["x"]
    if not isinstance(x, jax.core.Tracer):
        return values_of(split)
    return intensities(x).reshape(x.shape[0], math.prod(x.shape[1:])).astype(jnp.float32)


def principal_components(train: Split, size: int) -> Encoder:
    """Projections on the first `size` principal axes of the training rows, of which there may be fewer."""
    require(size >= 1, "size", size, "at least 1 component")
    pca = fitted_pca(values_of(train), size)

    def encoder(split: Split) -> Float[np.ndarray | Array, "N Z"]:
        if isinstance(split.fields["x"], jax.core.Tracer):
            centred = rows_of(split) - jnp.asarray(pca.mean_, jnp.float32)[None]
            return jnp.matmul(centred, jnp.asarray(pca.components_.T, jnp.float32), precision=lax.Precision.HIGHEST)
        # scikit-learn refuses an empty validation split
        return pca.transform(values_of(split)) if split.num_examples else np.zeros((0, pca.n_components_))

    return encoder


def random_projection(train: Split, size: int, *, seed: int = 0) -> Encoder:
    """Projections on `size` Gaussian directions that know nothing of the data (Johnson & Lindenstrauss 1984)."""
    require(size >= 1, "size", size, "at least 1 direction")
    num_values = values_of(train).shape[1]
    directions = np.random.RandomState(seed).standard_normal((num_values, size)) / np.sqrt(size)
    return lambda split: values_of(split) @ directions


def learned(encode: Callable[[Batch], Float[Array, "B Z"]], *, chunk: int = 1000) -> Encoder:
    """The rows that a model makes of batches of `chunk` examples."""
    rows = jax.jit(lambda split: per_example(encode, split, chunk=chunk))

    def encoder(split: Split) -> Float[np.ndarray, "N Z"]:
        if split.num_examples:
            return np.asarray(rows(split), np.float64)
        # an empty validation split has no example to take a chunk of
        padded = Split({name: np.zeros((1, *field.shape[1:]), field.dtype) for name, field in split.fields.items()})
        return np.zeros((0, jax.eval_shape(rows, padded).shape[1]))

    return encoder


def embedded(encoder: Encoder, data: Dataset) -> Embedded:
    """All splits through one encoder."""
    return Embedded(*(encoder(split) for split in (data.train, data.validation, data.test)), data)


def embedding_matrix(encoders: Mapping[str, Encoder], tasks: Sequence[Task], data: Dataset) -> dict[str, float]:
    """`encoder/measure` for every encoder and every measure of every task. Each encoder runs once."""
    found = {}
    for name, encoder in encoders.items():
        rows = embedded(encoder, data)
        found |= {f"{name}/{measure}": value for task in tasks for measure, value in task(rows).items()}
    return found
