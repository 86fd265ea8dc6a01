"""What is committed in results/ is what its receipts say."""

from results.__main__ import FOLDER
from results.rows import ROWS
from results.stored import current
from results.table import faults


def test_the_tables_are_what_the_receipts_say():
    # after a change of code: `python -m results`, or `python -m results verify --smoke` where metrics stayed the same
    assert faults(ROWS, current(ROWS), FOLDER) == []


def test_row_names_are_unique_and_plain():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert all("--run-dir" not in row.arguments and row.baselines for row in ROWS)
