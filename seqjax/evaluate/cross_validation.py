"""Errors of candidates over folds: their means with standard errors, and the choice by them. On the host.

Candidates stand in order from the simplest, whatever that means for what is chosen.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from seqjax.errors import DataError, require

Rule = Literal["one_standard_error", "best"]


class Curve(NamedTuple):
    """Mean error over folds of each candidate and its standard error, both [C]; the rows of the best and the chosen."""

    mean: np.ndarray
    standard_error: np.ndarray
    best: int
    chosen: int


def fold_errors(
    errors: Float[np.ndarray, "K N"], values: Int[np.ndarray, "N"], folds: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "K"]:
    """Mean error a value of each fold under the model that was trained without it, row k of `errors` for fold k.

    errors: of each example, summed over its values, of which there are `values`. Raises DataError for a fold of none.
    """
    held_out = np.asarray(folds)[None, :] == np.arange(len(errors))[:, None]
    count = (held_out * values).sum(axis=1)
    if not count.all():
        raise DataError(f"fold {count.argmin()} holds no value; expected one at least.\nLower the number of folds.")
    # a model of other folds may have diverged on these examples, and is not asked about them
    return np.where(held_out, errors, 0.0).sum(axis=1, dtype=np.float64) / count


def curve(errors: Float[np.ndarray, "C K"], *, rule: Rule = "one_standard_error") -> Curve:
    """From the mean error of each candidate on each fold.

    `best` is the candidate with the least mean error. The rule chooses it, or the first candidate, so the simplest,
    with a mean at most one standard error of the best above the best. Candidates with an error that is not finite are
    never chosen; raises DataError where there is no other.
    Source: Breiman, Friedman, Olshen & Stone 1984, section 3.4.3; Hastie, Tibshirani & Friedman 2009, section 7.10.
    """
    errors = np.asarray(errors, np.float64)
    require(errors.shape[1] >= 2, "folds", errors.shape[1], "at least 2")
    finite = np.isfinite(errors).all(axis=1)
    if not finite.any():
        raise DataError("no candidate has finite errors on all folds; expected one at least.\nLower the learning rate.")
    # NaN rather than infinities, which have no spread
    known = np.where(finite[:, None], errors, np.nan)
    mean, standard_error = known.mean(axis=1), known.std(axis=1, ddof=1) / np.sqrt(errors.shape[1])
    best = int(np.nanargmin(mean))
    within = mean <= mean[best] + (standard_error[best] if rule == "one_standard_error" else 0.0)
    return Curve(mean, standard_error, best, int(np.argmax(within)))


def curve_measures(
    field: str, candidates: Sequence[int | float], found: Curve, test_errors: Sequence[float]
) -> dict[str, float]:
    """Rows `FIELD_VALUE` of all candidates, and `best` and `chosen`, which say the value as `/FIELD`.

    test_errors: of each candidate trained on all folds; no part of the choice.
    """
    columns = {"fold_error": found.mean, "standard_error": found.standard_error, "test_error": test_errors}
    measures = {
        f"{candidate_name(field, value)}/{column}": float(values[row])
        for row, value in enumerate(candidates)
        for column, values in columns.items()
    }
    for name, row in (("best", found.best), ("chosen", found.chosen)):
        measures[f"{name}/{field}"] = float(candidates[row])
        measures |= {f"{name}/{column}": float(values[row]) for column, values in columns.items()}
    return measures


def candidate_name(field: str, value: int | float) -> str:
    return f"{field}_{value:g}"
