"""What the README at the top shows of the results: a picture made of kept figures, and some rows of the table."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from results.comparison import against_baselines
from results.row import Reference, Row
from results.table import data_in
from results.verdict import Receipts, condition, verdict
from seqjax.receipt import interval_text
from seqjax.storage import write_atomically

SHOWN = (
    "ae_mnist30", "linear_ae", "music_nottingham_lstm", "shakespeare", "vae_mnist_k1", "kmeans_mnist", "dec_mnist",
    "rae_japanese_vowels", "oneclass_mnist_svdd",
)  # fmt: skip
# the figures of the picture, line by line
FIGURES = (
    ("error_against_code_size", "adding_200_lstm-gradient_flow", "vae_mnist_k1-samples"),
    ("forecast_seasonal_gru-forecasts", "dec_digits-embedding_map"),
)
PICTURE = "overview.png"
WIDTH = 1300
COLOURS = 256  # they keep the picture below 200 kB
BEGIN, END = "<!-- written by `python -m results` -->\n", "<!-- as far as here -->\n"


def excerpt(rows: Sequence[Row], receipts: Receipts) -> str:
    """The rows of `SHOWN` that have been run: what, published, ours, whether that is more than a baseline, verdict."""
    by_name = {row.name: row for row in rows}
    lines = ["| row | measured | published | ours | against the best baseline | verdict |", "|---|---|---|---|---|---|"]
    for name in SHOWN:
        if receipts.get(name) is None:
            continue
        row, metrics = by_name[name], receipts[name]["metrics"]
        ours = metrics[row.metric]
        published = _published(row.reference) if row.reference else "none"
        found = verdict(row, receipts)
        bounds = [row.beats] if found == "beats" else row.passes
        why = row.share or "; ".join(condition(bound) for bound in bounds if bound.metric == row.metric)
        judged = f"{found}: {why}" if why else found
        beside = against_baselines(row, metrics)
        said = (f"{row.title}: {row.unit}", published, f"{interval_text(ours)}, n = {ours['n']}", beside, judged)
        lines.append(" | ".join([f"| `{name}`", *(part.replace("|", "\\|") for part in said)]) + " |")
    return "\n".join(lines) + "\n"


def _published(reference: Reference) -> str:
    # what follows a semicolon are further numbers of the source, which the whole table shows
    source = reference.source.partition(";")[0]
    return f"{reference.value} ({source})" + (f" [{reference.mark}]" if reference.mark else "")


def with_excerpt(readme: str, table: str) -> str | None:
    """The text with the table between its marks; None where it has no such marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + table + end + after if begin and end else None


def sources(figures: Path) -> dict[str, str] | None:
    """The SHA-256 of each figure that the picture is made of; None where one is missing."""
    paths = [figures / f"{name}.png" for line in FIGURES for name in line]
    if not all(path.exists() for path in paths):
        return None
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def picture_png(figures: Path) -> bytes:
    """The figures side by side in lines of one width; the file says which they were."""
    from PIL import Image, PngImagePlugin

    lines = []
    for names in FIGURES:
        images = [Image.open(figures / f"{name}.png").convert("RGB") for name in names]
        height = round(WIDTH / sum(image.width / image.height for image in images))
        widths = [round(height * image.width / image.height) for image in images]
        lines.append(
            [image.resize((w, height), Image.Resampling.LANCZOS) for image, w in zip(images, widths, strict=True)]
        )
    whole = Image.new("RGB", (WIDTH, sum(line[0].height for line in lines)), "white")
    top = 0
    for line in lines:
        left = 0
        for image in line:
            whole.paste(image, (left, top))
            left += image.width
        top += line[0].height
    file, notes = io.BytesIO(), PngImagePlugin.PngInfo()
    notes.add_text("Description", json.dumps(sources(figures)))
    whole.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        file, format="png", optimize=True, pnginfo=notes
    )
    return file.getvalue()


def rebuild(rows: Sequence[Row], receipts: Receipts, folder: Path) -> list[Path]:
    """Writes the picture and the README's rows where they are not what figures and receipts say; what it wrote."""
    written, figures, picture, readme = [], folder / "figures", folder / PICTURE, folder.parent / "README.md"
    wanted = sources(figures)
    if wanted is not None and data_in(picture) != wanted:
        write_atomically(picture, picture_png(figures))
        written.append(picture)
    before = readme.read_text() if readme.exists() else ""
    after = with_excerpt(before, excerpt(rows, receipts))
    if after is not None and after != before:
        write_atomically(readme, after)
        written.append(readme)
    return written


def faults(rows: Sequence[Row], receipts: Receipts, folder: Path) -> list[str]:
    """One line for each of both that is not what figures and receipts say."""
    found, wanted, readme = [], sources(folder / "figures"), folder.parent / "README.md"
    if wanted is not None and data_in(folder / PICTURE) != wanted:
        found.append(f"{folder / PICTURE}: is made of other figures than those in {folder / 'figures'}.")
    before = readme.read_text() if readme.exists() else ""
    if with_excerpt(before, excerpt(rows, receipts)) not in (None, before):
        found.append(f"{readme}: shows other rows than the receipts say.")
    return found
