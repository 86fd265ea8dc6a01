"""Synthetic tasks: what an example is, what trivial answers cost, and that no batch is like another."""

from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.synthetic import (
    BLANK,
    DELIMITER,
    NUM_EVENTS,
    NUM_SYMBOLS,
    adding,
    blind_copying_cost,
    copying,
    drawn,
    events,
    fresh_batch_at,
    sines,
    synthetic_dataset,
)
from seqjax.errors import UsageError

ADDING, COPYING = partial(adding, length=4), partial(copying, delay=5)


def test_two_different_places_are_marked_and_their_values_summed():
    fields = drawn(partial(adding, length=2), jax.random.key(0), 50).fields
    np.testing.assert_array_equal(fields["x"][..., 1], 1)
    np.testing.assert_array_equal(fields["target"], fields["x"][..., 0].sum(axis=1))
    fields = drawn(partial(adding, length=9), jax.random.key(0), 500).fields
    values, marks = fields["x"][..., 0], fields["x"][..., 1]
    assert set(np.unique(marks)) == {0, 1}
    np.testing.assert_array_equal(marks.sum(axis=1), 2)
    np.testing.assert_allclose((values * marks).sum(axis=1), fields["target"], rtol=1e-6)
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() < 1


def test_every_pair_of_places_is_equally_likely():
    marks = drawn(ADDING, jax.random.key(1), 6000).fields["x"][..., 1]
    pairs = Counter(tuple(np.flatnonzero(row)) for row in marks)
    assert len(pairs) == 6
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in pairs.values())
    assert chi_squared < 20.5  # 5 degrees of freedom, one in a thousand


def test_the_best_constant_answer_is_one_and_costs_a_sixth():
    targets = drawn(ADDING, jax.random.key(2), 40_000).fields["target"].astype(np.float64)
    assert targets.mean() == pytest.approx(1, abs=0.01)
    assert np.square(targets - 1).mean() == pytest.approx(1 / 6, rel=0.03)


def test_symbols_come_back_after_the_delay():
    fields = drawn(COPYING, jax.random.key(3), 4000).fields
    x, target = fields["x"], fields["target"]
    assert x.shape == target.shape == (4000, 25)
    np.testing.assert_array_equal(target[:, -10:], x[:, :10])
    np.testing.assert_array_equal(target[:, :-10], BLANK)
    np.testing.assert_array_equal(np.delete(x[:, 10:], 4, axis=1), BLANK)
    np.testing.assert_array_equal(x[:, 14], DELIMITER)
    # the delimiter is read at the step before the first answer
    assert target[0, 14] == BLANK
    counts = np.bincount(x[:, :10].ravel(), minlength=NUM_SYMBOLS)
    assert len(counts) == NUM_SYMBOLS
    assert np.square(counts - 5000).sum() / 5000 < 24.4  # 7 degrees of freedom, one in a thousand


def test_blind_copying_cost():
    assert blind_copying_cost(200) == pytest.approx(0.0945, abs=5e-5)
    assert blind_copying_cost(1000) == pytest.approx(0.02039, abs=5e-6)


@pytest.mark.parametrize("task", [ADDING, COPYING])
def test_a_batch_follows_from_key_and_step_however_it_is_shared_out(task):
    batch_at = jax.jit(fresh_batch_at(task), static_argnames=("batch_size", "num_shards"))
    split = drawn(task, jax.random.key(9), 3)
    whole = batch_at(split, jax.random.key(4), 7, batch_size=8, shard=0, num_shards=1)
    again = batch_at(split, jax.random.key(4), 7, batch_size=8, shard=0, num_shards=1)
    shards = [batch_at(split, jax.random.key(4), 7, batch_size=8, shard=s, num_shards=4) for s in range(4)]
    for name, field in whole.items():
        np.testing.assert_array_equal(field, again[name])
        np.testing.assert_array_equal(field, jnp.concatenate([shard[name] for shard in shards]))
    np.testing.assert_array_equal(whole["index"], np.arange(8))
    assert len(np.unique(whole["x"], axis=0)) == 8
    for other in (
        batch_at(split, jax.random.key(4), 8, batch_size=8, shard=0, num_shards=1),
        batch_at(split, jax.random.key(5), 7, batch_size=8, shard=0, num_shards=1),
    ):
        assert not np.array_equal(whole["x"], other["x"])
    with pytest.raises(UsageError, match="batch size 8 cannot be shared out equally over 3 shards"):
        fresh_batch_at(task)(split, jax.random.key(4), 7, batch_size=8, shard=0, num_shards=3)


def test_splits_are_fixed_and_apart():
    one, again = (synthetic_dataset("copying", COPYING, validation_size=50, test_size=70) for _ in range(2))
    assert [split.num_examples for split in one[1:4]] == [100, 50, 70]
    np.testing.assert_array_equal(one.test.fields["x"], again.test.fields["x"])
    assert one.sha256 == again.sha256
    assert one.sha256 != synthetic_dataset("copying", COPYING, validation_size=50, test_size=71).sha256
    rows = np.concatenate([split.fields["x"] for split in one[1:4]])
    assert len(np.unique(rows, axis=0)) == 220


def test_impossible_tasks_are_refused():
    with pytest.raises(UsageError, match="length=1: expected at least 2"):
        adding(jax.random.key(0), length=1)
    with pytest.raises(UsageError, match="delay=0: expected at least 1"):
        copying(jax.random.key(0), delay=0)


def test_sines_are_waves_of_uniform_frequency_and_phase_in_the_unit_interval():
    x = drawn(sines, jax.random.key(3), 20_000).fields["x"].astype(np.float64)
    assert x.shape == (20_000, 24, 5)
    angles = np.arcsin(2 * x - 1)[:, :15]  # 15 steps stay below a quarter turn
    np.testing.assert_allclose(np.diff(angles, n=2, axis=1), 0, atol=1e-4)
    for values in (10 * np.diff(angles, axis=1).mean(axis=1), 10 * angles[:, 0]):
        assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 20_000 / 5)
        np.testing.assert_allclose(values.var(axis=0), 1 / 12, rtol=0.05)
        assert np.abs(np.corrcoef(values.T) - np.eye(5)).max() < 4 / np.sqrt(20_000)
    # what one feature costs who knows only the others: its distance to the median at each step after the first
    error = np.abs(x[:, 1:] - np.median(x[:, 1:], axis=0)).mean()
    assert error == pytest.approx(0.0935, abs=5e-4)


def test_sines_of_no_length_are_refused():
    with pytest.raises(UsageError, match="length=0"):
        sines(jax.random.key(0), length=0)
    with pytest.raises(UsageError, match="num_features=0"):
        sines(jax.random.key(0), num_features=0)


def test_events_of_a_kind_are_alike_wherever_they_are_and_padding_is_zero():
    fields = drawn(partial(events, noise=0.0), jax.random.key(5), 400).fields
    x, length, label = fields["x"], fields["length"], fields["label"]
    assert x.shape == (400, 96, 2)
    assert (length.min(), length.max()) == (48, 96)
    assert np.bincount(label).min() > 40
    assert len(np.bincount(label)) == NUM_EVENTS
    np.testing.assert_array_equal(x[np.arange(96)[None] >= length[:, None]], 0)
    happening = (x > 0).any(axis=2)
    # one stretch of steps, a quarter to a half of the length, not all of which begin at the same step
    assert (np.diff(happening.astype(int), axis=1, prepend=0) == 1).sum(axis=1).max() == 1
    share = happening.sum(axis=1) / length
    assert 0.2 < share.min() < share.max() < 0.55
    begins = happening.argmax(axis=1)
    assert begins.min() < 3
    assert begins.max() > 40
    # the kinds by what they are: both channels together, alternating, or sums and products that stay apart
    both, first, second = x.min(axis=2) > 0, x[..., 0] > 0, x[..., 1] > 0
    np.testing.assert_array_equal((x[..., 0] == x[..., 1]).all(axis=1), label == 0)
    np.testing.assert_array_equal((first & second).sum(axis=1)[label == 3], 0)
    assert (both.sum(axis=1)[label != 3] > 0).all()
    late = (np.arange(96)[None] * x[..., 0]).sum(axis=1) / x[..., 0].sum(axis=1)
    early = (np.arange(96)[None] * x[..., 1]).sum(axis=1) / x[..., 1].sum(axis=1)
    assert (late > early)[label == 1].all()
    assert (late < early)[(label == 2) | (label == 3)].all()


def test_events_stand_out_of_noise_of_their_height():
    x, clean = (drawn(partial(events, noise=n), jax.random.key(5), 200).fields["x"] for n in (0.3, 0.0))
    errors = (x - clean)[x != 0]
    assert abs(errors.mean()) < 0.01
    assert errors.std() == pytest.approx(0.3, rel=0.02)
