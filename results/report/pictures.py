"""Pictures as part of the page: only whole PNG files of the run's own, and only as many bytes as a page can carry."""

import base64
import heapq
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from results.report.markup import Markup, element
from seqjax.storage import beginning

ROOM = 5 * 2**20  # bytes of all pictures of a report; in its text they take a third more
MOST_PICTURES = 40  # of a run
MOST_PIXELS = 40_000_000  # a small file can hold more than a browser has memory for
START, END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"
SHOWS = {
    "answers": "what the model answers beside what was asked for, symbol by symbol",
    "cluster_confusion": "counts of each class in each cluster",
    "cluster_means": "the mean of each cluster's examples",
    "code_map": "test examples by two components of their code, coloured by class",
    "comparison": "measures of the models beside each other, with 95 % intervals",
    "confusion": "counts of each class by the class that the model says",
    "embedding_map": "test examples by two components of their embedding, coloured by class and by cluster",
    "error_against_code_size": "error against the size of the code, beside that of principal components",
    "error_curve": "cross-validated error of each candidate, with the one that was chosen",
    "errors_by_step": "error of each step that is foretold",
    "extremes": "the examples that the model finds most and least normal",
    "forecasts": "series with what was foretold and what came",
    "gradient_flow": "norm of the gradient at each step back in time",
    "interpolations": "what is decoded on the way from one latent vector to another",
    "latent_map": "test examples by two latent dimensions, coloured by class",
    "learning_curves": "metrics by training step, with bands over seeds",
    "nearest_training_images": "generated images, each above the training image nearest to it",
    "predictions": "what is foretold at each step beside what came",
    "reconstructions": "test examples above their reconstructions",
    "roc_curves": "true against false alarms at every threshold",
    "samples": "what the trained model generates",
    "samples_over_time": "what the model generates as training goes on",
    "score_histograms": "anomaly scores of normal and anomalous examples",
    "scored_series": "a long series with its anomalies and the score of each step",
    "scree": "share of the variance of each principal component",
    "series": "series beside what the models tell of them",
    "spectra": "power spectra of generated and real series",
    "spread_over_time": "mean and spread of generated and real series at each step",
    "traversals": "what is decoded as one latent dimension changes and the others stay",
}


def pictures_of(run_dir: Path) -> list[Path]:
    """The PNG files of a run's figures, in the order of their names. Links are none of them."""
    folder = run_dir / "figures"
    if folder.is_symlink() or not folder.is_dir():
        return []
    own = (path for path in folder.iterdir() if path.suffix == ".png" and stat.S_ISREG(path.lstat().st_mode))
    return heapq.nsmallest(MOST_PICTURES, own)


def affordable(paths: Iterable[Path], *, room: int = ROOM) -> dict[Path, int]:
    """Those that fit together, with their sizes: the largest are left out first."""
    chosen = {}
    for size, path in sorted((os.lstat(path).st_size, path) for path in paths):
        room -= size
        if room < 0:
            break
        chosen[path] = size
    return chosen


def figure(path: Path, name: str, subject: str, *, caption: str) -> Markup:
    """A picture with a caption below; what it shows of the subject is its alternative text.

    Of a file that is no whole picture, a line that says so.
    """
    try:
        png = beginning(path, ROOM + 1)
        width, height = _size(png)
    except (OSError, ValueError):
        return element("figure", element("figcaption", f"{caption}: {path.name} is no whole PNG picture"))
    source = Markup(f"data:image/png;base64,{base64.b64encode(png).decode()}")
    alternative = f"{spoken(name)} of {subject}: {SHOWS.get(name, 'a figure that the run has drawn')}"
    return element(
        "figure",
        element("img", src=source, alt=alternative, width=width, height=height),
        element("figcaption", caption),
    )


def _size(png: bytes) -> tuple[int, int]:
    """Width and height. Raises ValueError for what is no whole PNG file, or unfolds to too many pixels."""
    if not (png.startswith(START) and png.endswith(END) and len(png) >= len(START) + 8):
        raise ValueError("no PNG")
    width, height = struct.unpack_from(">II", png, len(START))
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError("too many pixels")
    return width, height


def spoken(name: str) -> str:
    return name.replace("_", " ")


def figures(paths: Sequence[Path], chosen: Iterable[Path], subject: str) -> Markup:
    """The pictures of a run, and a line that names those for which there is no room."""
    room = set(chosen)
    shown = [
        figure(path, path.stem, subject, caption=": ".join([spoken(path.stem), *filter(None, [SHOWS.get(path.stem)])]))
        for path in paths
        if path in room
    ]
    names = ", ".join(path.name for path in paths if path not in room)
    missing = element("p", f"Too large to stand here: {names}.", class_="note") if names else Markup()
    return Markup(element("div", *shown, class_="figures") + missing)
