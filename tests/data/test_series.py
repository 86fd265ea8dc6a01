"""`.ts` files: what they become, the sets of the archives, and every way in which a file is refused."""

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data import raw, series, ts_file
from seqjax.data.load import load
from seqjax.data.scaling import channel_scale, standardised
from seqjax.data.series import FILES, ts_dataset
from seqjax.errors import DataError, UsageError
from seqjax.types import Dataset, Split

ROOT = Path(__file__).parents[2]
HEADER = (
    "# of whom\n@problemName Toy\n@timeStamps false\n@missing false\n@univariate {one}\n@classLabel {classes}\n@data\n"
)
UNIVARIATE = HEADER.format(one="true", classes="true up down")
MULTIVARIATE = HEADER.format(one="false", classes="true up down")


def write(folder, train, test=None):
    folder.mkdir(exist_ok=True)
    (folder / f"{folder.name}_TRAIN.ts").write_text(train)
    if test is not None:
        (folder / f"{folder.name}_TEST.ts").write_text(test)
    return folder


def test_ragged_series_of_two_channels(tmp_path):
    train = MULTIVARIATE + "1,2,3:-1,-2,-3:down\n\n4:-4:up\n5,6:-5,-6e0:down\n7, 8 : -7,-8 : up\n"
    folder = write(tmp_path / "Toy", train, MULTIVARIATE + "9,9,9,9:0.5,0.5,0.5,0.5:down\n")
    data = load(folder, validation_size=0)
    assert (data.name, data.validation.num_examples) == ("Toy", 0)
    assert data.train.fields.keys() == {"x", "length", "label"}  # no mask: nothing is missing
    np.testing.assert_array_equal(data.train.fields["length"], [3, 1, 2, 2])
    np.testing.assert_array_equal(data.train.fields["label"], [1, 0, 1, 0])
    # padded with zeros to the longest series, which is in the test file
    expected = [[[1, -1], [2, -2], [3, -3], [0, 0]], [[4, -4], [0, 0], [0, 0], [0, 0]]]
    np.testing.assert_array_equal(data.train.fields["x"][:2], expected)
    np.testing.assert_array_equal(data.test.fields["x"], [[[9, 0.5]] * 4])
    assert [data.train.fields[name].dtype for name in ("x", "length", "label")] == [np.float32, np.int32, np.int32]
    digests = [hashlib.sha256((folder / f"Toy_{part}.ts").read_bytes()).hexdigest() for part in ("TRAIN", "TEST")]
    assert data.sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()
    for either in ("Toy_TRAIN.ts", "Toy_TEST.ts"):
        same = load(str(folder / either), validation_size=0)
        assert (same.name, same.sha256) == (data.name, data.sha256)
        np.testing.assert_array_equal(same.train.fields["x"], data.train.fields["x"])


def test_missing_values_are_masked_in_all_splits(tmp_path):
    header = UNIVARIATE.replace("@missing false", "@missing true")
    folder = write(tmp_path / "Toy", header + "1,?,3:up\nNaN:down\n4,5:up\n", header + "6:up\n")
    data = load(folder, validation_size=0)
    np.testing.assert_array_equal(data.train.fields["x"][..., 0], [[1, 0, 3], [0, 0, 0], [4, 5, 0]])
    mask = [[True, False, True], [False, False, False], [True, True, False]]
    np.testing.assert_array_equal(data.train.fields["mask"][..., 0], mask)
    np.testing.assert_array_equal(data.train.fields["length"], [3, 1, 2])
    np.testing.assert_array_equal(data.test.fields["mask"][..., 0], [[True, False, False]])


def test_without_classes_there_is_no_label_and_the_test_file_may_order_them_otherwise(tmp_path):
    plain = HEADER.format(one="true", classes="false")
    data = load(write(tmp_path / "Plain", plain + "1,2\n3,4\n5,6\n", plain + "7,8\n"))
    assert "label" not in data.train.fields
    assert [split.num_examples for split in data[1:4]] == [2, 1, 1]
    turned = UNIVARIATE.replace("up down", "down up")
    data = load(write(tmp_path / "Turned", UNIVARIATE + "1:up\n2:down\n", turned + "1:up\n2:down\n"), validation_size=0)
    np.testing.assert_array_equal(data.test.fields["label"], data.train.fields["label"])


def test_one_file_alone_is_parted_and_a_folder_of_another_name_is_found(tmp_path):
    lines = "".join(f"{i},{i}:{'up' if i % 2 else 'down'}\n" for i in range(20))
    (tmp_path / "alone.ts").write_text(UNIVARIATE + lines)
    data = load(tmp_path / "alone.ts")
    assert [split.num_examples for split in data[1:4]] == [14, 3, 3]
    firsts = np.concatenate([split.fields["x"][:, 0, 0] for split in data[1:4]])
    assert sorted(firsts.tolist()) == list(range(20))
    write(tmp_path / "Toy", UNIVARIATE + lines, UNIVARIATE + lines).rename(tmp_path / "renamed")
    assert load(tmp_path / "renamed").name == "Toy"


def test_validation_takes_the_same_share_of_each_class_and_nothing_of_the_test_split(tmp_path):
    counts = {"up": 60, "down": 20, "rare": 1}
    header = UNIVARIATE.replace("up down", " ".join(counts))
    lines, number = "", 0
    for name, count in counts.items():  # sorted by class, as files of the archives are
        for _ in range(count):
            lines, number = lines + f"{number}:{name}\n", number + 1
    folder = write(tmp_path / "Toy", header + lines, header + "1000:up\n")

    def labels(split):
        return np.bincount(split.fields["label"], minlength=3).tolist()

    data = load(folder)
    assert (labels(data.validation), labels(data.train)) == ([9, 3, 0], [51, 17, 1])
    kept = np.concatenate([split.fields["x"][:, 0, 0] for split in (data.train, data.validation)])
    assert sorted(kept.tolist()) == list(range(81))
    np.testing.assert_array_equal(data.validation.fields["x"], load(folder).validation.fields["x"])
    np.testing.assert_array_equal(data.test.fields["x"], [[[1000]]])
    for size in (0, 1, 8, 40, 80):
        assert load(folder, validation_size=size).validation.num_examples == size
    assert labels(load(folder, validation_size=8).validation) == [6, 2, 0]
    with pytest.raises(UsageError, match="validation_size=81 of 81 training series; expected 0 to 80"):
        load(folder, validation_size=81)


FEW = UNIVARIATE + "1,2:up\n"
REFUSED = {
    "a word": (UNIVARIATE + "1,2:up\n1,two:up\n", None, r"line 9, channel 1, value 2: found 'two'; expected a finite"),
    "an empty cell": (UNIVARIATE + "1,,2:up\n", None, "value 2: found ''"),
    "infinite": (UNIVARIATE + "1,-inf:up\n", None, "value 2: found '-inf'"),
    "too large for float32": (UNIVARIATE + "1e39:up\n", None, "value 1: found '1e39'"),
    "half a question": (UNIVARIATE + "1,2?:up\n", None, r"value 2: found '2\?'"),
    "missing unannounced": (
        UNIVARIATE + "1,?:up\n",
        None,
        "line 8: a value is missing; expected none",
    ),
    "nan unannounced": (UNIVARIATE + "nan,1:up\n", None, "a value is missing"),
    "unknown class": (UNIVARIATE + "1,2:left\n", None, "line 8: class 'left' .*expected one of @classLabel: up, down"),
    "no class": (UNIVARIATE + "1,2\n", None, "class '1,2' after the last colon"),
    "class where none are": (HEADER.format(one="true", classes="false") + "1:up\n", None, "2 channels .*expected 1"),
    "univariate with two channels": (
        UNIVARIATE + "1:2:up\n",
        None,
        "line 8: 2 channels between colons; expected 1",
    ),
    "channels that come and go": (MULTIVARIATE + "1:2:up\n1:2:3:up\n", None, "line 9: 3 channels .*expected 2"),
    "other dimensions": (MULTIVARIATE.replace("@data", "@dimensions 3\n@data") + "1:2:up\n", None, "2 .*expected 3"),
    "dimensions of no number": (MULTIVARIATE.replace("@data", "@dimensions x\n@data"), None, "@dimensions is 'x'"),
    "huge dimensions": (MULTIVARIATE.replace("@data", "@dimensions 99999999999\n@data"), None, "up to 65536"),
    "channels of other length": (
        MULTIVARIATE + "1,2:3:up\n",
        None,
        "channels of 1 and of 2 values; expected one",
    ),
    "ragged in spite of the header": (
        UNIVARIATE.replace("@data", "@equalLength true\n@data") + "1,2:up\n1,2,3:up\n",
        None,
        "line 10: 3 values; expected 2 as before, since @equalLength is true",
    ),
    "time stamps": (FEW.replace("@timeStamps false", "@timeStamps true"), None, r"has time stamps .*not read"),
    "regression": (FEW.replace("@data", "@targetLabel true\n@data"), None, "has regression targets"),
    "no truth": (
        FEW.replace("@missing false", "@missing perhaps"),
        None,
        "@missing is 'perhaps'; expected true",
    ),
    "no classes named": (UNIVARIATE.replace(" up down", "") + "1:up\n", None, "@classLabel names no classes"),
    "a class twice": (UNIVARIATE.replace("up down", "up up") + "1:up\n", None, "@classLabel names a class twice"),
    "no header": ("1,2:up\n", None, "line 1: '1,2:up' before @data"),
    "no data line": ("@problemName Toy\n", None, "has no line @data"),
    "empty": ("", None, "has no line @data"),
    "no series": (UNIVARIATE, None, "has no series after @data"),
    "other channels in the test file": (
        FEW,
        MULTIVARIATE + "1:2:up\n",
        "1 channels in the training file, 2 in",
    ),
    "other classes in the test file": (FEW, FEW.replace("up down", "up left"), "name different classes"),
    "no test file": (FEW, "", r"Toy_TEST.ts: no such file; expected NAME_TRAIN.ts and NAME_TEST.ts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_two_lines_at_most(case, tmp_path):
    train, test, message = REFUSED[case]
    folder = write(tmp_path / "Toy", train, test if test is not None else train)
    if case == "no test file":
        (folder / "Toy_TEST.ts").unlink()
    with pytest.raises(DataError) as caught:
        load(folder)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "Toy" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_folders_and_paths_that_hold_no_set(tmp_path):
    with pytest.raises(DataError, match=r"holds 0 files NAME_TRAIN\.ts; expected one"):
        load(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}_TRAIN.ts").write_text(FEW)
    with pytest.raises(DataError, match="holds 2 files"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"nowhere\.ts: no such file"):
        load(tmp_path / "nowhere.ts")
    with pytest.raises(DataError, match="unknown data set ''"):
        load("")


def test_memory_is_bounded_whatever_the_file_says(tmp_path, monkeypatch):
    monkeypatch.setattr(ts_file, "MAX_LINE", 1000)
    with pytest.raises(DataError, match="line 8 has 1000 characters or more; expected one series a line"):
        load(write(tmp_path / "Long", UNIVARIATE + "1," * 1000 + "1:up\n"))
    monkeypatch.setattr(ts_file, "MAX_CHANNELS", 10)
    with pytest.raises(DataError, match="11 channels between colons; expected 2"):
        load(write(tmp_path / "Wide", MULTIVARIATE + "1:2:up\n" + "1:" * 400 + "up\n"))
    monkeypatch.setattr(series, "PADDED_BYTES", 2**10)
    lines = "1:up\n" * 30 + ",".join("1" * 30) + ":up\n"
    with pytest.raises(DataError, match="62 series padded to the longest, 30 steps of 1 channels, take more"):
        load(write(tmp_path / "Ragged", UNIVARIATE + lines, UNIVARIATE + lines))


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200), has_header=st.booleans())
def test_no_bytes_raise_anything_but_a_data_error(content, has_header, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzz.ts"
    path.write_bytes(UNIVARIATE.encode() * has_header + content)
    with contextlib.suppress(DataError):
        load(path)


@pytest.fixture(scope="module")
def raw_dir():
    path = Path(os.environ.get("SEQJAX_RAW_DIR") or ROOT.parent / "shared" / "data")
    if not (path / "series").is_dir():
        pytest.skip(f"no time series in {path}; set SEQJAX_RAW_DIR")
    return path


# as the archive describes them: training and test series, longest, channels, classes
SETS = {
    "basic_motions": (40, 40, 100, 6, 4),
    "cbf": (30, 900, 128, 1, 3),
    "gun_point": (50, 150, 150, 1, 2),
    "italy_power_demand": (67, 1029, 24, 1, 2),
    "japanese_vowels": (270, 370, 29, 12, 9),
}


@pytest.mark.parametrize("name", FILES)
def test_sets_of_the_archives(name, raw_dir):
    data = load(name, raw_dir=raw_dir)
    num_train, num_test, longest, channels, classes = SETS[name]
    assert data.name == name
    assert data.train.num_examples + data.validation.num_examples == num_train
    assert data.validation.num_examples == round(0.15 * num_train)
    assert data.test.fields["x"].shape == (num_test, longest, channels)
    lengths = np.concatenate([split.fields["length"] for split in data[1:4]])
    assert (lengths.min(), lengths.max()) == ((7, 29) if name == "japanese_vowels" else (longest, longest))
    for split in data[1:4]:
        x, length = split.fields["x"], split.fields["length"]
        assert not x[np.arange(longest)[None, :] >= length[:, None]].any()
        assert len(np.unique(split.fields["label"])) == classes
        assert "mask" not in split.fields
    by_path = load(raw_dir / "series" / FILES[name][0])
    assert by_path.sha256 == data.sha256
    for own, other in zip(data[1:4], by_path[1:4], strict=True):
        for field in own.fields:
            np.testing.assert_array_equal(own.fields[field], other.fields[field])


def test_a_vowel_is_what_the_file_holds(raw_dir):
    last = (raw_dir / "series/JapaneseVowels/JapaneseVowels_TEST.ts").read_text().strip().splitlines()[-1]
    *channels, label = last.split(":")
    expected = np.asarray([[float(value) for value in channel.split(",")] for channel in channels], np.float32).T
    fields = load("japanese_vowels", raw_dir=raw_dir).test.fields
    np.testing.assert_array_equal(fields["x"][-1, : len(expected)], expected)
    assert (fields["length"][-1], fields["label"][-1]) == (len(expected), int(label) - 1)


def test_files_of_the_archives_are_pinned(raw_dir, tmp_path, monkeypatch):
    def refuse(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr(raw.urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=r"GunPoint_TRAIN\.ts is not in .*no network"):
        load("gun_point", raw_dir=tmp_path)
    folder = tmp_path / "series" / "GunPoint"
    folder.mkdir(parents=True)
    for file in (raw_dir / "series" / "GunPoint").iterdir():
        shutil.copyfile(file, folder / file.name)
    test = folder / "GunPoint_TEST.ts"
    test.write_text(test.read_text().replace("1.1250133", "1.1250134", 1))
    with pytest.raises(DataError, match=r"GunPoint_TEST\.ts is not the file expected.*79332750"):
        load("gun_point", raw_dir=tmp_path)
    assert load(folder).sha256 != load("gun_point", raw_dir=raw_dir).sha256


def test_channels_are_scaled_by_what_was_observed_in_training_alone():
    random = np.random.default_rng(0)
    x = (random.normal(size=(6, 5, 3)) * [2, 50, 0] + [7, -3000, 4]).astype(np.float32)
    length = np.asarray([5, 2, 5, 1, 4, 3], np.int32)
    mask = (random.random(x.shape) < 0.8) & (np.arange(5)[None, :, None] < length[:, None, None])
    junk = np.where(mask, x, 1e9).astype(np.float32)
    split = Split({"x": junk, "length": length, "mask": mask})
    other = Split({"x": junk[:2] + 100, "length": length[:2], "mask": mask[:2]})
    data, scale = standardised(Dataset("toy", split, other, other, "0"))
    for channel in range(3):
        seen = x[..., channel][mask[..., channel]].astype(np.float64)
        assert scale.mean[channel] == pytest.approx(seen.mean(), rel=1e-12)
        assert scale.stddev[channel] == pytest.approx(seen.std() if channel < 2 else 1, rel=1e-9)
        found = data.train.fields["x"][..., channel][mask[..., channel]]
        np.testing.assert_allclose(found, (seen - scale.mean[channel]) / scale.stddev[channel], atol=1e-5)
    assert not data.train.fields["x"][~mask].any()
    assert data.train.fields["x"].dtype == np.float32
    moved = (junk[:2] + 100 - scale.mean) / scale.stddev
    np.testing.assert_allclose(data.test.fields["x"], np.where(mask[:2], moved, 0), rtol=1e-6)
    # without length and mask all counts
    plain = channel_scale(Split({"x": x}))
    np.testing.assert_allclose(plain.mean, x.mean(axis=(0, 1), dtype=np.float64), rtol=1e-9)


def test_a_constant_and_an_unseen_channel_are_left_in_their_units():
    x = np.full((3, 7, 2), 0.1, np.float32)
    mask = np.zeros(x.shape, bool)
    mask[..., 0] = True
    scale = channel_scale(Split({"x": x, "mask": mask}))
    np.testing.assert_array_equal(scale.stddev, 1)
    np.testing.assert_allclose(scale.mean, [np.float32(0.1), 0])


def test_a_folder_without_permission_is_no_empty_one(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    write(tmp_path / "Toy", FEW, FEW)
    # the second is what glob asks, which takes no for nothing
    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"^cannot read .*Toy: Permission denied\.$"):
        ts_dataset(tmp_path / "Toy")
