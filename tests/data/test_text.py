"""Texts: where they come from, how they are split, what is refused; and the made-up one, whose entropy is known."""

import hashlib
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data import raw
from seqjax.data.load import load
from seqjax.data.sentences import nats_a_character, nats_of_characters, sentences, written
from seqjax.data.text import FILE, code_points, decode, encode, vocabulary
from seqjax.errors import DataError, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def raw_dir():
    path = Path(os.environ.get("SEQJAX_RAW_DIR") or ROOT.parent / "shared" / "data")
    if not (path / "text").is_dir():
        pytest.skip(f"no texts in {path}; set SEQJAX_RAW_DIR")
    return path


def text_of(dataset):
    return [split.fields["x"].tobytes().decode("utf-32-le", "surrogatepass") for split in dataset[1:4]]


def test_shakespeare_is_split_by_position(raw_dir):
    data = load("tiny_shakespeare", raw_dir=raw_dir)
    parts = text_of(data)
    assert [len(part) for part in parts] == [1_003_854, 55_770, 55_770]
    assert hashlib.sha256("".join(parts).encode()).hexdigest() == data.sha256
    known = vocabulary(data.train.fields["x"])
    assert decode(np.arange(len(known)), known) == "".join(sorted(set("".join(parts))))
    assert len(known) == 65


def test_missing_and_other_files(raw_dir, tmp_path, monkeypatch):
    asked = []

    def refuse(url, timeout):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr(raw.urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=r"text: the raw file tiny_shakespeare\.txt is not in .*text.*no network"):
        load("tiny_shakespeare", raw_dir=tmp_path)
    assert [url.rsplit("/", 2)[1:] for url in asked] == [["tinyshakespeare", "input.txt"]]
    content = (raw_dir / "text" / FILE).read_bytes()
    monkeypatch.setattr(raw.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content))
    assert load("tiny_shakespeare", raw_dir=tmp_path).train.num_examples == 1_003_854
    (tmp_path / "text").mkdir()
    shutil.copyfile(raw_dir / "text" / FILE, tmp_path / "text" / FILE)
    (tmp_path / "text" / FILE).write_bytes(content.replace(b"ROMEO", b"JULES", 1))
    with pytest.raises(DataError, match=r"tiny_shakespeare\.txt is not the file expected.*86c4e6aa"):
        load("tiny_shakespeare", raw_dir=tmp_path)


def test_a_file_of_ones_own_keeps_every_character_in_order(tmp_path):
    text = "Zwölf Boxkämpfer\r\njagen\t😀 $x$ 漢字 " * 3 + "end"
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    data = load(path)
    parts = text_of(data)
    assert "".join(parts) == text
    assert len(parts[0]) == int(0.9 * len(text))
    assert len(parts[2]) - len(parts[1]) in (0, 1)
    assert data.name == "own"
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(split.fields["x"].dtype == np.int32 for split in data[1:4])
    with pytest.raises(UsageError, match="own has a validation split of"):
        load(path, validation_size=2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"own: a text of 0 characters, expected at least 20"),
        ("ä".encode() * 19, r"a text of 19 characters"),
        (b"sound until here\xff and on", r"own\.txt is not UTF-8 text: byte 16 .* 0xff"),
        ("in another encoding, übel".encode("latin-1"), r"not UTF-8 text: byte 21 .* 0xfc"),
    ],
)
def test_bad_files(content, words, tmp_path):
    (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load(tmp_path / "own.txt")
    assert str(caught.value).count("\n") <= 1


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(DataError, match="is a directory"):
        load(tmp_path / "folder.txt")


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_symbols_and_back_with_one_symbol_for_all_that_is_unknown(train, text):
    known = vocabulary(code_points(train))
    symbols = encode(code_points(text), known)
    np.testing.assert_array_equal(symbols == len(known), [c not in train for c in text])
    assert decode(symbols, known) == "".join(c if c in train else "\ufffd" for c in text)


def every_sentence(source, state="subject", text="", likely=1.0):
    for branch in source[state]:
        longer, p = text + branch.phrase, likely * branch.probability
        if branch.state == "subject":
            yield longer, p
        else:
            yield from every_sentence(source, branch.state, longer, p)


def test_the_entropy_of_made_up_sentences_is_that_of_all_sentences_there_are():
    source = sentences()
    texts, likely = zip(*every_sentence(source), strict=True)
    likely = np.asarray(likely)
    assert likely.sum() == pytest.approx(1, rel=1e-12)
    assert len(set(texts)) == len(texts) > 10_000
    # a sentence ends where the next begins, wherever it stands: the sentences are the letters of a memoryless source
    assert all(text.index(".\n") == len(text) - 2 for text in texts)
    rate = -(likely @ np.log(likely)) / (likely @ [len(text) for text in texts])
    assert nats_a_character(source) == pytest.approx(rate, rel=1e-12)
    for text, p in list(zip(texts, likely, strict=True))[::500]:
        assert nats_of_characters(source, text).sum() == pytest.approx(-np.log(p), rel=1e-12)


def test_no_phrase_of_a_state_begins_another():
    for branches in sentences().values():
        phrases = [branch.phrase for branch in branches]
        assert not [(a, b) for a in phrases for b in phrases if a is not b and b.startswith(a)]


def test_the_made_up_text_is_always_the_same_and_costs_its_entropy():
    data = load("sentences")
    text = "".join(text_of(data))
    assert len(text) == 200_000
    assert data.sha256 == "4d03b41b896cadbe548890b952768a9288b21dc3a76b5c882bd42a284407595c"
    assert nats_of_characters(sentences(), text).mean() == pytest.approx(nats_a_character(sentences()), rel=0.005)
    with pytest.raises(ValueError, match="character 4 is 'x'"):
        nats_of_characters(sentences(), "the xylophone is old.\n")
    assert written(sentences(), 50) == text[:50]
