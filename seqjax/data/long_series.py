"""One long series of several channels, cut in time order: what came first trains, what came last tests.

A split holds its part as one row, `x [1 T D]`; batches are windows of it.
"""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.data.batches import row_indices
from seqjax.data.files import file_dataset
from seqjax.data.prepared import content_sha256
from seqjax.data.raw import raw_content
from seqjax.data.synthetic import seasons
from seqjax.errors import DataError
from seqjax.types import Batch, Dataset, Key, Split

NAMES = ("seasons", "stocks")
SUFFIXES = (".csv", ".npy", ".npz")
SHARES = (0.7, 0.1)  # of training and validation; the rest tests
STOCKS = ("stock_data.csv", "134b8a00eb4eefa3242dd7ae85144082da80dedf75a1a656d5d08f97cd95277a")
STOCKS_MIRROR = "https://raw.githubusercontent.com/jsyoon0823/TimeGAN/master/data"


def long_series(name_or_path: str | Path, *, raw_dir: Path | None = None) -> Dataset:
    """The first 70 % of the series to train, the next 10 % to validate, the rest to test; float32, in its own units.

    `seasons` is made up, see `synthetic.seasons`; its splits hold `clean [1 T D]` besides. `stocks` are daily prices of
    a share from 2004 to 2019 (open, high, low, close, adjusted close, volume; Yoon et al. 2019), looked for in
    `raw_dir/series` (default `$SEQJAX_RAW_DIR/series`), then downloaded. Otherwise the path of a file: `.csv`, one time
    step a line, the first line perhaps with names; `.npy`, or `.npz` with `x`, of shape `[T D]`.
    Raises DataError for what cannot be had, is not as above, or has a value that is not finite.
    """
    name = str(name_or_path)
    if name == "seasons":
        fields = {field: np.asarray(values, np.float32) for field, values in seasons().items()}
        return in_time_order(name, fields, content_sha256({"all": fields}))
    if name == "stocks":
        file, sha256 = STOCKS
        mirrors = (STOCKS_MIRROR,)
        content = raw_content("series", file, sha256=sha256, mirrors=mirrors, raw_dir=raw_dir, mirror_suffix="")
        table = np.loadtxt(io.StringIO(content.decode()), delimiter=",", skiprows=1, dtype=np.float32)
        return in_time_order(name, {"x": table}, sha256)
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"'{name}': expected {' or '.join(NAMES)}, or the path of a {', '.join(SUFFIXES)} file.")

    def parted(name, parts, *, sha256, validation_size):
        if set(parts) != {"train"} or set(parts["train"]) != {"x"} or len(parts["train"]["x"].shape) != 2:
            found = [f"{field} {list(v.shape)}" for fields in parts.values() for field, v in fields.items()]
            raise DataError(f"{path} holds {', '.join(found)}; expected one series x [T, D], no splits and no labels.")
        return in_time_order(name, {"x": np.asarray(parts["train"]["x"]).astype(np.float32)}, sha256)

    return file_dataset(path, parted=parted)


def in_time_order(name: str, fields: dict[str, Float[np.ndarray, "T D"]], sha256: str) -> Dataset:
    """The three splits, `SHARES` of the steps; every field cut alike. Raises DataError if one would be empty."""
    num_steps = len(fields["x"])
    cuts = [0, *(round(share * num_steps) for share in np.cumsum(SHARES)), num_steps]
    parts = [slice(start, end) for start, end in itertools.pairwise(cuts)]
    if any(part.start == part.stop for part in parts):
        raise DataError(f"{name}: {num_steps} time steps cannot be cut into three splits; expected more.")
    splits = [Split({field: values[None, part] for field, values in fields.items()}) for part in parts]
    return Dataset(name, *splits, sha256)


def num_windows(split: Split, width: int) -> int:
    """Windows of `width` steps in a split: one from each step on that has as many left."""
    return max(0, split.fields["x"].shape[1] - width + 1)


def windows(series: Float[Array, "1 T D"], starts: Int[Array, "B"], width: int) -> Float[Array, "B width D"]:
    """`width` steps of the series from each start on; the starts have to lie within `num_windows`."""
    # whole slices: XLA for CPU compiles a gather of single steps from hashed starts for minutes
    return jax.vmap(lambda start: lax.dynamic_slice_in_dim(series[0], start, width))(starts)


def window_batch_at(width: int) -> Callable[..., Batch]:
    """A `Phase.batch_at` of windows `x [B width D]`; each epoch visits every window once. `index`: where each starts.

    Raises DataError for a split that is shorter than a window.
    """

    def batch_at(
        split: Split,
        key: Key,
        step: Int[ArrayLike, ""],
        *,
        batch_size: int,
        shard: Int[ArrayLike, ""] = 0,
        num_shards: int = 1,
    ) -> Batch:
        count = num_windows(split, width)
        starts = row_indices(key, step, batch_size=batch_size, num_examples=count, shard=shard, num_shards=num_shards)
        return {"x": windows(split.fields["x"], starts, width), "index": starts}

    return batch_at
