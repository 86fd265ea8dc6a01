"""Sets of time series from `.ts` files: the UCR and UEA archives by name, any others by path."""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqjax.data.raw import raw_content
from seqjax.data.splits import HELD_OUT, rows_of, split_dataset
from seqjax.data.ts_file import TsFile, read_ts
from seqjax.errors import DataError, UsageError
from seqjax.types import Dataset, Split

FILES = {  # the archive's name of a set, and the SHA-256 of its training and test file
    "basic_motions": (
        "BasicMotions",
        "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    ),
    "cbf": (
        "CBF",
        "4adc145ade2218be0cc3b753389c08065fe3d8f0933421ac050650dc22d171c1",
        "568c0ca035b41a14c4a9a4e659f3b83114a4014265bb7f0c1c2310f9aa72c64d",
    ),
    "gun_point": (
        "GunPoint",
        "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
        "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
    ),
    "italy_power_demand": (
        "ItalyPowerDemand",
        "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
        "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
    ),
    "japanese_vowels": (
        "JapaneseVowels",
        "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
        "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    ),
}
MIRROR = "https://raw.githubusercontent.com/sktime/sktime/main/sktime/datasets/data"  # has all of them but CBF
PARTS = ("train", "test")
PADDED_BYTES = 2**32  # a single long series must not make all the others as long


def series_dataset(name: str, *, raw_dir: Path | None = None, validation_size: int | None = None) -> Dataset:
    """A set of the archives by one of the names in `FILES`, in the form that `ts_dataset` describes.

    Looked for in `raw_dir/series/NAME` (default `$SEQJAX_RAW_DIR/series/NAME`), then downloaded. Raises DataError if
    the files cannot be had or are not the pinned ones.
    """
    archive_name, *hashes = FILES[name]
    files = {}
    for part, sha256 in zip(PARTS, hashes, strict=True):
        file = f"{archive_name}_{part.upper()}.ts"
        mirrors = (f"{MIRROR}/{archive_name}",)
        folder = f"series/{archive_name}"
        content = raw_content(folder, file, sha256=sha256, mirrors=mirrors, raw_dir=raw_dir, mirror_suffix="")
        files[part] = read_ts(io.StringIO(content.decode(errors="replace")), file)
    return _dataset(name, files, hashes, validation_size)


def ts_dataset(path: Path, *, validation_size: int | None = None) -> Dataset:
    """The set in a folder with `NAME_TRAIN.ts` and `NAME_TEST.ts`, which either file stands for too; or in one file.

    Fields: `x [N T D]` float32, zero past a series' end and where a value is missing, T of the longest series of all
    splits; `length [N]`; `label [N]`, numbers of the classes in the header's order, if there are any; `mask [N T D]`,
    true where a value was observed, if any is missing. The test split is the official one. Validation takes
    `validation_size` (default 15 %) of the training series, so far as it goes the same share of each class, in a pinned
    order. One file that is neither `_TRAIN` nor `_TEST` is parted as `split_dataset` does.

    Raises DataError for files that cannot be read or do not fit together.
    """
    files, hashes = {}, []
    paths = _paths(path)
    for part, file in paths.items():
        try:
            if not file.is_file():
                raise DataError(f"{file}: no such file; expected NAME_TRAIN.ts and NAME_TEST.ts in one folder.")
            with file.open("rb") as raw:
                hashes.append(hashlib.file_digest(raw, "sha256").hexdigest())
            with file.open(encoding="utf-8-sig", errors="replace") as text:
                files[part] = read_ts(text, str(file))
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror or error}.") from None
    name = paths["train"].stem.removesuffix("_TRAIN")
    return _dataset(name, files, hashes, validation_size)


def _paths(path: Path) -> dict[str, Path]:
    """The training and the test file, or as the training file the only one."""
    if path.is_dir():
        try:  # not by glob, to which a folder that cannot be read is an empty one
            found = sorted(file for file in path.iterdir() if file.name.endswith("_TRAIN.ts"))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}.") from None
        own = [file for file in found if file.name == f"{path.name}_TRAIN.ts"] or found
        if len(own) != 1:
            raise DataError(f"{path} holds {len(own)} files NAME_TRAIN.ts; expected one, and NAME_TEST.ts.")
        path = own[0]
    stem = re.fullmatch(r"(.*)_(TRAIN|TEST)", path.stem)
    if stem is None:
        return {"train": path}
    return {part: path.with_name(f"{stem[1]}_{part.upper()}{path.suffix}") for part in PARTS}


def _dataset(name: str, files: dict[str, TsFile], hashes: Sequence[str], validation_size: int | None) -> Dataset:
    train, test = files["train"], files.get("test", files["train"])
    widths = [file.series[0].shape[1] for file in (train, test)]
    if widths[0] != widths[1]:
        raise DataError(f"{name}: {widths[0]} channels in the training file, {widths[1]} in the test file.")
    if set(train.classes) != set(test.classes):
        raise DataError(f"{name}: training and test file name different classes after @classLabel.")
    longest = max(len(series) for file in files.values() for series in file.series)
    count = sum(len(file.series) for file in files.values())
    if 4 * count * longest * widths[0] > PADDED_BYTES:
        raise DataError(
            f"{name}: {count} series padded to the longest, {longest} steps of {widths[0]} channels, take more than"
            f" {PADDED_BYTES >> 30} GiB. Cut the longest ones."
        )
    parts = {part: _fields(file, longest, train.classes) for part, file in files.items()}
    if all(fields["mask"].sum() == widths[0] * fields["length"].sum() for fields in parts.values()):
        for fields in parts.values():
            del fields["mask"]
    sha256 = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    if "test" not in parts:
        return split_dataset(name, parts, sha256=sha256, validation_size=validation_size)
    held_out = _held_out(name, parts["train"], validation_size)
    return Dataset(
        name,
        Split(rows_of(parts["train"], ~held_out)),
        Split(rows_of(parts["train"], held_out)),
        Split(parts["test"]),
        sha256,
    )


def _fields(file: TsFile, longest: int, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    count, width = len(file.series), file.series[0].shape[1]
    fields = {
        "x": np.zeros((count, longest, width), np.float32),
        "mask": np.zeros((count, longest, width), bool),
        "length": np.asarray([len(series) for series in file.series], np.int32),
    }
    for x, mask, series in zip(fields["x"], fields["mask"], file.series, strict=True):
        mask[: len(series)] = ~np.isnan(series)
        x[: len(series)] = np.nan_to_num(series, nan=0.0)
    if classes:
        numbers = np.asarray([classes.index(name) for name in file.classes], np.int32)
        fields["label"] = numbers[file.labels]
    return fields


def _held_out(name: str, train: dict[str, np.ndarray], size: int | None) -> np.ndarray:
    """Which training series validate, `[N]` bool: those whose place among their class comes first, as a share of it."""
    count = len(train["x"])
    size = min(count - 1, max(1, round(HELD_OUT * count))) if size is None else size
    if not 0 <= size < count:
        raise UsageError(f"{name}: validation_size={size} of {count} training series; expected 0 to {count - 1}.")
    # a legacy generator because it is frozen for good: the splits may never change
    order = np.random.RandomState(0).permutation(count)
    label = train.get("label", np.zeros(count, np.int32))[order]
    share = np.empty(count)
    for number in np.unique(label):
        own = label == number
        share[own] = (np.arange(own.sum()) + 0.5) / own.sum()
    chosen = np.zeros(count, bool)
    chosen[order[np.argsort(share, kind="stable")[:size]]] = True
    return chosen
