"""Raw files as their authors publish them: found in a folder or downloaded, and held to a pinned SHA-256."""

import gzip
import hashlib
import http.client
import io
import os
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from seqjax.errors import DataError

MAX_BYTES = 2**28  # more than any file of a builder holds; a damaged or hostile gzip must not fill the memory
TIMEOUT_S = 30


def raw_content(
    dataset: str,
    file: str,
    *,
    sha256: str,
    mirrors: Sequence[str],
    raw_dir: Path | None = None,
    mirror_suffix: str = ".gz",
    mirror_file: str | None = None,
) -> bytes:
    """The decompressed content of `file` (named without `.gz`).

    Looked for as `raw_dir/dataset/file.gz` and without `.gz`, where `raw_dir` defaults to `$SEQJAX_RAW_DIR`; otherwise
    `file.gz`, or what `mirror_suffix` says, is downloaded from the first mirror that answers, `mirror_file` being its
    name there. Raises DataError if it cannot be had, is damaged, or is not the file that was pinned: gzip wrappers
    differ between mirrors, so the hash is of what they hold.
    """
    if raw_dir is None and os.environ.get("SEQJAX_RAW_DIR"):
        raw_dir = Path(os.environ["SEQJAX_RAW_DIR"])
    source, packed = None, b""
    for path in () if raw_dir is None else (raw_dir / dataset / f"{file}.gz", raw_dir / dataset / file):
        if path.is_file():
            source, packed = str(path), _file_bytes(path)
            break
    if source is None:
        source, packed = _downloaded(dataset, f"{file}{mirror_suffix}", mirrors, raw_dir, mirror_file)
    content = _decompressed(packed, source)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"{source} is not the file expected: SHA-256 of its decompressed content is {found}, expected {sha256}.\n"
            "Delete it and fetch it again."
        )
    return content


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _decompressed(packed: bytes, source: str) -> bytes:
    if packed[:2] != b"\x1f\x8b":
        return packed
    try:
        # MAX_BYTES + 1 from the stream, not all of it: what is larger fails the hash
        return gzip.GzipFile(fileobj=io.BytesIO(packed)).read(MAX_BYTES + 1)
    except (EOFError, OSError, zlib.error):
        raise DataError(
            f"{source} is truncated or damaged: expected a gzip file. Delete it and fetch it again."
        ) from None


def _downloaded(
    dataset: str, file: str, mirrors: Sequence[str], raw_dir: Path | None, mirror_file: str | None
) -> tuple[str, bytes]:
    reason = "no mirror"
    for mirror in mirrors:
        url = f"{mirror}/{mirror_file or file}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                return url, answer.read(MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", None) or error)
    looked = f"is not in {raw_dir / dataset}" if raw_dir else "is not here (SEQJAX_RAW_DIR is not set)"
    raise DataError(
        f"{dataset}: the raw file {file} {looked} and cannot be downloaded ({reason}).\n"
        f"Put it into a folder {dataset}/ and set SEQJAX_RAW_DIR to the folder above."
    )
