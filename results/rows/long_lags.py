"""Adding and copying: what was seen hundreds of steps ago."""

from results.row import Bound, Row, at_most, within


def adding_row(cell: str, passes: tuple[Bound, ...]) -> Row:
    return Row(
        name=f"adding_200_{cell}",
        title=f"adding problem over 200 steps, {cell}",
        experiment="adding",
        flags=f"--cell {cell}",
        metric=f"{cell}/squared_error",
        unit="test squared error",
        baselines=("blind/squared_error", "second_value/squared_error"),
        passes=passes,
        budget="64 units, 3,000 batches of 32 fresh examples; gates start with time scales up to 200 steps",
    )


def copying_row(cell: str) -> Row:
    return Row(
        name=f"copy_200_{cell}",
        title=f"copying ten symbols after 200 steps, {cell}",
        experiment="copy_memory",
        flags=f"--cell {cell}",
        metric=f"{cell}/nats_a_step",
        unit="cross-entropy, nats per step",
        baselines=("blind/nats_a_step",),
        budget="64 units, 4,000 batches of 32 fresh examples; gates start with time scales up to 220 steps",
    )


ROWS = (
    adding_row("rnn", (within("rnn/squared_error", 1 / 6, 1 / 60),)),
    adding_row("gru", (at_most("gru/squared_error", 1e-3),)),
    adding_row("lstm", (at_most("lstm/squared_error", 1e-3),)),
    copying_row("rnn"),
    copying_row("gru"),
    copying_row("lstm"),
)
