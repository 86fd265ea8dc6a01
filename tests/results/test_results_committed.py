"""What is committed in results/ is what its receipts say."""

from results.__main__ import FOLDER
from results.rows import ROWS
from results.stored import current
from results.table import faults


def test_the_tables_are_what_the_receipts_say():
    # after a change of code: `python -m results`, or `python -m results verify --smoke` where metrics stayed the same
    assert faults(ROWS, current(ROWS), FOLDER) == []


def test_long_lags_have_a_row_for_each_published_cell():
    """With the numbers of Bai, Kolter & Koltun (2018, table 1)."""
    rows = {row.name: row for row in ROWS}
    for name, published in {
        "adding_600_rnn": "0.177",
        "adding_600_gru": "5.3e-5",
        "adding_600_lstm": "0.164",
        "pixel_mnist_gru": "0.962",
        "pixel_mnist_permuted_gru": "0.873",
    }.items():
        assert (rows[name].tier, rows[name].reference.value) == ("G", published)
        assert name.rpartition("_")[2] in rows[name].arguments
    for order in ("", "_permuted"):
        own, other = (rows[f"pixel_mnist{order}_{cell}"] for cell in ("gru", "lstm"))
        assert own.flags.replace("gru", "lstm") == other.flags
        assert own.share == other.share != ""
    assert not rows["adding_600_gru"].share


def test_row_names_are_unique_and_plain():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert all("--run-dir" not in row.arguments and row.baselines for row in ROWS)
