"""Any data set that TFDS has prepared on this machine, by its TFDS name, without TensorFlow.

The fields: `x` is the feature `x`, else `image`, else the only numeric feature beside the labels; pictures become rows
[N, height * width * channels]. `label` is the feature `label` where that is one whole number a row.
The splits: `train`, `validation` and `test` by these names; one that is missing is drawn from `train` as
`seqjax.data.splits.split_dataset` says. Data of more than 2 GiB stay on disk and are read batch by batch.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.data.splits import checked_label, checked_x, split_dataset
from seqjax.data.stored import RecordField, StoredRows
from seqjax.errors import DataError
from seqjax.storage import read_json
from seqjax.types import Dataset

NAME = re.compile(r"(?P<name>[a-zA-Z]\w{0,99})(/(?P<config>[\w.+-]{1,99}))?(:(?P<version>\d+\.\d+\.\d+))?")
SPLITS = ("train", "validation", "test")
STORED_FROM_BYTES = 2**31
CLASS_KEYS = ("pythonClassName", "python_class_name", "type", "proto_cls")


def prepared_dataset(
    name: str, data_dir: Path, *, validation_size: int | None = None, stored_from: int = STORED_FROM_BYTES
) -> Dataset | None:
    """The data set `name[/config][:version]`, the newest version where none is said; None where there is no such.

    Its SHA-256 is over the files of the directory. Raises DataError if it is prepared in a form that needs TensorFlow,
    or has no field to train on.
    """
    match = NAME.fullmatch(name)
    directory = match and _directory(match, data_dir)
    if not directory:
        return None
    import tensorflow_datasets as tfds

    if not list(directory.glob("*.array_record*")):
        raise DataError(
            f"{directory} holds no array_record files, and reading others takes TensorFlow.\nPrepare it again:"
            f" tfds.builder('{name}', file_format='array_record').download_and_prepare()"
        )
    _raise_for_other_classes(directory)
    try:
        builder = tfds.builder_from_directory(directory)
        features = dict(builder.info.features)
    except Exception as error:  # a damaged description can end in any error of the library
        raise DataError(f"{directory} is not a sound TFDS data set ({_first_line(error)}). Prepare it again.") from None
    if "train" not in builder.info.splits:
        raise DataError(f"{directory} has the splits {', '.join(builder.info.splits) or 'none'}; expected 'train'.")
    parts = {}
    for split in SPLITS:
        if split in builder.info.splits:
            parts[split] = _split_fields(builder, split, _chosen(features, directory), stored_from, directory)
    return split_dataset(name, parts, sha256=_files_sha256(directory), validation_size=validation_size)


def _directory(match: re.Match, data_dir: Path) -> Path | None:
    roots = [os.environ.get("TFDS_DATA_DIR"), Path.home() / "tensorflow_datasets", data_dir]
    for root in (Path(root).expanduser() / match["name"] for root in roots if root):
        below = root / match["config"] if match["config"] else root
        found = [path.parent for pattern in ("*/features.json", "*/*/features.json") for path in below.glob(pattern)]
        found = [path for path in found if match["version"] in (None, path.name) and not path.name.startswith("incomp")]
        if len({path.parent for path in found}) > 1:
            configs = ", ".join(f"{match['name']}/{path.name}" for path in sorted({path.parent for path in found}))
            raise DataError(f"{root} holds several configurations; expected one of {configs}.")
        if found:
            return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
    return None


def _raise_for_other_classes(directory: Path) -> None:
    """TFDS imports whatever module the description of the features names: data must not choose code to run."""
    try:
        waiting = [read_json(directory / "features.json")]
    except (OSError, ValueError) as error:
        raise DataError(f"{directory} is not a sound TFDS data set ({_first_line(error)}). Prepare it again.") from None
    while waiting:
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        named = [value.get(key) for key in CLASS_KEYS] if isinstance(value, dict) else []
        for name in named:
            if isinstance(name, str) and "." in name and not name.startswith("tensorflow_datasets.core."):
                raise DataError(
                    f"{directory}: features.json names the class {name[:100]!r}; expected one of TFDS. Prepare the data"
                    " set again without it."
                )


def _chosen(features: dict[str, Any], directory: Path) -> dict[str, str]:
    """Which feature is which field."""

    def numeric(feature: Any) -> bool:
        return hasattr(feature, "np_dtype") and np.issubdtype(feature.np_dtype, np.number) and bool(feature.shape)

    candidates = [name for name, feature in features.items() if numeric(feature)]
    x = next((name for name in ("x", "image") if name in candidates), None)
    if x is None and len(candidates) == 1:
        x = candidates[0]
    if x is None or None in features[x].shape:
        described = ", ".join(f"{name} {getattr(feature, 'shape', '')}" for name, feature in sorted(features.items()))
        raise DataError(f"{directory} has the features {described}; expected 'x' or 'image' of a fixed shape.")
    label = features.get("label")
    labelled = label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    return {"x": x, **({"label": "label"} if labelled else {})}


def _split_fields(
    builder: Any, split: str, chosen: dict[str, str], stored_from: int, directory: Path
) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    fields = {}
    for field, name in chosen.items():
        skipped = {other: tfds.decode.SkipDecoding() for other in builder.info.features if other != name}
        feature = builder.info.features[name]
        where = f"{directory}: feature '{name}' of {split}"
        shape = feature.shape if len(feature.shape) < 3 else (math.prod(feature.shape),)
        try:
            source = builder.as_data_source(split=split, decoders=skipped)
            column = RecordField(source, name, (len(source), *shape))
            if field == "x" and math.prod(column.shape) * feature.np_dtype.itemsize >= stored_from:
                column[np.arange(1)]  # whose shape is then known not to be claimed alone
                kept = np.uint8 if feature.np_dtype == np.uint8 else np.float32
                fields[field] = StoredRows(column, np.arange(len(source)), np.dtype(kept))
                continue
            values = column[np.arange(len(source))] if len(source) else np.zeros(column.shape, feature.np_dtype)
        except Exception as error:  # a damaged file can end in any error of four libraries
            raise DataError(f"{where} cannot be read ({_first_line(error)}). Prepare the data set again.") from None
        fields[field] = checked_x(values, where) if field == "x" else checked_label(values, len(source), where)
    return fields


def _files_sha256(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in _sorted_files(directory):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _sorted_files(directory: Path) -> Iterable[Path]:
    return sorted(path for path in directory.glob("*.array_record*") if path.is_file())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
