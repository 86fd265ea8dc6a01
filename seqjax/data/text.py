"""Texts as rows of characters: tiny Shakespeare, a user's own file, made-up sentences; and characters as symbols.

Fields: `x [N]` int32, the Unicode code points of a split's characters, in the order of the text.
"""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Int

from seqjax.data.raw import raw_content
from seqjax.data.splits import split_dataset
from seqjax.errors import DataError
from seqjax.types import Dataset

NAME = "tiny_shakespeare"
FILE = "tiny_shakespeare.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
MIRRORS = ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare",)

FEWEST = 20  # characters of a text: with fewer the validation split would be empty
UNKNOWN = "\N{REPLACEMENT CHARACTER}"

Codes = Int[np.ndarray, "_"]  # code points


def shakespeare_dataset(*, raw_dir: Path | None = None, validation_size: int | None = None) -> Dataset:
    """`tiny_shakespeare`: 1,115,394 characters of plays, split as `text_dataset` does, which is how TFDS splits them.

    The file is looked for as `raw_dir/text/tiny_shakespeare.txt` (default `$SEQJAX_RAW_DIR/text/...`), then downloaded.
    Raises DataError if it cannot be had or is not the pinned one.
    """
    content = raw_content(
        "text", FILE, sha256=SHA256, mirrors=MIRRORS, raw_dir=raw_dir, mirror_suffix="", mirror_file="input.txt"
    )
    return text_dataset(NAME, content.decode(), sha256=SHA256, validation_size=validation_size)


def text_file_dataset(path: Path, *, validation_size: int | None = None) -> Dataset:
    """The text of a UTF-8 file, named by the file's stem; its SHA-256 is that of the file.

    Characters are what the file holds, line ends included; a byte order mark is left out. Raises DataError for bytes
    that are not UTF-8, and as `text_dataset`.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte {error.start} (counted from 0) is 0x{content[error.start]:02x}.\n"
            "Save it again as UTF-8."
        ) from None
    return text_dataset(path.stem, text, sha256=hashlib.sha256(content).hexdigest(), validation_size=validation_size)


def text_dataset(name: str, text: str, *, sha256: str, validation_size: int | None = None) -> Dataset:
    """The first 90 % of a text to train on, half of the rest to validate, its end to test.

    Raises DataError for a text of fewer than 20 characters, UsageError for a `validation_size` that is not this one's.
    """
    if len(text) < FEWEST:
        raise DataError(f"{name}: a text of {len(text)} characters, expected at least {FEWEST}.")
    codes = code_points(text)
    cut = int(0.9 * len(codes))
    held_out = codes[cut:]
    half = len(held_out) // 2
    parts = {"train": codes[:cut], "validation": held_out[:half], "test": held_out[half:]}
    fields = {split: {"x": part} for split, part in parts.items()}
    return split_dataset(name, fields, sha256=sha256, validation_size=validation_size)


def text_sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8, which is that of the file it would make."""
    return hashlib.sha256(text.encode()).hexdigest()


def code_points(text: str) -> Codes:
    # a lone surrogate, which Python can hold and UTF-32 cannot, comes back as it went in
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<i4").astype(np.int32)


def vocabulary(codes: Codes) -> Codes:
    """The different characters of a text, sorted: the V - 1 known symbols. Symbol V - 1 stands for all others."""
    return np.unique(codes)


def encode(codes: Codes, known: Codes) -> Codes:
    """The symbol of each character: its place in the vocabulary, or `len(known)` if it is not there."""
    places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[places] == codes, places, len(known)).astype(np.int32)


def decode(symbols: Codes, known: Codes) -> str:
    """The text of symbols; what is not in the vocabulary shows as U+FFFD."""
    codes = np.append(known, ord(UNKNOWN))[symbols]
    return codes.astype("<i4").tobytes().decode("utf-32-le", "surrogatepass")
