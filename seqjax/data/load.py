"""A data set by name or by path."""

from pathlib import Path

import numpy as np

from seqjax.data.files import SUFFIXES, file_dataset
from seqjax.data.mixtures import MIXTURES, mixture_dataset
from seqjax.data.music import FILES as MUSIC
from seqjax.data.music import music_dataset
from seqjax.data.prepared import data_directory, prepared_arrays
from seqjax.data.sentences import sentences, written
from seqjax.data.series import FILES as SERIES
from seqjax.data.series import series_dataset, ts_dataset
from seqjax.data.splits import tail_as_validation
from seqjax.data.synthetic import chord_walk, events, synthetic_dataset
from seqjax.data.text import NAME as SHAKESPEARE
from seqjax.data.text import shakespeare_dataset, text_dataset, text_sha256
from seqjax.errors import DataError
from seqjax.types import Dataset

BUILT = ("digits", "mnist", "fashion_mnist")
NAMES = (*BUILT, "chords", "events", *MIXTURES, *MUSIC, *SERIES, "sentences", SHAKESPEARE)
NUM_WRITTEN = 200_000  # characters of the made-up text
RESIDENT_BYTES = 2 * 2**30


def load(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    raw_dir: Path | None = None,
    validation_size: int | None = None,
) -> Dataset:
    """The data set as arrays on the host, its three splits apart.

    `digits`, `mnist` and `fashion_mnist` are prepared under `data_dir` (default `$SEQJAX_DATA_DIR` or
    `~/.cache/seqjax`) from raw files in `raw_dir` (default `$SEQJAX_RAW_DIR`) or downloaded ones. Their validation
    split is the end of the official training set: 180 rows of `digits`, 5,000 of the others, or `validation_size`;
    with 0 it is empty. `jsb_chorales`, `nottingham`, `piano_midi` and `muse_data` are read from `raw_dir` or
    downloaded, as `seqjax.data.music` says; `tiny_shakespeare` and the sets of the UCR and UEA archives in
    `seqjax.data.series.FILES` come in the same way. Made up are `chords`, in the form of the music; `events`, series
    with classes; `ring` and `grid`, mixtures of Gaussians in the plane, as `seqjax.data.mixtures` says; and
    `sentences`, in the form of `seqjax.data.text`. A path to a `.ts` file, or to a folder of such, is read as
    `ts_dataset` says in `seqjax.data.series`; a path to a `.npz`, `.npy`, `.csv` or `.txt` file as `seqjax.data.files`
    says. Any other name is looked for among the data sets that TFDS has prepared on this machine, as
    `seqjax.data.tfds_directory` says.
    Raises DataError for what cannot be had or is not as expected, UsageError for an impossible `validation_size`.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    directory = data_dir or data_directory()
    if name in BUILT:
        return _built(name, directory, raw_dir, validation_size)
    if name in MUSIC:
        return music_dataset(name, raw_dir=raw_dir, validation_size=validation_size)
    if name in SERIES:
        return series_dataset(name, raw_dir=raw_dir, validation_size=validation_size)
    if name in MIXTURES:
        return mixture_dataset(name, validation_size=validation_size)
    if name == "chords":
        size = 50 if validation_size is None else validation_size
        return synthetic_dataset(name, chord_walk, train_size=200, validation_size=size, test_size=100)
    if name == "events":
        size = 60 if validation_size is None else validation_size
        return synthetic_dataset(name, events, train_size=300, validation_size=size, test_size=300)
    if name == SHAKESPEARE:
        return shakespeare_dataset(raw_dir=raw_dir, validation_size=validation_size)
    if name == "sentences":
        text = written(sentences(), NUM_WRITTEN)
        return text_dataset(name, text, sha256=text_sha256(text), validation_size=validation_size)
    suffix, exists = path.suffix.lower(), bool(name) and _exists(path)
    if suffix == ".ts" or (suffix not in SUFFIXES and exists and path.is_dir()):
        return ts_dataset(path, validation_size=validation_size)
    if suffix in SUFFIXES or path.is_absolute() or name.startswith((".", "~")) or exists:
        return file_dataset(path, validation_size=validation_size)
    from seqjax.data.tfds_directory import prepared_dataset

    dataset = prepared_dataset(name, directory, validation_size=validation_size)
    if dataset is None:
        raise DataError(
            f"unknown data set '{name}': expected {', '.join(NAMES)}, the path of a"
            f" {', '.join(SUFFIXES)} or .ts file,\n"
            "or a name that TFDS has prepared in $TFDS_DATA_DIR, ~/tensorflow_datasets or $SEQJAX_DATA_DIR."
        )
    return dataset


def is_resident(dataset: Dataset, *, limit_bytes: int = RESIDENT_BYTES) -> bool:
    """Whether all fields of all splits together take at most `limit_bytes` of device memory, as they are stored."""
    splits = (dataset.train, dataset.validation, dataset.test)
    sizes = [np.prod(f.shape, dtype=np.int64) * f.dtype.itemsize for split in splits for f in split.fields.values()]
    return int(sum(sizes)) <= limit_bytes


def _built(name: str, data_dir: Path, raw_dir: Path | None, validation_size: int | None) -> Dataset:
    # imported here: tensorflow_datasets takes half a second
    match name:
        case "digits":
            from seqjax.data.builders.digits import CONTENT_SHA256
            from seqjax.data.builders.digits import Digits as Builder

            default, options = 180, {}
        case "mnist":
            from seqjax.data.builders.mnist import CONTENT_SHA256
            from seqjax.data.builders.mnist import Mnist as Builder

            default, options = 5000, {"raw_dir": raw_dir}
        case _:
            from seqjax.data.builders.fashion_mnist import CONTENT_SHA256
            from seqjax.data.builders.fashion_mnist import FashionMnist as Builder

            default, options = 5000, {"raw_dir": raw_dir}

    def make_builder(directory: Path) -> Builder:
        return Builder(data_dir=directory, file_format="array_record", **options)

    arrays = prepared_arrays(make_builder, data_dir, sha256=CONTENT_SHA256)
    size = default if validation_size is None else validation_size
    return tail_as_validation(name, arrays["train"], arrays["test"], sha256=CONTENT_SHA256, validation_size=size)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return False
