"""An autoencoder, a recurrence, and both together, on the same series."""

from results.row import Row

BOTH = "recurrent_autoencoder"
SHOWN = (
    "autoencoder/reconstruction_error",
    f"{BOTH}/reconstruction_error",
    "pca/reconstruction_error",
    "rnn/next_step_error",
    "last_value/next_step_error",
    "rnn/last_step_error",
    f"{BOTH}/last_step_error",
    "last_value/last_step_error",
    "autoencoder/multiply_adds",
    "rnn/multiply_adds",
    f"{BOTH}/multiply_adds",
)


def comparison_row(name: str, title: str, flags: str, *, figures: tuple[str, ...] = ()) -> Row:
    return Row(
        name=f"ae_rnn_{name}",
        title=f"autoencoder, recurrence and both, {title}",
        experiment="autoencoder_vs_rnn",
        flags=flags,
        metric=f"{BOTH}/nmi",
        unit="NMI on the test split",
        baselines=tuple(f"{row}/nmi" for row in ("autoencoder", "rnn", "pca", "raw")),
        also=SHOWN,
        figures=figures,
        budget="each model 600 steps with the same batches, k-means with 20 starts on the codes of the test split;"
        " settings as of sequence_clustering, nothing chosen on the test split; errors in variances of the channel;"
        " multiply_adds: counted, of one pass over one series",
    )


ROWS = (
    comparison_row("events", "events in two channels, made up", "--steps 600", figures=("comparison",)),
    comparison_row(
        "japanese_vowels",
        "vowels of 9 speakers",
        "--dataset japanese_vowels --steps 600",
        figures=("comparison", "series"),
    ),
    comparison_row("basic_motions", "4 motions, 6 channels", "--dataset basic_motions --frame 2 --steps 600"),
    comparison_row("cbf", "cylinders, bells and funnels", "--dataset cbf --steps 600"),
    comparison_row("italy_power", "2 seasons, a negative control", "--dataset italy_power_demand --steps 600"),
)
