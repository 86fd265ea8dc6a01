"""IDX files: the arrays in them, and one line for each whose header says otherwise than what follows."""

import hashlib
import struct

import numpy as np
import pytest

from seqjax.data.builders.idx import idx_array, idx_splits
from seqjax.errors import DataError


def idx(shape, values=None, kind=8):
    count = int(np.prod(shape)) if values is None else values
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + bytes(i % 251 for i in range(count))


def test_arrays_are_what_the_files_hold():
    np.testing.assert_array_equal(idx_array(idx((5,)), "it", ()), np.arange(5))
    np.testing.assert_array_equal(idx_array(idx((2, 3, 4)), "it", (3, 4)).ravel(), np.arange(24))


REFUSED = {
    "empty": (b"", r"0 values follow a header of the lengths \[\]"),
    "a header cut": (idx((2, 3, 4))[:15], r"0 values .* \[\]"),
    "too short": (idx((2, 3, 4), values=23), r"23 values .* \[2, 3, 4\]"),
    "too long": (idx((2, 3, 4), values=25), r"25 values .* \[2, 3, 4\]"),
    "other rows": (idx((2, 4, 3)), r"24 values .* \[2, 4, 3\]"),
    "ten billion values": (idx((2**32 - 1, 3, 4), values=24), r"24 values .* \[4294967295, 3, 4\]"),
    "floats": (idx((2, 3, 4), kind=13), r"24 values .* \[2, 3, 4\]"),
    "other axes": (idx((24,)), "16 values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_content_is_refused_in_one_line(name):
    content, told = REFUSED[name]
    with pytest.raises(DataError, match=rf"^it are no IDX file of bytes \[N, 3, 4\]: {told}") as caught:
        idx_array(content, "it", (3, 4))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("labels", "told"), [(2, None), (3, r"made: train has 2 images and 3 labels\.")])
def test_images_and_labels_are_as_many(labels, told, tmp_path):
    files = {}
    for part in ("train", "t10k"):
        files |= {f"{part}-images-idx3-ubyte": idx((2, 28, 28)), f"{part}-labels-idx1-ubyte": idx((labels,))}
    (tmp_path / "made").mkdir()
    for name, content in files.items():
        (tmp_path / "made" / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if told:
        with pytest.raises(DataError, match=told):
            idx_splits("made", hashes, (), tmp_path)
    else:
        (x, label), _ = idx_splits("made", hashes, (), tmp_path).values()
        assert (x.shape, label.tolist()) == ((2, 784), [0, 1])
