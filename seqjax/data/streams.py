"""Walking along one long row of symbols in parallel streams, for truncated back-propagation through time.

Source: Williams & Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
trajectories" (1990).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Int

from seqjax.errors import DataError, UsageError, require
from seqjax.types import Batch, Key, Split

MAX_SYMBOLS = 2**30  # twice their number has to fit in int32


def steps_an_epoch(num_symbols: int, *, batch_size: int, length: int) -> int:
    """Steps in which `batch_size` streams of equal length, `length` symbols a step, get through all symbols.

    Raises DataError for symbols that do not fill one step, or are more than 2^30.
    """
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    require(length >= 1, "length", length, "at least 1 symbol")
    if not batch_size * length <= num_symbols <= MAX_SYMBOLS:
        raise DataError(
            f"a text of {num_symbols} characters to train on, expected at least batch size x length = {batch_size} x"
            f" {length} = {batch_size * length}, and at most {MAX_SYMBOLS}.\nUse a smaller --batch-size or --length, or"
            " another text."
        )
    return -(-num_symbols // (batch_size * length))


def stream_batch_at(length: int) -> Callable[..., Batch]:
    """A `Phase.batch_at` that walks along the split's `x [N]`, `length` symbols a step, in `batch_size` streams.

    An epoch cuts the row into `batch_size` streams of equal length (to one symbol), one behind the other from an
    offset of its own on, the row being a ring: its first symbol follows its last. Every symbol is predicted once in an
    epoch. Step by step a stream goes on where it stood; at an epoch's first step all streams begin anew.

    Fields of a batch: `x [B T]` the symbols that are read, `target [B T]` those that follow them, `mask [B T]` whether
    the target belongs to this stream (false behind the end of a stream, in the last step of an epoch), `begins [B]`
    whether the stream begins with this step, `index [B]` the number of the stream. A pure function of (key, step).

    Raises DataError as `steps_an_epoch`.
    """
    require(length >= 1, "length", length, "at least 1 symbol")

    def batch_at(
        split: Split,
        key: Key,
        step: Int[ArrayLike, ""],
        *,
        batch_size: int,
        shard: Int[ArrayLike, ""] = 0,
        num_shards: int = 1,
    ) -> Batch:
        if batch_size < 1 or num_shards < 1 or batch_size % num_shards:
            raise UsageError(f"batch size {batch_size} cannot be shared out equally over {num_shards} shards")
        row = jnp.asarray(split.fields["x"])
        (num_symbols,) = row.shape
        steps = steps_an_epoch(num_symbols, batch_size=batch_size, length=length)
        share = batch_size // num_shards
        index = jnp.asarray(shard, jnp.int32) * share + jnp.arange(share, dtype=jnp.int32)
        epoch, place = jnp.divmod(jnp.asarray(step, jnp.int32), steps)
        offset = jax.random.randint(jax.random.fold_in(key, epoch), (), 0, num_symbols)
        # on the host: the products need not fit in 32 bits
        ends = jnp.asarray(np.arange(batch_size + 1, dtype=np.int64) * num_symbols // batch_size, jnp.int32)
        within = (ends[index] + place * length)[:, None] + jnp.arange(length + 1, dtype=jnp.int32)[None, :]
        symbols = row[(within + offset - 1) % num_symbols]
        return {
            "x": symbols[:, :-1],
            "target": symbols[:, 1:],
            "mask": within[:, :-1] < ends[index + 1][:, None],
            "begins": jnp.broadcast_to(place == 0, (share,)),
            "index": index,
        }

    return batch_at


def warmed_streams(
    row: Int[np.ndarray, "N"], start: int, stop: int, *, num_streams: int, warm_up: int
) -> dict[str, np.ndarray]:
    """The part from `start` to `stop` of a row as streams side by side, to be read from their beginning to their end.

    Every symbol of the part is predicted exactly once. Before its own symbols each stream reads up to `warm_up`
    symbols that stand before them in the row, so that its first predictions are made with a state, as all others are.
    Fields, `num_streams` streams of equal length (fewer for a part with fewer symbols): `x [K T]`, `target [K T]`, and
    `mask [K T]`, true where the target is one of the stream's own.
    """
    require(num_streams >= 1, "num_streams", num_streams, "at least 1")
    require(1 <= start < stop <= len(row), "start", start, f"at least 1 and below stop={stop} <= {len(row)}")
    own = -(-(stop - start) // num_streams)
    warm_up = min(warm_up, start - 1)
    firsts = np.arange(start, stop, own)
    places = firsts[:, None] + np.arange(-warm_up, own)
    mask = (places >= firsts[:, None]) & (places < stop)
    places = np.minimum(places, stop - 1)
    return {"x": row[places - 1], "target": row[places], "mask": mask}
