"""`.mat` files: as SciPy reads them, and one line for each that is not cells of numbers."""

import io
import struct
import zlib

import numpy as np
import pytest
from scipy import sparse
from scipy.io import loadmat, savemat

from seqjax.data import mat_file
from seqjax.data.mat_file import read_cells
from seqjax.errors import DataError

KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def cells(*values):
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def saved(compressed=False, **arrays):
    file = io.BytesIO()
    savemat(file, arrays, do_compression=compressed)
    return file.getvalue()


def matrices(kind):
    random = np.random.default_rng(0)
    return [random.integers(0, 99, shape).astype(kind) for shape in ((1, 1), (3, 5), (0, 4), (2, 3, 4), (40, 30))]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_what_scipy_reads(kind, compressed):
    content = saved(compressed, other=np.ones(3), a=cells(*matrices(kind)), b=cells(np.float64([[0.5]])))
    (a, b) = read_cells(content, ["a", "b"], "file")
    expected = loadmat(io.BytesIO(content))
    for found, array in ((a, expected["a"]), (b, expected["b"])):
        assert len(found) == array.size
        for one, other in zip(found, array.ravel(), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def claiming(place, size, content=None):
    content = content or saved(a=cells(np.ones((2, 2))))
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


SHAPE = saved(a=cells(np.ones((2, 2)))).index(struct.pack("<IIii", 5, 8, 2, 2)) + 8
REFUSED = {
    "empty": (b"", "not of level 5"),
    "big-endian": (saved().replace(b"\0\1IM", b"\1\0MI"), "not of level 5"),
    "no such array": (saved(b=cells(1.0)), "holds nothing; expected a"),
    "no cells": (saved(a=np.ones(3)), "a is no cell array"),
    "text": (saved(a=cells("text")), "no matrix of real numbers"),
    "complex": (saved(a=cells(np.ones((2, 2)) * 1j)), "no matrix of real numbers"),
    "sparse": (saved(a=cells(sparse.eye(3, format="csc"))), "no matrix of real numbers"),
    "structure": (saved(a=cells({"x": 1.0})), "no matrix of real numbers"),
    "cells of cells": (saved(a=cells(cells(1.0))), "no matrix of real numbers"),
    "cut": (saved(a=cells(np.ones((2, 2))))[:-5], "claims .* bytes, of which"),
    "cut and compressed": (saved(True, a=cells(np.ones((2, 2))))[:-5], "claims .* bytes, of which"),
    "a tag cut": (saved() + b"\0\0\0", "3 bytes where an element should be"),
    "4 GiB": (claiming(132, 2**32 - 1), "an element claims 4294967295 bytes, of which"),
    "a long shape": (claiming(SHAPE, 2**31 - 1), "a matrix holds 4 numbers, not 4294967294"),
    "a negative shape": (claiming(SHAPE, 2**32 - 2), r"a matrix has the shape \[-2, 2\]"),
    "nine axes": (saved(a=cells(np.ones([2] * 9))), r"a matrix has the shape \[2, 2, 2, 2, 2, 2, 2, 2, 2\]"),
    "damaged": (saved(True, a=cells(np.ones((2, 2))))[:-2] + b"\0\0", "incorrect data check"),
    "no matrix": (saved() + struct.pack("<II", 9, 8) + bytes(8), "an element of kind 9 where a matrix should be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_content_is_refused_in_one_line(name):
    content, told = REFUSED[name]
    with pytest.raises(DataError, match=rf"^the file .*{told}") as caught:
        read_cells(content, ["a"], "the file")
    assert len(str(caught.value).splitlines()) == 1


def test_no_more_is_unpacked_than_may_be(monkeypatch):
    content = saved(True, a=cells(np.zeros((500, 500))), b=cells(np.zeros((500, 500))))
    monkeypatch.setattr(mat_file, "MOST_BYTES", 3 * 10**6)
    with pytest.raises(DataError, match="unpacks to more than 3000000 bytes"):
        read_cells(content, ["a"], "file")
    whole = zlib.decompress(content[136 : 136 + struct.unpack_from("<I", content, 132)[0]])
    monkeypatch.setattr(mat_file, "MOST_BYTES", 2 * len(whole))
    assert read_cells(content, ["b"], "file")[0][0].shape == (500, 500)


def test_no_more_cells_are_read_than_may_be(monkeypatch):
    monkeypatch.setattr(mat_file, "MOST_CELLS", 4)
    assert len(read_cells(saved(a=cells(*[1.0] * 4)), ["a"], "file")[0]) == 4
    with pytest.raises(DataError, match="a holds 4 matrices, not 5, or more than 4"):
        read_cells(saved(a=cells(*[1.0] * 5)), ["a"], "file")
