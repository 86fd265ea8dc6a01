"""Builders of the project: content, splits, raw files that are missing or damaged, two processes at once."""

import gzip
import io
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.load import is_resident, load
from seqjax.data.raw import raw_content
from seqjax.data.stored import StoredRows
from seqjax.errors import DataError, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A data directory that the tests of this file share."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="session")
def raw_dir():
    path = Path(os.environ.get("SEQJAX_RAW_DIR") or ROOT.parent / "shared" / "data")
    if not (path / "mnist").is_dir():
        pytest.skip(f"no raw files of MNIST in {path}; set SEQJAX_RAW_DIR")
    return path


@pytest.fixture
def offline(monkeypatch):
    """Downloads fail at once, and nothing on this machine is found by accident."""

    def refuse(url, timeout):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    for name in ("SEQJAX_RAW_DIR", "SEQJAX_DATA_DIR", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def fields_of(dataset):
    return [(name, field) for split in dataset[1:4] for name, field in sorted(split.fields.items())]


def test_digits_are_scikit_learns(prepared, offline):
    from sklearn.datasets import load_digits

    digits = load("digits", data_dir=prepared)
    assert [split.num_examples for split in digits[1:4]] == [1257, 180, 360]
    x = np.concatenate([split.fields["x"] for split in digits[1:4]])
    label = np.concatenate([split.fields["label"] for split in digits[1:4]])
    assert (x.dtype, label.dtype) == (np.float32, np.int32)
    expected_x, expected_label = load_digits(return_X_y=True)
    ours = sorted((*row, name) for row, name in zip((x * 16).tolist(), label.tolist(), strict=True))
    theirs = sorted((*row, name) for row, name in zip(expected_x.tolist(), expected_label.tolist(), strict=True))
    assert ours == theirs
    for split in digits[1:4]:
        assert np.bincount(split.fields["label"], minlength=10).min() >= 10
    assert digits.train.fields["label"][:8].tolist() == [2, 8, 2, 6, 6, 7, 1, 9]  # the pinned order


@pytest.mark.parametrize(("size", "expected"), [(0, [1437, 0, 360]), (437, [1000, 437, 360])])
def test_validation_size_is_taken_from_the_end_of_the_training_set(prepared, size, expected):
    cut, default = load("digits", data_dir=prepared, validation_size=size), load("digits", data_dir=prepared)
    assert [split.num_examples for split in cut[1:4]] == expected
    assert cut.sha256 == default.sha256
    for name in ("x", "label"):
        together = [np.concatenate([d.train.fields[name], d.validation.fields[name]]) for d in (cut, default)]
        np.testing.assert_array_equal(*together)


@pytest.mark.parametrize("size", [-1, 1437])
def test_impossible_validation_size(prepared, size):
    with pytest.raises(UsageError, match=r"validation size .* is not from 0 to 1436"):
        load("digits", data_dir=prepared, validation_size=size)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_images_are_the_raw_files(name, raw_dir, prepared, offline):
    first = load(name, data_dir=prepared, raw_dir=raw_dir)
    again = load(name, data_dir=prepared)  # prepared: neither raw files nor network are needed
    assert [split.num_examples for split in first[1:4]] == [55_000, 5_000, 10_000]
    for (field, a), (_, b) in zip(fields_of(first), fields_of(again), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=field)
    for prefix, splits in (("train", (again.train, again.validation)), ("t10k", (again.test,))):
        images = gzip.decompress((raw_dir / name / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((raw_dir / name / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
        assert np.concatenate([split.fields["x"] for split in splits]).tobytes() == images[16:]
        assert np.concatenate([split.fields["label"] for split in splits]).astype(np.uint8).tobytes() == labels[8:]
    assert again.train.fields["x"].dtype == np.uint8
    assert (os.stat(prepared / name).st_mode & 0o077) == 0


@pytest.mark.parametrize("damage", ["flipped", "truncated", "other", "garbage"])
def test_damaged_raw_file_is_refused(damage, raw_dir, tmp_path, offline):
    shutil.copytree(raw_dir / "mnist", tmp_path / "raw" / "mnist")
    (tmp_path / "raw" / "mnist").chmod(0o700)
    path = tmp_path / "raw" / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.chmod(0o600)
    packed = path.read_bytes()
    content = bytearray(gzip.decompress(packed))
    content[500] ^= 1
    flipped = bytearray(packed)
    flipped[2000] ^= 1
    path.write_bytes(
        {"flipped": bytes(flipped), "truncated": packed[:3000], "other": gzip.compress(content), "garbage": b"no"}[
            damage
        ]
    )
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=tmp_path / "data", raw_dir=tmp_path / "raw")
    message = str(caught.value)
    assert str(path) in message
    assert "fetch it again" in message
    assert ("expected ff7bcfd4" in message) == (damage in ("other", "garbage"))
    assert not (tmp_path / "data" / "mnist").exists()
    assert not list((tmp_path / "data").iterdir())


def test_missing_raw_file_without_network(tmp_path, offline):
    with pytest.raises(DataError, match=r"mnist: the raw file train-images.*SEQJAX_RAW_DIR is not set.*no network"):
        load("mnist", data_dir=tmp_path)
    with pytest.raises(DataError) as caught:
        load("fashion_mnist", data_dir=tmp_path, raw_dir=tmp_path / "raw")
    assert f"is not in {tmp_path / 'raw' / 'fashion_mnist'}" in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_raw_file_is_downloaded_from_the_first_mirror_that_answers(monkeypatch):
    import hashlib

    asked = []

    def answer(url, timeout):
        asked.append(url)
        if "down" in url:
            raise urllib.error.URLError("down")
        return io.BytesIO(gzip.compress(b"content"))

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.delenv("SEQJAX_RAW_DIR", raising=False)
    digest = hashlib.sha256(b"content").hexdigest()
    assert raw_content("set", "file", sha256=digest, mirrors=("https://down", "https://up")) == b"content"
    assert asked == ["https://down/file.gz", "https://up/file.gz"]
    with pytest.raises(DataError, match="is not the file expected"):
        raw_content("set", "file", sha256="0" * 64, mirrors=("https://up",))


def test_plain_raw_file_will_do(tmp_path, monkeypatch, offline):
    import hashlib

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file").write_bytes(b"content")
    monkeypatch.setenv("SEQJAX_RAW_DIR", str(tmp_path))
    assert raw_content("set", "file", sha256=hashlib.sha256(b"content").hexdigest(), mirrors=()) == b"content"


@pytest.mark.parametrize("damage", ["removed", "flipped", "truncated"])
def test_damaged_preparation_is_redone(damage, tmp_path, offline):
    expected = load("digits", data_dir=tmp_path)
    path = next((tmp_path / "digits" / "1.0.0").glob("*test.array_record*"))
    content = bytearray(path.read_bytes())
    if damage == "removed":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:1000])
    else:
        content[70_000] ^= 1
        path.write_bytes(content)
    again = load("digits", data_dir=tmp_path)
    for (field, a), (_, b) in zip(fields_of(expected), fields_of(again), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=field)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["digits"]


def test_other_content_than_the_pinned_is_refused_then_redone(tmp_path, offline, monkeypatch):
    import sklearn.datasets

    x, label = sklearn.datasets.load_digits(return_X_y=True)
    with monkeypatch.context() as patched:
        patched.setattr(sklearn.datasets, "load_digits", lambda return_X_y: (16 - x, label))
        with pytest.raises(DataError, match=r"digits: .* does not have the expected SHA-256"):
            load("digits", data_dir=tmp_path)
    assert load("digits", data_dir=tmp_path).train.num_examples == 1257


def test_data_directory_that_cannot_be_written(tmp_path, offline):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot prepare data in .*file.*\n.*SEQJAX_DATA_DIR"):
        load("digits", data_dir=tmp_path / "file")


def test_data_directory_that_cannot_be_read(tmp_path, offline, monkeypatch):
    exists = Path.exists

    def refuse(path):
        if path.name == "1.0.0":
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DataError, match=r"^cannot read prepared data in .*: Permission denied\.\nSet SEQJAX_DATA_DIR"):
        load("digits", data_dir=tmp_path)


def test_two_processes_prepare_at_once_and_without_tensorflow(tmp_path):
    program = (
        "import sys; from seqjax.data.load import load; digits = load('digits'); "
        "assert 'tensorflow' not in sys.modules; print(digits.sha256, digits.train.fields['x'].sum())"
    )
    environment = {**os.environ, "SEQJAX_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-W", "error", "-c", program]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert printed[0] == printed[1]
    assert printed[0][0].count("\n") == 1  # nothing else is printed
    assert printed[0][1] == ""
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["digits"]


@pytest.mark.parametrize("name", ["digit", "no/such", "x" * 5000, "nul\0", "", "mnist:9.9.9", "a b"])
def test_unknown_name(name, tmp_path, offline, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"digits, mnist, fashion_mnist") as caught:
        load(name, data_dir=tmp_path)
    assert str(caught.value).count("\n") == 1


def test_residence_is_decided_by_bytes(prepared):
    digits = load("digits", data_dir=prepared)
    size = 1797 * (64 + 1) * 4
    assert is_resident(digits)
    assert is_resident(digits, limit_bytes=size)
    assert not is_resident(digits, limit_bytes=size - 1)


def test_rows_on_disk_become_arrays_where_arrays_are_wanted():
    array = np.arange(12.0).reshape(6, 2)
    field = StoredRows(array, np.asarray([4, 0, 2]), np.dtype(np.float32))
    np.testing.assert_array_equal(np.asarray(field), array[[4, 0, 2]].astype(np.float32))
    np.testing.assert_array_equal(jnp.asarray(field.part(slice(1, 3))), array[[0, 2]])
