"""Whole series told again from one vector."""

from results.row import Row


def told_row(name: str, title: str, flags: str, *, future: bool = False, figures: tuple[str, ...] = ()) -> Row:
    measure = "future_squared_error" if future else "squared_error"
    return Row(
        name=f"sequence_autoencoder_{name}",
        title=title,
        experiment="sequence_autoencoder",
        flags=flags,
        metric=f"recurrent_autoencoder/{measure}",
        unit="squared error of a test value, in variances of its channel",
        baselines=tuple(f"{row}/{measure}" for row in ("last_value" if future else "pca", "mean")),
        figures=figures,
        budget="from a code of 16 units, as many as PCA has components; chosen on the validation split",
    )


ROWS = (
    told_row(
        "events",
        "events in two channels told from one vector, made up",
        "--dataset events",
        figures=("reconstructions",),
    ),
    told_row("japanese_vowels", "spoken vowels told from one vector", "--dataset japanese_vowels"),
    told_row(
        "japanese_vowels_future",
        "the last 3 steps of spoken vowels, from the vector of those before",
        "--dataset japanese_vowels --horizon 3",
        future=True,
    ),
)
