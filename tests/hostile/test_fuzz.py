"""Whatever is in a file: its reader gives a value or one of the project's own errors, soon and in little memory.

Inputs are numbered, and number N is the same on every machine, save those made of what Orbax has just written; of all
inputs a part is made of those before it that got further. A failure names the input, and its content is kept.
"""

import math
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from guided import Corpus
from readers import READERS, Reader

from seqjax.errors import SeqjaxError
from seqjax.storage import read_json

pytestmark = [
    # told to who has such a file, which is read all the same
    pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Data type alias 'a' was deprecated:DeprecationWarning"),
    # where several arrays fail TensorStore tells of the second to a loop that Orbax has closed by then
    pytest.mark.filterwarnings("ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"),
]

SHARE = 200  # inputs a reader in `make test`
ALL = 1_000_000
PARTS = 10  # of a reader's inputs, for several processes
MOST_SECONDS = 5.0


def fuzz(name: str, numbers: range, folder: Path, record_property, corpus: Corpus | None = None) -> None:
    reader = guided(READERS[name], corpus) if corpus else READERS[name]
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    reader.around(folder)
    refused, started = 0, time.monotonic()
    for number in numbers:
        refused += is_refused(reader, path, Random(f"{name} {number}"), f"input {number} of {name}, kept in {path}")
    seconds = time.monotonic() - started
    assert refused < len(numbers), f"{name}: none was read, so that what follows the first check was never tried"
    record_property("inputs", len(numbers))
    record_property("refused", refused)
    reached = f", {len(corpus.lines)} lines reached by {len(corpus.kept)} kept" if corpus else ""
    print(f"{name}: {len(numbers):,} inputs, {refused:,} refused, {len(numbers) / seconds:,.0f} a second{reached}")


def guided(reader: Reader, corpus: Corpus) -> Reader:
    watched = Random(0)
    return reader._replace(
        made=lambda random: corpus.made(reader.made, random), read=lambda path: corpus.read(reader.read, path, watched)
    )


def is_refused(reader: Reader, path: Path, random: Random, which: str) -> bool:
    path.write_bytes(reader.made(random))
    started = time.process_time()
    told = None
    try:
        reader.read(path)
    except SeqjaxError as error:
        told = str(error).splitlines()
    except BaseException as error:
        raise AssertionError(f"{which}: {type(error).__name__}: {error}") from error
    assert time.process_time() - started < MOST_SECONDS, which
    assert told is None or len(told) in (1, 2), f"{which}: {told}"
    return told is not None


@pytest.mark.parametrize("name", READERS)
def test_a_share_of_the_inputs(name, tmp_path, bounded_memory, record_property):
    fuzz(name, range(round(SHARE * READERS[name].share)), tmp_path, record_property)


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", READERS)
def test_all_inputs(name, part, tmp_path, bounded_memory, record_property):
    count = math.ceil(ALL * READERS[name].share / sum(reader.share for reader in READERS.values()))
    fuzz(name, range(count * part // PARTS, count * (part + 1) // PARTS), tmp_path, record_property, Corpus())


def test_inputs_that_get_further_are_kept_and_edited(tmp_path):
    corpus, path, random = Corpus(), tmp_path / "a.json", Random(0)
    for content in (b"{", b"{", b"[1, 2, 30000]", b"[4]", b"[" + b"9" * 400 + b"]"):
        path.write_bytes(content)
        with suppress(ValueError):
            corpus.watched(read_json, path)
    assert corpus.kept == [b"{", b"[1, 2, 30000]", b"[" + b"9" * 400 + b"]"]
    made = [corpus.made(lambda random: b"new", random) for _ in range(1000)]
    assert 0.6 < made.count(b"new") / len(made) < 0.8
    assert any(b"30000" in content for content in made)
