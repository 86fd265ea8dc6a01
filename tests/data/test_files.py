"""A user's own files: what they become, and every way in which they are refused."""

import contextlib
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data.files import file_dataset
from seqjax.data.load import load
from seqjax.errors import DataError, UsageError

X = np.arange(60.0).reshape(20, 3)
SIGNALLING_NAN = np.array(0x7FF0_0000_0000_0001).view(float)


def npz(**arrays):
    def write(path):
        np.savez(path, **arrays)

    return write


def npy(array, **options):
    return lambda path: np.save(path, array, **options)


def text(content):
    return lambda path: path.write_text(content)


def raw(content):
    return lambda path: path.write_bytes(content)


def rows(dataset, name="x"):
    return np.concatenate([np.asarray(split.fields[name][:]) for split in dataset[1:4]])


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_every_row_is_in_one_split_and_keeps_its_values(suffix, tmp_path):
    path = tmp_path / f"own{suffix}"
    match suffix:
        case ".npz":
            np.savez_compressed(path, x=X, y=np.arange(20))
        case ".npy":
            np.save(path, np.asfortranarray(X))
        case ".csv":
            path.write_text("a,b,label,c\n" + "".join(f"{a},{b},{i},{c}\n" for i, (a, b, c) in enumerate(X)) + "\n")
    own = load(path)
    assert [split.num_examples for split in own[1:4]] == [14, 3, 3]
    assert own.name == "own"
    found = rows(own)
    assert found.dtype == np.float32
    assert sorted(found[:, 0].tolist()) == X[:, 0].tolist()
    np.testing.assert_array_equal(found - found[:, :1], X - X[:, :1])
    if suffix != ".npy":
        labels = rows(own, "label")
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels * 3, found[:, 0])


@pytest.mark.parametrize("names", [("dog", "cat", "Eel"), ("b", "a, or c", "é")])
def test_names_of_classes_are_numbered_in_their_sorted_order(names, tmp_path):
    own = [names[i % 3] for i in range(20)]
    lines = [f'{a},{b},"{name} ",{c}' for (a, b, c), name in zip(X, own, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,Label,c", *lines]))
    found = load(tmp_path / "a.csv")
    expected = {i: sorted(names).index(own[i]) for i in range(20)}
    for row, label in zip(rows(found), rows(found, "label"), strict=True):
        assert label == expected[int(row[0]) // 3]
        np.testing.assert_array_equal(row, X[int(row[0]) // 3])


def test_numbers_as_labels_stay_as_they_are(tmp_path):
    (tmp_path / "a.csv").write_text("label,u\n" + "".join(f"{7 - i}{'.0' * (i % 2)},{i}\n" for i in range(20)))
    found = load(tmp_path / "a.csv")
    np.testing.assert_array_equal(rows(found, "label"), 7 - rows(found)[:, 0])


def test_splits_are_pinned_and_follow_the_file(tmp_path):
    np.save(tmp_path / "a.npy", X)
    first, again = load(str(tmp_path / "a.npy")), load(str(tmp_path / "a.npy"))
    order = [18, 1, 19, 8, 10, 17, 6, 13, 4, 2, 5, 14, 9, 7, 16, 11, 3, 0, 15, 12]
    assert (rows(first)[:, 0] / 3).tolist() == order
    assert first.sha256 == again.sha256
    np.save(tmp_path / "a.npy", X + 1)
    assert load(tmp_path / "a.npy").sha256 != first.sha256
    assert load(tmp_path / "a.npy", validation_size=0).validation.num_examples == 0
    assert load(tmp_path / "a.npy", validation_size=7).validation.num_examples == 7


def test_a_files_own_splits_are_kept(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x_train=X, label_train=np.arange(20), x_validation=X[:4], label_validation=[0] * 4, x_test=X[:5])
    own = load(path)
    np.testing.assert_array_equal(own.train.fields["x"], X)
    assert own.validation.num_examples == 4
    assert own.test.fields.keys() == {"x"}
    with pytest.raises(UsageError, match="validation split of 4 rows of its own"):
        load(path, validation_size=3)
    np.savez(path, x_train=X, x_test=X[:5])
    own = load(path)
    assert [split.num_examples for split in own[1:4]] == [17, 3, 5]


def test_sequences_bytes_and_whole_numbers(tmp_path):
    np.save(tmp_path / "bytes.npy", np.full((10, 4, 2), 200, np.uint8))
    own = load(tmp_path / "bytes.npy")
    assert own.train.fields["x"].dtype == np.uint8
    assert own.train.fields["x"].shape == (6, 4, 2)
    np.save(tmp_path / "whole.npy", np.full((10, 4), 200, np.int64))
    assert load(tmp_path / "whole.npy").train.fields["x"].dtype == np.float32


def test_large_array_stays_on_disk(tmp_path):
    np.save(tmp_path / "a.npy", X)
    held, mapped = (file_dataset(tmp_path / "a.npy", mapped_from=size) for size in (10**9, 1))
    assert isinstance(held.train.fields["x"], np.ndarray)
    assert not isinstance(mapped.train.fields["x"], np.ndarray)
    for a, b in zip(held[1:4], mapped[1:4], strict=True):
        assert a.fields["x"].shape == b.fields["x"].shape
        np.testing.assert_array_equal(a.fields["x"], b.fields["x"][:])
        np.testing.assert_array_equal(a.fields["x"][[2, 0]], b.fields["x"][np.array([2, 0])])
    np.save(tmp_path / "a.npy", np.where(X == 40, np.nan, X))
    with pytest.raises(DataError, match="row 13, column 1"):
        file_dataset(tmp_path / "a.npy", mapped_from=1)


def with_value(value, place):
    x = X.copy() if len(place) == 2 else X.reshape(5, 4, 3).copy()
    x[place] = value
    return x


def header(shape, dtype="<f8"):
    """An .npy file that promises more than it holds."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + b"\0" * 64


def zipped(content, compression=zipfile.ZIP_STORED):
    def write(path):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("x.npy", content)

    return write


def truncated(path):
    np.savez(path, x=X)
    path.write_bytes(path.read_bytes()[:300])


def flipped(path):
    np.savez(path, x=X)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


def misnamed(path):
    """Said to be UTF-8, and is not."""
    np.savez(path, xé=X)
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))


REFUSED = {
    "object array in npz": ("a.npz", npz(x=np.array([[1, "a"]], object)), "array 'x' is an object array; expected num"),
    "object array in npy": ("a.npy", npy(np.array([[1, "a"]], object), allow_pickle=True), "is an object array"),
    "text array": ("a.npz", npz(x=np.array([["a"]])), "array 'x' holds <U1; expected real numbers"),
    "complex": ("a.npy", npy(X * 1j), "holds complex128; expected real numbers"),
    "dates": ("a.npy", npy(X.astype("datetime64[s]")), "expected real numbers"),
    "spans of time": ("a.npy", npy(X.astype("timedelta64[s]")), "holds timedelta64.*; expected real numbers"),
    "records": ("a.npy", npy(np.zeros((3, 2), [("a", "f8")])), "expected real numbers"),
    "one axis": ("a.npy", npy(X[0]), r"shape \[3\]; expected \[N, D\]"),
    "no axis": ("a.npy", npy(np.float32(3)), r"shape \[\]; expected \[N, D\]"),
    "pictures": ("a.npy", npy(np.zeros((5, 8, 8, 3))), r"shape \[5, 8, 8, 3\]; expected .*height \* width"),
    "no rows": ("a.npz", npz(x=X[:0]), "has no rows"),
    "no columns": ("a.npz", npz(x=X[:, :0]), "has no features"),
    "too few rows": ("a.npy", npy(X[:2]), "2 rows cannot be parted"),
    "one row": ("a.npy", npy(X[:1]), "1 row cannot be parted"),
    "nan": ("a.npz", npz(x=with_value(np.nan, (7, 1))), "array 'x' has nan at row 7, column 1 .*expected finite"),
    "signalling nan": ("a.npy", npy(with_value(SIGNALLING_NAN, (7, 1))), "has nan at row 7, column 1"),
    "inf in a sequence": ("a.npy", npy(with_value(-np.inf, (2, 3, 0))), "has -inf at row 2, time step 3, column 0"),
    "too large for float32": ("a.npy", npy(with_value(1e300, (0, 2))), "has 1e.300 at row 0, column 2"),
    "no x": ("a.npz", npz(data=X), "holds data; expected an array 'x'"),
    "x beside splits": ("a.npz", npz(x=X, x_train=X), "expected an array 'x' .* or 'x_train'"),
    "empty npz": ("a.npz", npz(), "holds no arrays"),
    "labels of other length": (
        "a.npz",
        npz(x=X, label=np.zeros(19, int)),
        r"'label' has shape \[19\]; expected \[20\]",
    ),
    "labels of two axes": ("a.npz", npz(x=X, y=np.zeros((20, 1), int)), r"'y' has shape \[20, 1\]; expected \[20\]"),
    "broken labels": ("a.npz", npz(x=X, y=np.arange(20) / 2), "has 0.5 at row 1 .*whole numbers"),
    "nan labels": ("a.npz", npz(x=X, y=np.full(20, np.nan)), "has nan at row 0 .*whole numbers"),
    "spans of time as labels": (
        "a.npz",
        npz(x=X, y=np.zeros(20, "timedelta64[s]")),
        "'y' holds timedelta64.*; expected whole numbers",
    ),
    "huge labels": ("a.npz", npz(x=X, y=np.full(20, 2**40)), "at row 0 .*whole numbers of 32 bits"),
    "text labels": ("a.npz", npz(x=X, y=np.array(["a"] * 20)), "'y' holds <U1; expected whole numbers"),
    "splits of other width": ("a.npz", npz(x_train=X, x_test=X[:, :2]), "differ in shape"),
    "garbage npz": ("a.npz", raw(b"garbage" * 9), "is not a sound .npz file"),
    "empty file npz": ("a.npz", raw(b""), "is not a sound .npz file"),
    "npy named npz": ("a.npz", raw(header((2, 4))), "is not a sound .npz file"),
    "truncated npz": ("a.npz", truncated, "is not a sound .npz file"),
    "flipped npz": ("a.npz", flipped, "is not a sound .npz file"),
    "damaged name in npz": ("a.npz", misnamed, "is not a sound .npz file"),
    "npz of other compression": ("a.npz", zipped(b"", zipfile.ZIP_LZMA), "is compressed as NumPy does not"),
    "garbage npy": ("a.npy", raw(b"garbage" * 9), "is not in NumPy's .npy format"),
    "empty file npy": ("a.npy", raw(b""), "is not in NumPy's .npy format"),
    "cut header": ("a.npy", raw(header((2, 4))[:40]), "is not in NumPy's .npy format"),
    "greedy header": ("a.npy", raw(header((10**9, 10**9))), "is damaged: its header says .*64 bytes that follow"),
    "greedy header in npz": ("a.npz", zipped(header((10**12, 4))), "is damaged: its header says"),
    "negative shape": ("a.npy", raw(header((-2, -4))), "is damaged"),
    "text in csv": ("a.csv", text("1,2\n3,abc\n"), "line 2, column 2: expected a number, found 'abc'"),
    "text under a name": (
        "a.csv",
        text("u,v\n1,2\n\n3,\n"),
        r"line 4, column 2 \('v'\): found '', a missing value",
    ),
    "half a header": ("a.csv", text("1,v\n1,2\n"), "line 1, column 2: expected a number, found 'v'"),
    "ragged csv": ("a.csv", text("1,2\n3,4,5\n"), "line 2: 3 cells; expected 2"),
    "semicolons": ("a.csv", text("1;2\n3;4\n"), "has no rows|expected a number"),
    "nan in csv": (
        "a.csv",
        text("1,2\n3,nan\n4,5\n"),
        r"line 2, column 2: found 'nan', a missing value, which a \.csv cannot",
    ),
    "header alone": ("a.csv", text("u,v\n"), "has no rows"),
    "empty csv": ("a.csv", text(""), "has no rows"),
    "binary csv": ("a.csv", raw(bytes(range(256))), "is not a text file|expected a number"),
    "nul in csv": ("a.csv", raw(b"1,2\n\0,3\n"), "is not a text file|expected a number"),
    "two label columns": ("a.csv", text("label,u,Label\n1,2,3\n"), "has 2 columns named 'label'"),
    "no label in csv": ("a.csv", text("u,label\n1,cat\n2, \n"), r"line 3, column 2 \('label'\): found '', a missing"),
    "nan label in csv": ("a.csv", text("label,u\n0,1\nNaN,2\n"), r"line 3, column 1 .*found 'NaN', a missing"),
    "name among numbers": ("a.csv", text("u,label\n1,0\n2,1\n3,O\n"), "line 4, column 'label': found 'O', and numbers"),
    "text beside names": ("a.csv", text("label,u\ncat,1\ndog,x\n"), r"line 3, column 2 \('u'\): expected a number"),
    "infinity": ("a.csv", text("1,2\n3,-inf\n4,5\n"), "has -inf at row 1, column 1"),
    "only labels in csv": ("a.csv", text("label\n1\n2\n"), "has no features"),
    "unknown suffix": ("a.xls", text("1,2"), "files of kind '.xls' are not read; expected one of .npz.*.ts for series"),
    "missing": ("a.npz", lambda path: None, "no such file"),
    "directory": ("a.npz", lambda path: path.mkdir(), "is a directory; expected a file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_two_lines_that_name_the_file(case, tmp_path):
    name, write, message = REFUSED[case]
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError) as caught:
        load(path)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert case in ("too few rows", "one row") or str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_row_of_a_large_array_is_named(tmp_path):
    x = np.zeros((70_000, 100), np.float32)
    x[60_000, 9] = np.nan
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(DataError, match="nan at row 60000, column 9"):
        load(tmp_path / "a.npy")


def test_unreadable_file(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", X)

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*a.npy: Permission denied"):
        load(tmp_path / "a.npy")


def test_path_through_a_file(tmp_path):
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "a.npy" / "b.npz")


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".npz", ".npy", ".csv"]), magic=st.booleans())
def test_no_bytes_raise_anything_but_a_data_error(content, suffix, magic, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes({".npz": b"PK\3\4", ".npy": b"\x93NUMPY\1\0v\0", ".csv": b"1,2\n"}[suffix] * magic + content)
    with contextlib.suppress(DataError):
        load(path)
