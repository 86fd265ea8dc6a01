"""Rows as scikit-learn hands them over, checked, and the values that functions have for them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, PyTree, Shaped
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from seqjax.errors import DataError
from seqjax.types import Batch

CHUNK = 256  # rows that are looked at together


def checked_rows(estimator: BaseEstimator, X: Any) -> Float[np.ndarray, "N D"]:
    """X in float32, with the features that the estimator was fitted on. Raises ValueError for anything else."""
    check_is_fitted(estimator)
    return validate_data(estimator, X, dtype=np.float32, reset=False)


def checked_codes(estimator: BaseEstimator, codes: Any, code_size: int) -> Float[np.ndarray, "N Z"]:
    """Codes in float32. Raises ValueError where they have another number of units."""
    check_is_fitted(estimator)
    codes = check_array(codes, dtype=np.float32)
    if codes.shape[1] != code_size:
        raise DataError(f"codes: found {codes.shape[1]} units, expected {code_size}, as `transform` gives them.")
    return codes


def by_rows(
    function: Callable[[Any, Batch], Array], params: PyTree[Any], fields: dict[str, Shaped[np.ndarray, "N ..."]]
) -> Shaped[np.ndarray, "N ..."]:
    """`function(params, batch)` of all rows, in chunks of one shape.

    A function is compiled once however many rows there are, and a row's values do not depend on those beside it.
    """
    count = len(next(iter(fields.values())))
    parts = []
    for start in range(0, count, CHUNK):
        rows = np.minimum(np.arange(start, start + CHUNK), count - 1)
        values = _compiled(function, params, {name: field[rows] for name, field in fields.items()})
        parts.append(np.asarray(values)[: count - start])
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnames="function")
def _compiled(function: Callable[[Any, Batch], Array], params: PyTree[Any], batch: Batch) -> Array:
    return function(params, batch)
