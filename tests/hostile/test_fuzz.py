"""Whatever is in a file: its reader gives a value or one of the project's own errors, soon and in little memory.

Inputs are numbered, and number N is the same on every machine, save those made of what Orbax has just written: a
failure names it, and its content is kept.
"""

import math
import time
from pathlib import Path
from random import Random

import pytest
from readers import READERS, Reader

from seqjax.errors import SeqjaxError

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


def fuzz(name: str, numbers: range, folder: Path, record_property) -> None:
    reader = READERS[name]
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
    print(f"{name}: {len(numbers):,} inputs, {refused:,} refused, {len(numbers) / seconds:,.0f} a second")


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
    fuzz(name, range(count * part // PARTS, count * (part + 1) // PARTS), tmp_path, record_property)
