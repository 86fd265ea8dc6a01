"""Piano rolls, frame by frame."""

from typing import NamedTuple

from results.row import Reference, Row, at_most, below

TCN = "Bai, Kolter & Koltun 2018"

BOULANGER = "Boulanger-Lewandowski et al. 2012"


class Collection(NamedTuple):
    """Pieces of music, and how a recurrence is trained on them: `sizes` by cell, then `training`."""

    row: str
    title: str
    dataset: str
    sizes: dict[str, str]
    training: str


SHORT = {
    "rnn": "--cell rnn --hidden-size 500 --learning-rate 1e-3 --steps 1500",
    "gru": "--cell gru",
    "lstm": "--cell lstm --hidden-size 225",
}

LONG = {
    "rnn": "--cell rnn --hidden-size 300 --learning-rate 1e-3 --max-length 100 --batch-size 32",
    "gru": "--cell gru --hidden-size 225 --max-length 100 --batch-size 32",
    "lstm": "--cell lstm --hidden-size 225 --max-length 100 --batch-size 32",
}

JSB = Collection("jsb", "JSB Chorales", "jsb_chorales", SHORT, "")

NOTTINGHAM = Collection(
    "nottingham",
    "Nottingham",
    "nottingham",
    LONG,
    "--dropout .3 --input-dropout .1 --steps 1600 --chapter-steps 100",
)

PIANO = Collection("piano", "Piano-midi", "piano_midi", LONG, "--steps 800")

MUSE = Collection("muse", "MuseData", "muse_data", LONG, "--steps 1600 --chapter-steps 100")


def music_row(pieces: Collection, cell: str, published: float, tolerance: float, source: str) -> Row:
    return Row(
        name=f"music_{pieces.row}_{cell}",
        title=f"next frame of {pieces.title}, {cell}",
        experiment="music",
        flags=f"--dataset {pieces.dataset} {pieces.sizes[cell]} {pieces.training}".strip(),
        metric=f"{cell}/nats_a_frame",
        unit="negative log-likelihood, nats per frame",
        baselines=("marginal/nats_a_frame", "markov/nats_a_frame"),
        reference=Reference(f"{published}", source, "F"),
        passes=(at_most(f"{cell}/nats_a_frame", published + tolerance),),
        beats=below(f"{cell}/nats_a_frame", published),
        budget="every frame but a piece's first; stopped early and chosen on the validation split",
    )


ROWS = (
    music_row(JSB, "rnn", 8.91, 0.15, TCN),
    music_row(JSB, "gru", 8.43, 0.15, TCN),
    music_row(JSB, "lstm", 8.45, 0.15, TCN),
    music_row(NOTTINGHAM, "rnn", 4.05, 0.2, TCN),
    music_row(NOTTINGHAM, "gru", 3.46, 0.2, TCN),
    music_row(NOTTINGHAM, "lstm", 3.29, 0.2, TCN),
    music_row(PIANO, "rnn", 8.37, 0.2, BOULANGER),
    music_row(MUSE, "rnn", 8.13, 0.2, BOULANGER),
)
