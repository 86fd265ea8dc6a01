"""Every reader of files, each with the sound files that its inputs are made of."""

import dataclasses
import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from mutations import (
    edited,
    edited_idx,
    edited_json,
    edited_lines,
    edited_mat,
    edited_npy,
    edited_npz,
    edited_value,
)
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from experiments import autoencoder
from launch import grid, journal, progress
from launch.fields import Field, canonical, fields_of, flags_of
from launch.grid import Member
from launch.status import status
from results.report.run_directory import read_run
from results.report.runs import report_of_runs
from results.row import Row
from results.stored import checked
from results.table import data_in
from seqjax import checkpoint
from seqjax.data.builders.idx import idx_splits
from seqjax.data.files import file_dataset
from seqjax.data.labelled_series import labelled_series
from seqjax.data.long_series import long_series
from seqjax.data.music import FILES, music_dataset
from seqjax.data.series import ts_dataset
from seqjax.data.tfds_directory import prepared_dataset
from seqjax.experiment.loading import config_from
from seqjax.experiment.progress import show_table
from seqjax.experiment.rundir import read_description, read_metrics
from seqjax.interop.recurrent import load_weights, save_weights
from seqjax.models.recurrent import RNN
from seqjax.receipt import read_receipt
from seqjax.recurrent import lstm


class Reader(NamedTuple):
    """One way to read files.

    made: the content of a wrong one; read: reads it, as it lies beside what `around` has put there; share: of the
    inputs, where 1 is as many as of any other.
    """

    file: str
    made: Callable[[Random], bytes]
    read: Callable[[Path], object]
    around: Callable[[Path], None] = lambda folder: None
    share: float = 1.0


@cache
def npy(kind: str = "f8", *, columns: int | None = 3) -> bytes:
    """Twenty rows, of columns or of a number."""
    file = io.BytesIO()
    np.save(file, np.arange(20 * (columns or 1)).reshape(20, *([columns] if columns else [])).astype(kind))
    return file.getvalue()


def npz(random: Random) -> bytes:
    whole = {"x.npy": npy(), "label.npy": npy("i8", columns=None)}
    parted = {"x_train.npy": npy("u1"), "y_train.npy": npy("i8", columns=None), "x_test.npy": npy("u1")}
    return edited_npz(random.choice((whole, parted)), random)


CSV = b"a,b,label\n" + b"".join(b"%d,%.3f,%d\n" % (i, i / 7, i % 2) for i in range(30))
TEXTS = ("It is a long text, as texts go.\n" * 3).encode(), "\ufeffSo weit, so kurz: žluťoučký kůň.\r\n".encode()
TS = (
    b"# of two channels\n@problemName made\n@timestamps false\n@missing true\n@univariate false\n@dimensions 2\n"
    b"@equalLength true\n@seriesLength 4\n@classLabel true a b\n@data\n"
    + b"".join(b"%d,2.5,?,4:1,-2e-3,3,%d:%s\n" % (i, i, b"ab"[i % 2 : i % 2 + 1]) for i in range(12)),
    b"@univariate true\n@equalLength false\n@classLabel false\n@data\n" + b"1,2,3\n4,5\n6\n" * 4,
)
IDX = b"\0\0\x08\3\0\0\0\2\0\0\0\x1c\0\0\0\x1c" + bytes(2 * 28 * 28)
IDX_LABELS = b"\0\0\x08\1\0\0\0\2\3\1"
IDX_FILES = {
    f"{part}-{file}": content
    for part in ("train", "t10k")
    for file, content in (("images-idx3-ubyte", IDX), ("labels-idx1-ubyte", IDX_LABELS))
}


class HashOfAny(str):
    """A SHA-256 that every content has, so that what is behind the comparison is reached."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return False


OF_ANY = HashOfAny("0" * 64)


def raw_folder(path: Path) -> Path:
    return path.parent.parent


def idx_files(folder: Path) -> None:
    for name, content in IDX_FILES.items():
        (folder / "mnist").mkdir(exist_ok=True)
        (folder / "mnist" / name).write_bytes(content)


def read_idx(path: Path) -> object:
    return idx_splits("mnist", dict.fromkeys(IDX_FILES, OF_ANY), (), raw_folder(path))


MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"


@cache
def matrices() -> list[bytes]:
    """The elements of a `.mat` file of three pieces a split."""
    from scipy.io import savemat

    pieces = np.empty(3, object)
    pieces[:] = [np.eye(length, 88, dtype=kind) for length, kind in ((1, np.uint8), (2, np.uint8), (1, np.float64))]
    files = [io.BytesIO() for _ in range(3)]
    for file, name in zip(files, ("traindata", "validdata", "testdata"), strict=True):
        savemat(file, {name: pieces})
    return [file.getvalue()[len(MAT_HEADER) :] for file in files]


def read_mat(path: Path) -> object:
    with patch.dict(FILES, {"edited": (path.name, OF_ANY)}):
        return music_dataset("edited", raw_dir=raw_folder(path))


TFDS_PLACE = "numbers/1.0.0"
RECORDS = "numbers-train.array_record-00000-of-00001"


@cache
def made_data_set() -> tempfile.TemporaryDirectory:
    """With a data set that TFDS has prepared; it goes when the process ends."""
    with tfds.core.registered.skip_registration():

        class Numbers(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> tfds.core.DatasetInfo:
                x = tfds.features.Tensor(shape=(2,), dtype=np.float32)
                features = tfds.features.FeaturesDict({"x": x, "label": tfds.features.ClassLabel(num_classes=3)})
                return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

            def _split_generators(self, dl_manager) -> dict[str, Iterator]:
                return {"train": self._generate_examples(), "test": self._generate_examples()}

            def _generate_examples(self) -> Iterator:
                for row in range(20):
                    yield row, {"x": np.full(2, row, np.float32), "label": row % 3}

    folder = tempfile.TemporaryDirectory()
    Numbers(data_dir=folder.name, file_format="array_record").download_and_prepare()
    return folder


def copied_data_set(folder: Path) -> None:
    shutil.copytree(made_data_set().name, folder, dirs_exist_ok=True)


@cache
def tfds_file(name: str) -> bytes:
    return (Path(made_data_set().name) / TFDS_PLACE / name).read_bytes()


def tfds_json(name: str) -> Callable[[Random], bytes]:
    return lambda random: edited_json(json.loads(tfds_file(name)), random)


def read_tfds(path: Path) -> object:
    data = prepared_dataset("numbers", path.parent.parent.parent)
    return data and data.train.fields["x"]


DESCRIPTION = {
    "experiment": "autoencoder",
    "config": json.loads(json.dumps(dataclasses.asdict(autoencoder.Config()))),
    "plan": {"seed": 0, "seeds": 2, "processes": 1, "devices": 1, "platform": "cpu", "log_every": 50, "stream": False},
    "earlier": [{"devices": 2}],
    "data_sha256": "0" * 64,
}
METRICS = [{"phase": 0, "step": 10 * i, "loss": [0.5, None], "validation": [0.25, 0.5]} for i in range(1, 5)]
MEASURE = {"per_seed": [0.5, 0.75], "mean": 0.625, "ci95": 1.5882755919, "n": 2}
RECEIPT = DESCRIPTION | {
    "metrics": {"autoencoder/mse": MEASURE, "pca/mse": MEASURE},
    "skipped": [0, 0],
    "steps": [100, 100],
    "state_sha256": "0" * 64,
    "data": "digits",
    "code_sha256": "0" * 64,
    "health": "ok",
    "versions": {"jax": "0.11.0"},
    "device": "CPU, 2 cores",
    "compile_s": 1.5,
    "wall_s": 2.5,
    "peak_bytes": 10**8,
    "smoke": {"autoencoder/mse": 0.5},
    "confirmed_code": ["1" * 64],
}
ROW = Row("toy", "A row", "autoencoder", "--steps 100", "autoencoder/mse", "squared error", baselines=("pca/mse",))
GRIDS = (
    {"grid": {"learning_rate": [0.001, 0.01], "hidden": [[64], [32, 16]], "seed": [0, 1]}},
    {"list": [{"steps": 100}, {"steps": 200, "dataset": "mnist"}]},
)
MEMBERS = [
    Member(i, f"{i:010x}", "autoencoder", ["--steps", str(i)], f"runs/{i:04d}-{i:010x}")._asdict() for i in range(1, 5)
]
JOURNAL = [
    {"number": 1, "target": "slurm", "job_name": "autoencoder-0a1b", "members": [1, 2]},
    {"number": 1, "job": "17"},
    {"number": 2, "target": "local", "job_name": "autoencoder-0a1c", "members": [3]},
    {"number": 2, "job": None},
]
NEWEST = "0-000000010"
TREE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.int32(7)}


@cache
def made_folder() -> tempfile.TemporaryDirectory:
    """With a checkpoint; it goes when the process ends."""
    folder = tempfile.TemporaryDirectory()
    save = checkpoint.begin_save(Path(folder.name) / NEWEST, TREE, {"phase": 0, "done": 10, "validation": 0.5})
    checkpoint.commit(save)
    return folder


@cache
def sound_files() -> dict[str, bytes]:
    """Of this checkpoint, by name."""
    folder = Path(made_folder().name) / NEWEST
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@cache
def manifest() -> dict[str, Any]:
    return json.loads((Path(made_folder().name) / f"{NEWEST}.json").read_text())


def signed(forged: Any) -> bytes:
    """With the hash that makes it agree with itself, as who forges a manifest would give it."""
    if isinstance(forged, dict):
        forged.pop("manifest_sha256", None)
        forged["manifest_sha256"] = hashlib.sha256(json.dumps(forged, sort_keys=True).encode()).hexdigest()
    return json.dumps(forged).encode()


def edited_manifest(random: Random) -> bytes:
    forged = edited_value(manifest(), random)
    return signed(forged) if random.random() < 0.9 else edited_json(forged, random)


def copied_checkpoint(folder: Path) -> None:
    shutil.copytree(Path(made_folder().name) / NEWEST, folder / NEWEST)


def whole_checkpoint(folder: Path) -> None:
    copied_checkpoint(folder)
    (folder / f"{NEWEST}.json").write_bytes(signed(manifest()))


def restored(root: Path) -> object:
    return checkpoint.restore_newest(root, {0: jax.eval_shape(lambda: TREE)})


def edited_checkpoint_file(random: Random) -> bytes:
    """After a byte that says which of its files."""
    number = random.randrange(len(sound_files()))
    return bytes([number]) + edited(list(sound_files().values())[number], random)


def restored_with_file(path: Path) -> object:
    """The checkpoint with this file, and with a manifest that knows it."""
    number, *content = path.read_bytes() or b"\0"
    name = list(sound_files())[number % len(sound_files())]
    target, files = path.parent / NEWEST / name, manifest()["files"]
    target.write_bytes(bytes(content))
    known = files | {name: hashlib.sha256(bytes(content)).hexdigest()}
    (path.parent / f"{NEWEST}.json").write_bytes(signed(manifest() | {"files": known}))
    try:
        return restored(path.parent)
    finally:
        target.write_bytes(sound_files()[name])


@cache
def lstm_params() -> Any:
    model = RNN(lstm, 2)
    return jax.device_get(model.init(jax.random.key(0), jnp.zeros((1, 2, 3)))["params"])


@cache
def weights(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound{suffix}"
        save_weights(path, lstm_params())
        return path.read_bytes()


def weights_npz(random: Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(weights(".npz"))) as archive:
        return edited_npz({name: archive.read(name) for name in archive.namelist()}, random)


@cache
def figure() -> bytes:
    file, info = io.BytesIO(), PngInfo()
    info.add_text("Description", json.dumps({"autoencoder/mse": 0.5}))
    Image.new("L", (8, 8)).save(file, "png", pnginfo=info)
    return file.getvalue()


def finished_run(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(DESCRIPTION))


def receipt_of_run(folder: Path) -> None:
    (folder / "receipt.json").write_text(json.dumps(RECEIPT))


def reported(folder: Path) -> object:
    """Alone, and beside another."""
    run = read_run(folder)
    return report_of_runs([run], {}).encode() + report_of_runs([run, run._replace(label="other")], {}).encode()


def read_config(folder: Path) -> object:
    """As who loads a run does."""
    return config_from(autoencoder.Config, read_description(folder)["config"])


def read_grid(path: Path) -> object:
    """With every value put to the fields of the experiment, as a sweep does."""
    return [
        flags_of({field: canonical(fields(), field, value) for field, value in choice.items()})
        for choice in grid.read(path)
    ]


@cache
def fields() -> Mapping[str, Field]:
    return fields_of("autoencoder")


def shown_receipt(path: Path) -> object:
    """As the command line shows a run that is finished."""
    receipt = read_receipt(path)
    show_table(receipt["metrics"], receipt["plan"]["seeds"])
    return f"{receipt['data']} {receipt['health']} {receipt['wall_s']:.1f} {receipt['device']}"


def in_folder(read: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: read(path.parent)


READERS = {
    "npz": Reader("a.npz", npz, file_dataset),
    "npy": Reader("a.npy", lambda random: edited_npy(npy(), random), file_dataset),
    "npy_on_disk": Reader("a.npy", lambda random: edited_npy(npy(), random), partial(file_dataset, mapped_from=1)),
    "csv": Reader("a.csv", lambda random: edited(CSV, random), file_dataset),
    "long_series": Reader("a.csv", lambda random: edited(CSV.replace(b"label", b"c"), random), long_series),
    "labelled_series": Reader("a.csv", lambda random: edited(CSV, random), labelled_series),
    "text": Reader("a.txt", lambda random: edited(random.choice(TEXTS), random), file_dataset),
    "ts": Reader("a.ts", lambda random: edited(random.choice(TS), random), ts_dataset),
    "idx": Reader("mnist/train-images-idx3-ubyte.gz", partial(edited_idx, IDX), read_idx, idx_files),
    "mat": Reader("music/edited.mat", lambda random: edited_mat(MAT_HEADER, matrices(), random), read_mat),
    "tfds_features": Reader(
        f"{TFDS_PLACE}/features.json", tfds_json("features.json"), read_tfds, copied_data_set, share=0.3
    ),
    "tfds_info": Reader(
        f"{TFDS_PLACE}/dataset_info.json", tfds_json("dataset_info.json"), read_tfds, copied_data_set, share=0.3
    ),
    "tfds_records": Reader(
        f"{TFDS_PLACE}/{RECORDS}",
        lambda random: edited(tfds_file(RECORDS), random),
        read_tfds,
        copied_data_set,
        share=0.1,
    ),
    "config": Reader("config.json", lambda random: edited_json(DESCRIPTION, random), in_folder(read_config)),
    "metrics": Reader("metrics.jsonl", lambda random: edited_lines(METRICS, random), in_folder(read_metrics)),
    "receipt": Reader("receipt.json", lambda random: edited_json(RECEIPT, random), shown_receipt),
    "status": Reader("receipt.json", lambda random: edited_json(RECEIPT, random), in_folder(status), finished_run),
    "report_config": Reader(
        "config.json", lambda random: edited_json(DESCRIPTION, random), in_folder(reported), receipt_of_run, share=0.1
    ),
    "report_metrics": Reader(
        "metrics.jsonl", lambda random: edited_lines(METRICS, random), in_folder(reported), finished_run, share=0.1
    ),
    "report_receipt": Reader(
        "receipt.json", lambda random: edited_json(RECEIPT, random), in_folder(reported), finished_run, share=0.1
    ),
    "stored_receipt": Reader("toy.json", lambda random: edited_json(RECEIPT, random), partial(checked, ROW)),
    "figure": Reader("toy.png", lambda random: edited(figure(), random), data_in),
    "manifest": Reader(f"{NEWEST}.json", edited_manifest, in_folder(restored), copied_checkpoint),
    # at 20 ms an input
    "checkpoint": Reader("edited", edited_checkpoint_file, restored_with_file, whole_checkpoint, share=0.1),
    "grid": Reader("grid.json", lambda random: edited_json(random.choice(GRIDS), random), read_grid),
    "members": Reader("members.jsonl", lambda random: edited_lines(MEMBERS, random), in_folder(progress.read)),
    "weights_npz": Reader("w.npz", weights_npz, lambda path: load_weights(path, lstm_params())),
    "weights_safetensors": Reader(
        "w.safetensors",
        lambda random: edited(weights(".safetensors"), random),
        lambda path: load_weights(path, lstm_params()),
    ),
    "journal": Reader("journal.jsonl", lambda random: edited_lines(JOURNAL, random), in_folder(journal.read)),
}
