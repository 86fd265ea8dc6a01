"""Nearest rows of one set to those of another, a block of rows at a time: are samples new, or copies? On the host."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Shaped

from seqjax.errors import DataError, require

LARGEST = 1e18
"""Size of a value up to which squared distances of any number of features stay within float32."""


class Nearest(NamedTuple):
    """For each of N rows its k nearest references, the nearest first: Euclidean distances [N k], row numbers [N k]."""

    distances: np.ndarray
    rows: np.ndarray


class Copying(NamedTuple):
    """How near generated rows lie to the training rows, beside how near new rows of the same source do.

    ratio: median distance of generated rows to their nearest training row, over that of held-out rows. About 1 for a
        generator that neither copies nor misses; 0 for one that only copies.
    share: share of generated rows as near to a training row as the nearest 1 % of held-out rows are; 0.01 by chance.
    nearest: the training rows nearest to the generated ones.
    """

    ratio: float
    share: float
    nearest: Nearest


def checked_rows(rows: Shaped[np.ndarray, "..."], name: str, *, at_least: int = 1) -> Float[np.ndarray, "N D"]:
    """The rows in float64. Raises DataError, naming them, unless they are [N D], finite, and enough."""
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise DataError(f"{name}: found shape {list(rows.shape)}, expected [N, D]: one row of features an example.")
    if len(rows) < at_least:
        raise DataError(f"{name}: found {len(rows)} rows, expected at least {at_least}.")
    rows = rows.astype(np.float64)
    bad = np.argwhere(~(np.abs(rows) <= LARGEST))  # so that NaN is bad too
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{name}: found {rows[row, column]} at row {row}, column {column} (counted from 0), and {len(bad) - 1} more"
            f" such values; expected finite numbers up to {LARGEST:g}."
        )
    return rows


def checked_pair(
    one: Shaped[np.ndarray, "..."], other: Shaped[np.ndarray, "..."], names: tuple[str, str], *, at_least: int = 1
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "M D"]]:
    """`checked_rows` of both. Raises DataError, too, where they have different numbers of features."""
    one, other = (checked_rows(rows, name, at_least=at_least) for rows, name in zip((one, other), names, strict=True))
    if one.shape[1] != other.shape[1]:
        raise DataError(f"{names[0]} have {one.shape[1]} features and {names[1]} {other.shape[1]}, expected as many.")
    return one, other


def squared_distances(
    points: Float[np.ndarray, "N D"], references: Float[np.ndarray, "M D"], *, chunk: int = 500
) -> Iterator[tuple[slice, Float32[np.ndarray, "n M"]]]:
    """Squared distances of `chunk` points at a time to all references, as `(which points, distances)`.

    Computed in float64 from products, which are known to 1e-12 of the squared norms: nearer pairs than that count as
    equal. Rounded to float32, so that equal distances computed on two ways compare as equal.
    """
    require(chunk >= 1, "chunk", chunk, "at least 1 row")
    points, references = np.asarray(points, np.float64), np.asarray(references, np.float64)
    # norms about the references' own mean are the smallest to be had, and so is the rounding
    centre = references.mean(axis=0)
    references = references - centre
    reference_norms = np.square(references).sum(axis=1)
    for start in range(0, len(points), chunk):
        block = points[start : start + chunk] - centre
        norms = np.square(block).sum(axis=1)[:, None] + reference_norms
        squared = norms - 2 * block @ references.T
        squared[squared < 1e-12 * norms] = 0
        yield slice(start, start + len(block)), squared.astype(np.float32)


def nearest(
    points: Shaped[np.ndarray, "N D"], references: Shaped[np.ndarray, "M D"], *, k: int = 1, chunk: int = 500
) -> Nearest:
    """The `k` nearest references of each point. Of equally near ones any come first.

    Raises DataError for values that are not finite and for fewer than `k` references.
    """
    require(k >= 1, "k", k, "at least 1 neighbour")
    points, references = checked_pair(points, references, ("points", "references"))
    checked_rows(references, "references", at_least=k)
    distances = np.empty((len(points), k), np.float32)
    rows = np.empty((len(points), k), np.int64)
    for place, squared in squared_distances(points, references, chunk=chunk):
        found = np.argpartition(squared, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(squared, found, axis=1)
        order = np.argsort(values, axis=1)
        rows[place] = np.take_along_axis(found, order, axis=1)
        distances[place] = np.sqrt(np.take_along_axis(values, order, axis=1))
    return Nearest(distances, rows)


def squared_radii(rows: Float[np.ndarray, "N D"], *, k: int, chunk: int = 500) -> Float32[np.ndarray, "N"]:
    """Squared distance of each row to its k-th nearest other row."""
    radii = np.empty(len(rows), np.float32)
    for place, squared in squared_distances(rows, rows, chunk=chunk):
        # among N distances the smallest is that of the row to itself
        radii[place] = np.partition(squared, k, axis=1)[:, k]
    return radii


def copying(
    generated: Shaped[np.ndarray, "N D"],
    train: Shaped[np.ndarray, "M D"],
    held_out: Shaped[np.ndarray, "L D"],
    *,
    chunk: int = 500,
) -> Copying:
    """Whether generated rows are nearer to the training rows than held-out rows of the same source are.

    Both are compared with all training rows, so that nothing depends on the number of held-out ones. Raises DataError
    for values that are not finite, and where half of the held-out rows are training rows.
    """
    generated, train = checked_pair(generated, train, ("generated rows", "training rows"))
    held_out, _ = checked_pair(held_out, train, ("held-out rows", "training rows"))
    found = nearest(generated, train, chunk=chunk)
    expected = nearest(held_out, train, chunk=chunk).distances[:, 0]
    usual = float(np.median(expected))
    if usual == 0:
        raise DataError("held-out rows: at least half of them are training rows, expected rows that are new.")
    own = found.distances[:, 0]
    share = float((own <= np.quantile(expected, 0.01)).mean())
    return Copying(float(np.median(own)) / usual, share, found)


def measures(row: str, copies: Copying) -> dict[str, float]:
    """A table row: `copy_ratio`, `copy_share`."""
    return {f"{row}/copy_ratio": copies.ratio, f"{row}/copy_share": copies.share}
