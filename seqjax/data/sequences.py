"""Any data set of sequences in one form: lines of a text, piano rolls, series, each of a length of its own.

Fields: `x [N T]` int32 symbols of a text, `x [N T D]` bool of zeros and ones, or float32; `length [N]`; `label [N]`
where the data have it. What is past the length has no meaning.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from seqjax.data.scaling import Scale, standardised
from seqjax.data.text import encode, vocabulary
from seqjax.errors import DataError, require
from seqjax.types import Dataset, Split

Likelihood = Literal["bernoulli", "categorical", "gaussian"]

NEWLINE = ord("\n")


class Sequences(NamedTuple):
    """The data, and what kind they are.

    likelihood: "categorical" for a text, "bernoulli" where all values are 0 or 1, else "gaussian".
    num_values: of a step: the number of symbols, or of features.
    known: the vocabulary of a text, see `seqjax.data.text`.
    scale: what Gaussian features were standardised by.
    """

    data: Dataset
    likelihood: Likelihood
    num_values: int
    known: Int[np.ndarray, "V"] | None = None
    scale: Scale | None = None


def sequences(data: Dataset, *, max_length: int) -> Sequences:
    """The data set with every sequence of more than `max_length` steps cut into equal parts, in all splits.

    A text is cut at its line ends, which stay at the end of their lines. Features that are not all 0 or 1 are
    standardised as the training split has them. Raises DataError for data that hold no sequences, or missing values.
    """
    require(max_length >= 1, "max_length", max_length, "at least 1 step")
    x = data.train.fields["x"]
    if x.ndim == 1:
        return _text(data, max_length)
    if x.ndim != 3:
        raise DataError(
            f"{data.name} has x of shape {list(x.shape)}; expected sequences, x [N, T, D], or a text.\n"
            "A series of one channel is [N, T, 1]."
        )
    if "mask" in data.train.fields:
        raise DataError(f"{data.name} has missing values; fill them, or leave out the series that have some.")
    splits = (data.train, data.validation, data.test)
    if all(np.isin(np.asarray(split.fields["x"]), (0, 1)).all() for split in splits):
        scale, likelihood, dtype = None, "bernoulli", bool
    else:
        data, scale = standardised(data)
        likelihood, dtype = "gaussian", np.float32

    def parts(split: Split) -> Split:
        values = np.asarray(split.fields["x"], dtype)
        whole = split.fields.get("length", np.full(len(values), values.shape[1], np.int32))
        labels = split.fields.get("label")
        rows = [row[:length] for row, length in zip(values, np.asarray(whole), strict=True)]
        return _padded(rows, max_length, None if labels is None else np.asarray(labels), values[:0, 0])

    return Sequences(_mapped(data, parts), likelihood, x.shape[2], scale=scale)


def lines_of(text: Int[np.ndarray, "_"], newline: int) -> list[np.ndarray]:
    """The lines of a text, each with the newline at its end; the last perhaps without."""
    ends = np.flatnonzero(text == newline) + 1
    return [line for line in np.split(text, ends) if len(line)]


def _text(data: Dataset, max_length: int) -> Sequences:
    known = vocabulary(np.asarray(data.train.fields["x"]))

    def parts(split: Split) -> Split:
        lines = lines_of(np.asarray(split.fields["x"]), NEWLINE)
        return _padded([encode(line, known) for line in lines], max_length, None, np.zeros((0,), np.int32))

    return Sequences(_mapped(data, parts), "categorical", len(known) + 1, known=known)


def _mapped(data: Dataset, function: Callable[[Split], Split]) -> Dataset:
    return data._replace(**{name: function(getattr(data, name)) for name in ("train", "validation", "test")})


def _padded(rows: list[np.ndarray], max_length: int, labels: np.ndarray | None, empty: np.ndarray) -> Split:
    """Rows `[t ...]` cut and padded with zeros to the longest part; `empty [0 ...]` is what a step looks like."""
    cut = [np.array_split(row, max(1, -(-len(row) // max_length))) for row in rows]
    parts = [part for own in cut for part in own]
    lengths = np.asarray([len(part) for part in parts], np.int32)
    x = np.zeros((len(parts), lengths.max(initial=1), *empty.shape[1:]), empty.dtype)
    for row, part in zip(x, parts, strict=True):
        row[: len(part)] = part
    fields = {"x": x, "length": lengths}
    if labels is not None:
        fields["label"] = np.repeat(labels, [len(own) for own in cut])
    return Split(fields)
