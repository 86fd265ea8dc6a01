"""The README's picture and rows are those of the figures and receipts that are kept."""

import shutil
from pathlib import Path

import pytest
from fabricated import ROW, receipt
from PIL import Image

from results import front
from results.__main__ import FOLDER
from results.rows import ROWS
from results.table import receipts_of

TEXT = f"# A readme\n\n{front.BEGIN}old\n{front.END}\nMore.\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A results folder with the figures of the picture, below a README; `toy` is the row that it shows."""
    monkeypatch.setattr(front, "SHOWN", (ROW.name, "not_run"))
    (tmp_path / "results/figures").mkdir(parents=True)
    for name in (name for line in front.FIGURES for name in line):
        shutil.copy(FOLDER / f"figures/{name}.png", tmp_path / "results/figures")
    (tmp_path / "README.md").write_text(TEXT)
    return tmp_path / "results"


def test_rows_and_picture_are_written_and_then_left(folder):
    receipts = {ROW.name: receipt()}
    assert len(front.faults([ROW], receipts, folder)) == 2
    assert front.rebuild([ROW], receipts, folder) == [folder / front.PICTURE, folder.parent / "README.md"]
    text = (folder.parent / "README.md").read_text()
    assert (
        "| `toy` | toy \\| autoencoder: squared error | 3.00 (Somebody 2006) [M] | 3.10 ± 0.25, n = 3 "
        "| beats pca by 1.90 ± 0.25 | within: at most 3.15 |\n"
    ) in text
    assert "old" not in text
    assert text.startswith("# A readme\n\n")
    assert text.endswith("\nMore.\n")
    with Image.open(folder / front.PICTURE) as picture:
        assert picture.width == front.WIDTH
    assert front.faults([ROW], receipts, folder) == front.rebuild([ROW], receipts, folder) == []


def test_a_verdict_stands_with_the_bound_that_it_is_of(monkeypatch):
    monkeypatch.setattr(front, "SHOWN", (ROW.name,))
    assert front.excerpt([ROW], {ROW.name: receipt([2.0, 2.1, 2.2])}).endswith("| beats: below 3 |\n")
    assert front.excerpt([ROW._replace(share="a half")], {ROW.name: receipt()}).endswith("| share: a half |\n")
    assert front.excerpt([ROW._replace(passes=())], {ROW.name: receipt()}).endswith("| new |\n")


def test_other_receipts_or_figures_are_seen(folder):
    receipts = {ROW.name: receipt()}
    front.rebuild([ROW], receipts, folder)
    assert "shows other rows" in front.faults([ROW], {ROW.name: receipt([2.0, 2.1])}, folder)[0]
    (folder / f"figures/{front.FIGURES[0][0]}.png").write_bytes(b"another")
    assert "is made of other figures" in front.faults([ROW], receipts, folder)[0]


def test_a_readme_without_marks_is_left_alone(folder):
    (folder.parent / "README.md").write_text("Mine.\n")
    front.rebuild([ROW], {ROW.name: receipt()}, folder)
    assert (folder.parent / "README.md").read_text() == "Mine.\n"


def test_what_is_committed_is_what_figures_and_receipts_say():
    assert front.faults(ROWS, receipts_of(ROWS, FOLDER), FOLDER) == []
    readme = (Path(FOLDER).parent / "README.md").read_text()
    assert all(f"| `{name}` |" in readme for name in front.SHOWN)
