"""Piano rolls: what the four collections hold, missing and damaged files, what trivial predictions of them cost."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from seqjax.data import music, raw
from seqjax.data.load import load
from seqjax.data.music import FILES, cut, music_dataset, padded, pieces_of
from seqjax.errors import DataError, UsageError
from seqjax.evaluate import piano_roll
from seqjax.types import Split

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def raw_dir():
    path = Path(os.environ.get("SEQJAX_RAW_DIR") or ROOT.parent / "shared" / "data")
    if not (path / "music").is_dir():
        pytest.skip(f"no piano rolls in {path}; set SEQJAX_RAW_DIR")
    return path


@pytest.fixture
def offline(monkeypatch):
    def refuse(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr(raw.urllib.request, "urlopen", refuse)


PIECES = {  # pieces of each split, frames of the test split, and nats a frame of marginal and markov
    "jsb_chorales": ((229, 76, 77), 4725, (11.09, 10.49)),
    "nottingham": ((694, 173, 170), 44463, (10.26, 5.16)),
    "piano_midi": ((87, 12, 25), 19036, (11.05, 8.27)),
    "muse_data": ((524, 135, 124), 64339, (11.52, 8.56)),
}


@pytest.mark.parametrize("name", FILES)
def test_collections_and_their_baselines(name, raw_dir):
    data = load(name, raw_dir=raw_dir)
    counts, frames, costs = PIECES[name]
    assert tuple(split.num_examples for split in data[1:4]) == counts
    assert data.test.fields["length"].sum() == frames
    for split in data[1:4]:
        x, lengths = split.fields["x"], split.fields["length"]
        assert (x.dtype, lengths.dtype, x.shape[1:]) == (bool, np.int32, (lengths.max(), 88))
        assert not any(piece[length:].any() for piece, length in zip(x, lengths, strict=True))
    train, test = (pieces_of(s.fields["x"], s.fields["length"]) for s in (data.train, data.test))
    for fit, cost in zip((piano_roll.marginal, piano_roll.markov), costs, strict=True):
        found = piano_roll.measures("row", *piano_roll.frame_costs(fit(train), test), frames)["row/nats_a_frame"]
        assert found == pytest.approx(cost, abs=0.011)


def test_a_chorale_is_what_the_file_holds(raw_dir):
    from scipy.io import loadmat

    pieces = loadmat(raw_dir / "music" / "JSB_Chorales.mat")["testdata"].ravel()
    fields = load("jsb_chorales", raw_dir=raw_dir).test.fields
    for piece, x, length in zip(pieces, fields["x"], fields["length"], strict=True):
        np.testing.assert_array_equal(piece, x[:length])


def pieces_read(monkeypatch, tmp_path, *train):
    """A collection of these pieces to train on."""
    held = {"traindata": np.empty(len(train), object)}
    held |= {name: np.empty(1, object) for name in ("validdata", "testdata")}
    held["validdata"][0] = held["testdata"][0] = np.eye(3, 88)
    held["traindata"][:] = train
    (tmp_path / "music").mkdir()
    savemat(tmp_path / "music" / "made.mat", held, do_compression=True)
    sha256 = hashlib.sha256((tmp_path / "music" / "made.mat").read_bytes()).hexdigest()
    monkeypatch.setitem(FILES, "made", ("made.mat", sha256))
    return music_dataset("made", raw_dir=tmp_path).train.fields


def test_pieces_of_several_lengths_are_padded(monkeypatch, tmp_path):
    fields = pieces_read(monkeypatch, tmp_path, np.eye(2, 88), np.ones((4, 88), np.uint8))
    assert (fields["x"].sum(axis=(1, 2)).tolist(), fields["length"].tolist()) == ([2, 352], [2, 4])


@pytest.mark.parametrize(
    "piece",
    [np.eye(2, 87), np.zeros((0, 88)), np.zeros((2, 2, 88)), 2 * np.eye(2, 88), np.full((2, 88), np.nan)],
)
def test_what_is_no_piece_is_refused(piece, monkeypatch, tmp_path):
    told = r"^made\.mat: traindata: piece 1 is float64 \[.*\]; expected zeros and ones \[T, 88\]\. Fetch"
    with pytest.raises(DataError, match=told):
        pieces_read(monkeypatch, tmp_path, np.eye(3, 88), piece)


def test_one_long_piece_may_not_make_all_the_others_as_long(monkeypatch, tmp_path):
    monkeypatch.setattr(music, "PADDED_BYTES", 88 * 30)
    with pytest.raises(DataError, match=r"made\.mat: traindata has 3 pieces; expected some, and that all as long as"):
        pieces_read(monkeypatch, tmp_path, np.eye(10, 88), np.eye(1, 88), np.eye(1, 88))


def test_missing_and_damaged_files(raw_dir, tmp_path, offline):
    with pytest.raises(DataError, match=r"music: the raw file JSB_Chorales\.mat is not in .*no network"):
        load("jsb_chorales", raw_dir=tmp_path)
    (tmp_path / "music").mkdir()
    copied = shutil.copyfile(raw_dir / "music" / "JSB_Chorales.mat", tmp_path / "music" / "JSB_Chorales.mat")
    content = bytearray(copied.read_bytes())
    content[5000] ^= 1
    copied.write_bytes(content)
    with pytest.raises(DataError, match=r"JSB_Chorales\.mat is not the file expected.*ac0e6085"):
        load("jsb_chorales", raw_dir=tmp_path)


def test_the_validation_split_is_the_authors(raw_dir):
    with pytest.raises(UsageError, match="jsb_chorales has a validation split of 76 rows of its own"):
        load("jsb_chorales", raw_dir=raw_dir, validation_size=10)


def test_cut_keeps_every_frame_in_order():
    random = np.random.default_rng(0)
    pieces = [random.random((length, 88)) < 0.1 for length in (5, 1, 12, 4)]
    split = Split(padded(pieces))
    np.testing.assert_array_equal(split.fields["length"], [5, 1, 12, 4])
    parts = cut(split, 4)
    np.testing.assert_array_equal(parts.fields["length"], [3, 2, 1, 4, 4, 4, 4])
    assert parts.fields["x"].shape == (7, 4, 88)
    together = np.concatenate(pieces_of(parts.fields["x"], parts.fields["length"]))
    np.testing.assert_array_equal(together, np.concatenate(pieces))
    whole = cut(split, 12)
    np.testing.assert_array_equal(whole.fields["x"], split.fields["x"])


def test_chords_walk_up_by_fifths():
    data = load("chords")
    assert [split.num_examples for split in data[1:4]] == [200, 50, 100]
    held = moves = 0
    for piece in pieces_of(data.train.fields["x"], data.train.fields["length"]):
        assert 16 <= len(piece) <= 32
        np.testing.assert_array_equal(piece.sum(axis=1), 4)
        roots = np.argmax(piece, axis=1) - 15
        assert set(np.diff(roots) % 12) <= {0, 7}
        held, moves = held + (np.diff(roots) == 0).sum(), moves + len(piece) - 1
    assert held / moves == pytest.approx(0.25, abs=0.03)
    x, lengths = data.test.fields["x"], data.test.fields["length"]
    assert not any(piece[length:].any() for piece, length in zip(x, lengths, strict=True))


def test_baselines_by_hand():
    train = [np.asarray([[False], [True]])]  # one key, which sounds in one of two frames
    test = [np.asarray([[False], [True], [True]])]
    first, later = piano_roll.frame_costs(piano_roll.marginal(train), test)
    np.testing.assert_allclose([first[0], later[0]], [np.log(2), 2 * np.log(2)])
    # after silence it sounded once of once: 2/3; after sound it was never seen: 1/2
    first, later = piano_roll.frame_costs(piano_roll.markov(train), test)
    np.testing.assert_allclose([first[0], later[0]], [np.log(3), np.log(3 / 2) + np.log(2)])
    found = piano_roll.measures("row", first, later, 3)
    assert found["row/nats_a_frame"] == pytest.approx(later[0] / 2)
    assert found["row/nats_with_first"] == pytest.approx((first[0] + later[0]) / 3)
