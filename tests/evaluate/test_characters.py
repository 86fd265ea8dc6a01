"""What trivial predictions of a text cost: by hand, by a second implementation, at known entropies."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from seqjax.data.text import code_points, encode, vocabulary
from seqjax.evaluate.characters import best_ngram, compressed, discounts, kneser_ney, measures, unigram

RHYME = "the cat sat on the mat; the cat that sat on the mat had a hat, and the hat had a cat that sat. " * 3


def symbols_of(text, known=None):
    known = vocabulary(code_points(text)) if known is None else known
    return encode(code_points(text), known), len(known) + 1


def test_unigram_by_hand():
    nats = unigram(np.asarray([0, 0, 1]), np.asarray([0, 1, 2]), num_symbols=3)
    np.testing.assert_allclose(nats, -np.log([3 / 6, 2 / 6, 1 / 6]))


def by_dictionaries(train, text, order, num_symbols):
    """Modified Kneser-Ney written for reading: counts in dictionaries, one character at a time."""
    padded = [-1] * order + list(train)
    grams = [[tuple(padded[i - n + 1 : i + 1]) for i in range(order, len(padded))] for n in range(1, order + 1)]
    tables = []
    for n in range(1, order + 1):
        if n == order:
            counts = Counter(grams[n - 1])
        else:
            above = set(grams[n])
            counts = Counter(g[1:] for g in above)
        by_context = defaultdict(dict)
        for gram, count in counts.items():
            by_context[gram[:-1]][gram[-1]] = count
        tables.append((by_context, discounts(np.asarray(list(counts.values())))))

    def probability(n, context, symbol):
        if n == 0:
            return 1 / num_symbols
        lower = probability(n - 1, context[1:], symbol)
        by_context, discount = tables[n - 1]
        followers = by_context.get(context, {})
        if not followers:
            return lower
        total = sum(followers.values())
        left = sum(min(discount[min(c, 3)], c) for c in followers.values())
        count = followers.get(symbol, 0)
        return (max(count - discount[min(count, 3)], 0) + left * lower) / total

    history = padded + list(text)
    start = len(padded)
    return [
        -np.log(probability(order, tuple(history[i - order + 1 : i]), history[i])) for i in range(start, len(history))
    ]


def test_kneser_ney_equals_a_second_implementation_at_every_order():
    train, num_symbols = symbols_of(RHYME)
    text, _ = symbols_of("and a cat had a dog; the ttt sat", vocabulary(code_points(RHYME)))
    whole = np.concatenate([train, text])
    for order, found in enumerate(kneser_ney(whole, len(train), num_symbols=num_symbols, longest=5), start=1):
        np.testing.assert_allclose(found, by_dictionaries(train, text, order, num_symbols), rtol=1e-10)


@pytest.mark.parametrize("context", ["the ca", "xyzzy", "t"])
def test_kneser_ney_is_a_distribution_after_any_context(context):
    train, num_symbols = symbols_of(RHYME)
    before, _ = symbols_of(context, vocabulary(code_points(RHYME)))
    texts = [np.concatenate([train, before, [symbol]]) for symbol in range(num_symbols)]
    found = [list(kneser_ney(t, len(train), num_symbols=num_symbols, longest=4)) for t in texts]
    np.testing.assert_allclose(np.exp(-np.asarray(found)[:, :, -1]).sum(axis=0), 1, rtol=1e-12)


def test_discounts_by_hand():
    # 8 grams once, 4 twice, 2 three times, 1 four times: Y = 8 / 16
    counts = np.repeat([1, 2, 3, 4], [8, 4, 2, 1])
    np.testing.assert_allclose(discounts(counts), [0, 1 - 2 * 0.5 * 4 / 8, 2 - 3 * 0.5 * 2 / 4, 3 - 4 * 0.5 * 1 / 2])
    assert (discounts(np.asarray([7, 9]))[1:] > 0).all()  # or what was never seen would be impossible


def test_the_order_is_chosen_on_the_validation_text():
    random = np.random.default_rng(0)
    noise = random.integers(0, 8, 30_000)
    free = best_ngram(noise[:20_000], noise[20_000:25_000], noise[25_000:], num_symbols=9)
    assert free.order == 1
    assert free.test.mean() == pytest.approx(np.log(8), rel=0.01)
    # each symbol is the sum of the two before it: three characters tell all, fewer nothing
    chain = [1, 2]
    while len(chain) < 3000:
        chain.append((chain[-1] + chain[-2]) % 7 if random.random() > 0.05 else int(random.integers(7)))
    chain = np.asarray(chain)
    found = best_ngram(chain[:2000], chain[2000:2500], chain[2500:], num_symbols=8)
    assert found.order == 3
    assert len(found.validation) == len(found.test) == 500
    assert found.test.mean() < 0.5 < 1.9 < unigram(chain[:2000], chain[2500:], num_symbols=8).mean()


@pytest.mark.parametrize("method", ["bz2", "lzma"])
def test_compressors_know_what_they_have_seen(method):
    random = np.random.default_rng(1)
    noise = "".join(map(chr, random.integers(97, 97 + 16, 4_000)))
    other = "".join(map(chr, random.integers(97, 97 + 16, 4_000)))
    assert compressed(method, noise, other) == pytest.approx(np.log(16), rel=0.15)
    assert compressed(method, noise, noise) < 0.5 * np.log(16)


def test_bits_are_nats_over_log_two():
    assert measures("row", np.log(2)) == {
        "row/nats_a_character": np.log(2),
        "row/bits_a_character": pytest.approx(1),
    }
