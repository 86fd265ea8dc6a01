"""Recurrent adversarial networks on time series, scored by trained judges."""

from results.row import Reference, Row, at_most

TIMEGAN = "TimeGAN: Yoon et al. 2019"


def series_row(dataset: str, title: str, published: str, most: tuple[float, float], budget: str) -> Row:
    return Row(
        name=f"recurrent_gan_{dataset}",
        title=f"recurrent WGAN-GP on {title}",
        experiment="recurrent_gan",
        flags=f"--dataset {dataset}",
        metric="gan/discriminative_score",
        unit="discriminative score",
        baselines=tuple(
            f"{row}/{measure}"
            for measure in ("discriminative_score", "predictive_score")
            for row in ("real", "gaussian", "noise")
        ),
        reference=Reference(published, TIMEGAN, "F"),
        passes=(at_most("gan/discriminative_score", most[0]), at_most("gan/predictive_score", most[1])),
        also=tuple(
            f"{row}/{measure}"
            for measure in ("discriminative_score_gru32", "spectral_distance")
            for row in ("gan", "real", "gaussian")
        ),
        tier="G",
        budget=budget,
    )


ROWS = (
    series_row(
        "sines",
        "sines of 24 steps and 5 features",
        "0.011 ± 0.008, predictive 0.093",
        (0.05, 0.095),
        "10,000 series as published, of which 8,000 train both the generator and the judges and 2,000 test the judges",
    ),
    series_row(
        "stocks",
        "24 days of a share",
        "0.102 ± 0.021, predictive 0.038 ± 0.001",
        (0.152, 0.041),
        "windows parted in a random order as published, 70 % of which train the generator",
    ),
)
