"""Predictions of text that any model stands beside, and their cost in nats a character. On the host, in float64."""

import bz2
import lzma
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

Symbols = Int[np.ndarray, "_"]
Nats = Float[np.ndarray, "_"]


def unigram(train: Symbols, text: Symbols, *, num_symbols: int) -> Nats:
    """Nats of each character by how often it comes in the training text, with Laplace's rule of succession."""
    counts = np.bincount(train, minlength=num_symbols) + 1
    return -np.log(counts / counts.sum())[text]


class Ngram(NamedTuple):
    """The order, the number of characters looked at with the predicted one, and nats of each character."""

    order: int
    validation: Nats
    test: Nats


def best_ngram(train: Symbols, validation: Symbols, test: Symbols, *, num_symbols: int, longest: int = 10) -> Ngram:
    """The order that predicts the validation text best, each order fitted to the training text by `kneser_ney`.

    The texts follow each other, so that contexts reach back over their borders.
    """
    text = np.concatenate([train, validation, test])
    found = [
        Ngram(order, nats[: len(validation)], nats[len(validation) :])
        for order, nats in enumerate(kneser_ney(text, len(train), num_symbols=num_symbols, longest=longest), start=1)
    ]
    return min(found, key=lambda ngram: ngram.validation.mean())


def kneser_ney(text: Symbols, num_train: int, *, num_symbols: int, longest: int) -> Iterator[Nats]:
    """For every order from 1 to `longest`, nats of each character after the first `num_train`, which are counted.

        p_n(c | h) = (max(a(h c) - D(a(h c)), 0) + left(h) p_{n-1}(c | h without its first)) / sum_c a(h c)

    and p_{n-1} where h was never seen; p_0 is uniform. a is the count at the order itself and at those below it the
    number of different characters seen before the gram; left(h) is what the discounts D took away, which differ for a =
    1, 2 and more, and follow from how many grams come once, twice, ... Source: Chen & Goodman, "An empirical study of
    smoothing techniques for language modeling" (1999), modified Kneser-Ney.
    """
    every = np.arange(num_train)
    below = np.full(len(text) - num_train, 1 / num_symbols)
    # for each place the number of the n - 1 characters before it, and of these with the one that is there
    context = np.zeros(len(text), np.int64)
    event = numbered(text.astype(np.int64))
    for _ in range(longest):
        yield -np.log(interpolated(context, event, every, num_train, below))
        # a longer gram's context is what was the event one place before; before the first stands what is in no text
        next_context = numbered(np.concatenate([[-1], event[:-1]]))
        next_event = numbered(next_context * num_symbols + text)
        # each different longer gram once: so often was the gram seen after another character
        once = np.unique(next_event[:num_train], return_index=True)[1]
        below = interpolated(context, event, once, num_train, below)
        context, event = next_context, next_event


def numbered(keys: Int[np.ndarray, "_"]) -> Int[np.ndarray, "_"]:
    """Equal keys by equal numbers below the length of the text: a product with any symbol still fits in 64 bits."""
    return np.unique(keys, return_inverse=True)[1]


def interpolated(
    context: Int[np.ndarray, "_"],
    event: Int[np.ndarray, "_"],
    counted: Int[np.ndarray, "_"],
    num_train: int,
    below: Float[np.ndarray, "_"],
) -> Float[np.ndarray, "_"]:
    """Probability of each character after the first `num_train`, from the grams at the places `counted` and from below.

    `below`: the same by the order below.
    """
    count = np.bincount(event[counted], minlength=event.max() + 1)
    total = np.bincount(context[counted], minlength=context.max() + 1)
    discount = np.minimum(discounts(count)[np.minimum(count, 3)], count)
    one_of_each = counted[np.unique(event[counted], return_index=True)[1]]
    left = np.bincount(context[one_of_each], weights=discount[event[one_of_each]], minlength=context.max() + 1)
    event, context = event[num_train:], context[num_train:]
    kept = count[event] - discount[event]
    return np.where(total[context] > 0, (kept + left[context] * below) / np.maximum(total[context], 1), below)


def discounts(count: Int[np.ndarray, "_"]) -> Float[np.ndarray, "4"]:
    """What is taken from grams that come 0, 1, 2, and 3 times or more, kept off 0 where a text has too few of them."""
    n1, n2, n3, n4 = (max(1, int((count == times).sum())) for times in (1, 2, 3, 4))
    shared = n1 / (n1 + 2 * n2)
    estimated = [1 - 2 * shared * n2 / n1, 2 - 3 * shared * n3 / n2, 3 - 4 * shared * n4 / n3]
    return np.concatenate([[0], np.clip(estimated, 0.05, [1, 2, 3])])


def compressed(method: Literal["bz2", "lzma"], before: str, text: str) -> float:
    """Nats a character that a general compressor needs for a text after `before`: the bytes by which its output grows.

    It learns from the text as it goes along, as none of the other predictions do; bz2 looks back 900,000 bytes at most,
    lzma 8 MiB.
    """

    def size(text: str) -> int:
        content = text.encode("utf-8", "surrogatepass")
        return len(
            bz2.compress(content, 9) if method == "bz2" else lzma.compress(content, preset=6 | lzma.PRESET_EXTREME)
        )

    return 8 * (size(before + text) - size(before)) * float(np.log(2)) / len(text)


def measures(row: str, nats: float) -> dict[str, float]:
    """`nats_a_character`, and the same in bits."""
    return {f"{row}/nats_a_character": nats, f"{row}/bits_a_character": nats / float(np.log(2))}
