"""Data sets prepared on disk by TFDS as array_record files, read without TensorFlow."""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.errors import DataError

Arrays = dict[str, dict[str, np.ndarray]]  # by split, then by field, with the example axis first


def data_directory() -> Path:
    """`$SEQJAX_DATA_DIR`, or `~/.cache/seqjax`."""
    return Path(os.environ.get("SEQJAX_DATA_DIR") or Path.home() / ".cache" / "seqjax").expanduser()


def prepared_arrays(make_builder: Callable[[Path], Any], data_dir: Path, *, sha256: str) -> Arrays:
    """All arrays of a builder of the project, prepared first where they are missing or damaged.

    `make_builder(data_dir)` gives the TFDS builder. What is read back has to have the pinned `content_sha256`.
    """
    for attempt in range(3):
        try:
            builder = make_builder(data_dir)
            place = Path(builder.data_path)
            exists = place.exists()
        except OSError as error:
            raise DataError(
                f"cannot read prepared data in {data_dir}: {error.strerror or error}.\n"
                "Set SEQJAX_DATA_DIR to a directory that can be read and written to."
            ) from None
        if exists:
            arrays = _arrays_if_intact(builder, sha256)
            if arrays is not None:
                return arrays
        if attempt < 2:
            _prepare(make_builder, data_dir, damaged=place if exists else None)
    raise DataError(
        f"{builder.name}: what was prepared in {place} does not have the expected SHA-256 {sha256}.\n"
        "Delete this directory and run again; if it stays so, the disk or an installed package is at fault."
    )


def content_sha256(arrays: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """SHA-256 over split and field names, dtypes, shapes and values (little-endian)."""
    digest = hashlib.sha256()
    for split in sorted(arrays):
        for name in sorted(arrays[split]):
            array = arrays[split][name]
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            digest.update(f"{split}/{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.data)
    return digest.hexdigest()


def _arrays_if_intact(builder: Any, sha256: str) -> Arrays | None:
    try:
        arrays = {split: _split_arrays(builder, split) for split in builder.info.splits}
    except Exception:  # a damaged file can end in any error of four libraries; the answer is to prepare it again
        return None
    return arrays if content_sha256(arrays) == sha256 else None


def _split_arrays(builder: Any, split: str) -> dict[str, np.ndarray]:
    source = builder.as_data_source(split=split)
    records = source.__getitems__(range(len(source)))
    arrays = {}
    for name, feature in builder.info.features.items():
        values = np.stack([record[name] for record in records]).astype(feature.np_dtype, copy=False)
        blocked = np.ndim(records[0]["label"])  # a record holds one row, or a block of rows
        arrays[name] = values.reshape(-1, *feature.shape[blocked:])
    return arrays


def _prepare(make_builder: Callable[[Path], Any], data_dir: Path, *, damaged: Path | None) -> None:
    """Prepares into a directory of its own and moves it into place, so that no half is ever seen.

    Of two processes at work at once, on one host or on several, one comes second and finds the place taken.
    """
    import tensorflow_datasets as tfds

    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(data_dir)
        with tempfile.TemporaryDirectory(prefix=".preparing-", dir=data_dir, ignore_cleanup_errors=True) as staging:
            builder = make_builder(Path(staging))
            # TFDS tells of its progress on both; to switch that off would do so for the whole process
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                builder.download_and_prepare(
                    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                    permissions=tfds.core.utils.file_utils.Permissions(mode=0o700),
                )
            made = Path(builder.data_path)
            place = data_dir / made.relative_to(staging)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if damaged is not None:
                with contextlib.suppress(FileNotFoundError):
                    damaged.rename(Path(staging) / "damaged")
            try:
                made.rename(place)
            except OSError:
                if not place.exists():
                    raise
    except OSError as error:
        raise DataError(
            f"cannot prepare data in {data_dir}: {error.strerror or error}.\n"
            "Set SEQJAX_DATA_DIR to a directory with room that can be written to."
        ) from None


def _remove_abandoned(data_dir: Path) -> None:
    for path in data_dir.glob(".preparing-*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - 24 * 3600:
                shutil.rmtree(path)
