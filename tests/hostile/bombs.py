"""Small files that claim to be large, or unpack to be."""

import io
import json
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorstore
from readers import (
    DESCRIPTION,
    IDX,
    MAT_HEADER,
    NEWEST,
    copied_checkpoint,
    idx_files,
    lstm_params,
    manifest,
    read_config,
    read_idx,
    read_mat,
    restored,
    signed,
)

from launch import grid
from results.table import data_in
from seqjax.data.files import file_dataset
from seqjax.data.series import ts_dataset
from seqjax.data.tfds_directory import prepared_dataset
from seqjax.errors import SeqjaxError, require
from seqjax.experiment.loading import load
from seqjax.experiment.rundir import read_metrics
from seqjax.interop.recurrent import load_weights
from seqjax.storage import sha256_of_file

BLOCK = 2**24
WAYS = {"deflate": -zlib.MAX_WBITS, "zlib": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}


def zeros(size: int, way: str, start: bytes = b"") -> bytes:
    """`start` and then zeros, compressed without compressing them all: one compressed block, over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, WAYS[way])
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size // BLOCK) + packer.flush()


def npy_header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


def npz(name: str, size: int, *, said: int | None = None) -> bytes:
    """An archive of one array of float32 zeros [N 4]. said: bytes that the archive says it unpacks to."""
    header = npy_header((size // 16, 4))
    packed = zeros(size, "deflate", header)
    told = len(header) + size if said is None else said
    member = name.encode()
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), told, len(member), 0)
    local = b"PK\3\4" + common + member + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + member
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def png(size: int) -> bytes:
    """A picture whose description unpacks to this many bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    picture = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0))
    text = chunk(b"zTXt", b"Description\0\0" + zeros(size, "zlib"))
    return b"\x89PNG\r\n\x1a\n" + picture + text + chunk(b"IEND", b"")


def large_chunk(folder: Path, size: int) -> None:
    """A checkpoint that agrees with itself, with one array stored as a part of a chunk of this many bytes."""
    copied_checkpoint(folder)
    place = folder / NEWEST
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": {"driver": "file", "path": f"{place}/"}}).result()
    described = json.loads(store.read("array_00001/.zarray").result().value)
    forged = described | {"chunks": [2, size // 8], "compressor": {"id": "zlib", "level": 1}}
    store.write("array_00001/.zarray", json.dumps(forged).encode()).result()
    store.write("array_00001/0.0", zeros(size, "zlib")).result()
    found = {str(path.relative_to(place)): sha256_of_file(path) for path in place.rglob("*") if path.is_file()}
    (folder / f"{NEWEST}.json").write_bytes(signed(manifest() | {"files": found}))


def claimed_data_set(folder: Path) -> None:
    """Of TFDS, without rows, of which it has 10^15 large ones."""
    place = folder / "numbers" / "1.0.0"
    place.mkdir(parents=True)
    tensor = {"shape": {"dimensions": ["1000000", "1000000"]}, "dtype": "float32", "encoding": "none"}
    feature = {"pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor", "tensor": tensor}
    described = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": {"x": feature}},
    }
    split = {"filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}", "numBytes": "1"}
    splits = [split | {"name": name, "shardLengths": ["1000000000000000"]} for name in ("train", "test")]
    info = {"fileFormat": "array_record", "moduleName": "n", "name": "numbers", "splits": splits, "version": "1.0.0"}
    (place / "features.json").write_text(json.dumps(described))
    (place / "dataset_info.json").write_text(json.dumps(info))
    for name in ("train", "test"):
        (place / f"numbers-{name}.array_record-00000-of-00001").write_bytes(b"")


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind: int, shape: tuple[int, int], content: bytes, name: bytes = b"") -> bytes:
    """An element of a `.mat` file, of this class."""
    flags = element(6, struct.pack("<II", kind, 0))
    return element(14, flags + element(5, struct.pack("<ii", *shape)) + element(1, name) + content)


def mat(*packed: bytes) -> bytes:
    """A `.mat` file of compressed elements."""
    return MAT_HEADER + b"".join(struct.pack("<II", 15, len(part)) + part for part in packed)


def mat_of(count: int, cells: bytes) -> bytes:
    """With a training split of so many cells, and one piece in each other."""
    held = {b"validdata": (1, piece(1)), b"testdata": (1, piece(1)), b"traindata": (count, cells)}
    return mat(*(zlib.compress(matrix(1, (1, count), cells, name)) for name, (count, cells) in held.items()))


def piece(length: int) -> bytes:
    return matrix(9, (length, 88), element(2, bytes(88 * length)))


def described(folder: Path, change: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(DESCRIPTION | change))


def figure(path: Path) -> object:
    data = data_in(path)
    require(data is not None, "figure", path, "one with its numbers")
    return data


class Bomb(NamedTuple):
    """put: lays it into a folder; read: reads it there."""

    put: Callable[[Path], object]
    read: Callable[[Path], object]


def file(
    name: str,
    content: Callable[[], bytes],
    read: Callable[[Path], object],
    beside: Callable[[Path], None] = lambda folder: None,
) -> Bomb:
    def put(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        beside(folder)
        (folder / name).write_bytes(content())

    return Bomb(put, lambda folder: read(folder / name))


GIB = 2**30
MOST_BYTES = 16 * GIB  # of addresses: should a bomb go off, the machine is to stay
HEADER = "@univariate true\n@equalLength {}\n@classLabel false\n{}@data\n"
BOMBS = {
    "npz of 3 GiB": file("a.npz", lambda: npz("x.npy", 3 * GIB), file_dataset),
    "npz of 3 GiB that says 1 MiB": file("a.npz", lambda: npz("x.npy", 3 * GIB, said=2**20), file_dataset),
    "weights of 3 GiB": file(
        "w.npz", lambda: npz("cell_0/input_kernel.npy", 3 * GIB), lambda path: load_weights(path, lstm_params())
    ),
    "npy of 10^18 values": file("a.npy", lambda: npy_header((10**18, 1)) + bytes(8), file_dataset),
    "safetensors of 10^18 bytes": file(
        "w.safetensors", lambda: struct.pack("<Q", 10**18) + b"{}", lambda path: load_weights(path, lstm_params())
    ),
    "IDX of 20 GiB": file("mnist/train-images-idx3-ubyte.gz", lambda: zeros(20 * GIB, "gzip"), read_idx, idx_files),
    "IDX of 10^12 values": file(
        "mnist/train-images-idx3-ubyte", lambda: IDX[:4] + b"\xff" * 4 + IDX[8:], read_idx, idx_files
    ),
    "mat of 20 GiB": file("music/a.mat", lambda: mat(zeros(20 * GIB, "zlib", struct.pack("<II", 14, 2**31))), read_mat),
    "mat of 4 10^18 numbers": file(
        "music/a.mat", lambda: mat_of(1, matrix(9, (2**31 - 1, 2**31 - 1), element(2, bytes(8)))), read_mat
    ),
    "mat of 10^6 empty matrices": file("music/a.mat", lambda: mat_of(10**6, piece(0) * 10**6), read_mat),
    "mat, one long piece and many short": file(
        "music/a.mat", lambda: mat_of(3001, piece(20_000) + piece(1) * 3000), read_mat
    ),
    "picture of 10^18 pixels and 20 GiB of text": file("a.png", lambda: png(20 * GIB), figure),
    "series, one long and many short": file(
        "a.ts", lambda: (HEADER.format("false", "") + "1," * 10**6 + "1\n" + "1\n" * 10**6).encode(), ts_dataset
    ),
    "series said to be long": file(
        "a.ts", lambda: HEADER.format("true", f"@seriesLength {10**15}\n@dimensions {10**15}\n").encode(), ts_dataset
    ),
    "configuration of empty objects": file(
        "config.json", lambda: b"[" + b"{}," * (10**8 // 3) + b"{}]", lambda path: read_config(path.parent)
    ),
    "configuration of brackets": file("config.json", lambda: b"[" * 10**7, lambda path: read_config(path.parent)),
    "metrics of empty objects": file(
        "metrics.jsonl", lambda: b"[" + b"{}," * (10**8 // 3) + b"{}]\n", lambda path: read_metrics(path.parent)
    ),
    "grid of 10^60": file(
        "grid.json", lambda: json.dumps({"grid": {f"f{i}": list(range(1000)) for i in range(20)}}).encode(), grid.read
    ),
    "run of 10^9 seeds": Bomb(
        lambda folder: described(folder, {"plan": DESCRIPTION["plan"] | {"seeds": 10**9}}), read_config
    ),
    "run of 10^10 weights": Bomb(
        lambda folder: described(folder, {"config": DESCRIPTION["config"] | {"hidden": [10**8, 100]}}),
        load,
    ),
    "checkpoint in a chunk of 20 GiB": Bomb(lambda folder: large_chunk(folder, 20 * GIB), restored),
    "data set of TFDS of 10^27 values": Bomb(claimed_data_set, lambda folder: prepared_dataset("numbers", folder)),
}


def peak(read: Callable[[Path], object], folder: Path) -> tuple[str, float]:
    """How the reading ends, and how much memory it took beyond what the process had, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    try:
        read(folder)
        end = "read"
    except SeqjaxError as error:
        end = "refused" if len(str(error).splitlines()) <= 2 else str(error)
    except BaseException as error:
        end = f"{type(error).__name__}: {error}"
    return end, memory("VmHWM") - before


def memory(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    for name, bomb in BOMBS.items():
        folder = Path(sys.argv[1]) / name.replace(" ", "_")
        print(json.dumps([name, *peak(bomb.read, folder)]), flush=True)
