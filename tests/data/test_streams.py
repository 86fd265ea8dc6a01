"""Walking along a row in streams: every symbol once an epoch, streams that go on, shards, what is refused."""

import itertools

import jax
import numpy as np
import pytest

from seqjax.data.streams import steps_an_epoch, stream_batch_at, warmed_streams
from seqjax.errors import DataError, UsageError
from seqjax.types import Split

KEY = jax.random.key(3)
SIZES = [(103, 4, 5), (100, 4, 5), (20, 4, 5), (21, 4, 5), (7, 1, 3), (64, 3, 1)]  # symbols, streams, length


def row_of(num_symbols):
    """Each symbol is its own place, so that a batch shows where it was taken from."""
    return Split({"x": np.arange(num_symbols, dtype=np.int32)})


def batches(num_symbols, batch_size, length, steps, key=KEY):
    batch_at = jax.jit(
        lambda split, key, step: stream_batch_at(length)(split, key, step, batch_size=batch_size),
    )
    return [jax.tree.map(np.asarray, batch_at(row_of(num_symbols), key, step)) for step in steps]


@pytest.mark.parametrize(("num_symbols", "batch_size", "length"), SIZES)
def test_every_symbol_is_predicted_once_an_epoch_from_the_one_before_it(num_symbols, batch_size, length):
    steps = steps_an_epoch(num_symbols, batch_size=batch_size, length=length)
    assert (steps - 1) * batch_size * length < num_symbols <= steps * batch_size * length
    walked = batches(num_symbols, batch_size, length, range(3 * steps))
    firsts = set()
    for epoch in range(3):
        own = walked[epoch * steps : (epoch + 1) * steps]
        targets = np.concatenate([b["target"][b["mask"]] for b in own])
        np.testing.assert_array_equal(np.sort(targets), np.arange(num_symbols))
        for b in own:
            np.testing.assert_array_equal((b["x"] + 1) % num_symbols, b["target"])
            np.testing.assert_array_equal(b["index"], np.arange(batch_size))
        np.testing.assert_array_equal([b["begins"] for b in own], [[place == 0] * batch_size for place in range(steps)])
        firsts.add(int(own[0]["x"][0, 0]))
    assert len(firsts) > 1  # an epoch begins where it likes


@pytest.mark.parametrize(("num_symbols", "batch_size", "length"), SIZES)
def test_a_stream_goes_on_where_it_stood(num_symbols, batch_size, length):
    steps = steps_an_epoch(num_symbols, batch_size=batch_size, length=length)
    own = batches(num_symbols, batch_size, length, range(steps))
    for before, after in itertools.pairwise(own):
        np.testing.assert_array_equal(before["target"][:, -1], after["x"][:, 0])
        # only the last step of an epoch has anything behind a stream's end
        assert before["mask"].all()


def test_streams_stand_one_behind_the_other_where_products_pass_32_bits():
    num_symbols, batch_size = 3_000_000, 2000
    (batch,) = batches(num_symbols, batch_size, 2, [0])
    np.testing.assert_array_equal(np.diff(batch["target"][:, 0]) % num_symbols, num_symbols // batch_size)


def test_another_key_begins_elsewhere_and_a_shard_is_a_part_of_the_batch():
    (here,), (there,) = (batches(5000, 4, 5, [7], jax.random.key(seed)) for seed in (0, 1))
    assert not np.array_equal(here["x"], there["x"])
    (whole,) = batches(103, 4, 5, [2])
    shard_at = jax.jit(lambda shard: stream_batch_at(5)(row_of(103), KEY, 2, batch_size=4, shard=shard, num_shards=2))
    together = jax.tree.map(lambda *parts: np.concatenate(parts), *(shard_at(k) for k in range(2)))
    jax.tree.map(np.testing.assert_array_equal, together, whole)


def test_what_cannot_be_walked_is_refused():
    with pytest.raises(UsageError, match="length=0"):
        stream_batch_at(0)
    with pytest.raises(DataError, match=r"a text of 19 characters .* 4 x 5 = 20.*\n.*--batch-size or --length"):
        stream_batch_at(5)(row_of(19), KEY, 0, batch_size=4)
    with pytest.raises(UsageError, match="batch size 4 cannot be shared out equally over 3 shards"):
        stream_batch_at(5)(row_of(100), KEY, 0, batch_size=4, num_shards=3)


@pytest.mark.parametrize(
    ("start", "stop", "num_streams", "warm_up"), [(50, 100, 4, 6), (10, 37, 4, 30), (99, 100, 8, 3), (1, 3, 1, 5)]
)
def test_a_part_is_read_once_and_each_stream_is_warmed_by_the_text_before_it(start, stop, num_streams, warm_up):
    row = np.arange(1000, 1100, dtype=np.int32)
    fields = warmed_streams(row, start, stop, num_streams=num_streams, warm_up=warm_up)
    np.testing.assert_array_equal(np.sort(fields["target"][fields["mask"]]), row[start:stop])
    used = min(warm_up, start - 1)
    assert not fields["mask"][:, :used].any()
    assert fields["mask"][:, used].all()
    for x, target, mask in zip(fields["x"], fields["target"], fields["mask"], strict=True):
        own = used + int(mask.sum())
        first = int(target[used]) - 1000
        np.testing.assert_array_equal(x[:own], row[first - used - 1 : first + own - used - 1])
        np.testing.assert_array_equal(target[:own], row[first - used : first + own - used])
    assert len(fields["x"]) <= num_streams


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (5, 5), (5, 101)])
def test_parts_that_are_none(start, stop):
    with pytest.raises(UsageError, match=f"start={start}"):
        warmed_streams(np.arange(100, dtype=np.int32), start, stop, num_streams=2, warm_up=3)
