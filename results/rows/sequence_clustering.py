"""Clusters of series, found among the codes of a recurrent autoencoder."""

from results.row import Bound, Reference, Row, at_least

LAFABREGUE = "bidirectional recurrent autoencoder of Lafabregue et al. 2022"
BASELINES = ("raw", "standardised", "pca", "random_projection")
PROTOCOL = (
    "trained on the training split without labels, k-means with 20 starts on the codes of the test split, settings"
    " chosen on the training series and other seeds; raw: k-means on the values, padded with zeros"
)


def clustering_row(
    name: str,
    title: str,
    flags: str,
    published: str,
    others: str,
    *,
    passes: tuple[Bound, ...] = (),
    beats: Bound | None = None,
    figures: tuple[str, ...] = (),
) -> Row:
    return Row(
        name=f"rae_{name}",
        title=f"recurrent autoencoder and k-means, {title}",
        experiment="sequence_clustering",
        flags=flags,
        metric="recurrent_autoencoder/nmi",
        unit="NMI on the test split",
        baselines=tuple(f"{row}/nmi" for row in BASELINES),
        reference=Reference(published, f"{LAFABREGUE}; {others}", "F"),
        passes=passes,
        beats=beats,
        also=("recurrent_autoencoder/accuracy",),
        figures=figures,
        budget=PROTOCOL,
    )


ROWS = (
    clustering_row(
        "japanese_vowels",
        "vowels of 9 speakers, 12 channels",
        "--dataset japanese_vowels",
        "0.776",
        "k-means 0.691, DTW k-means 0.779, bi-GRU IDEC 0.780",
        passes=(at_least("recurrent_autoencoder/nmi", 0.75),),
        beats=Bound("recurrent_autoencoder/nmi", low=0.78, strict=True),
        figures=("embedding_map",),
    ),
    clustering_row(
        "basic_motions",
        "4 motions, 6 channels",
        "--dataset basic_motions --frame 2",
        "0.604",
        "k-means 0.120, DTW k-means 0.786, dilated RNN 0.906, with DEC 0.969",
        passes=(at_least("recurrent_autoencoder/nmi", 0.60),),
        beats=Bound("recurrent_autoencoder/nmi", low=0.969, strict=True),
    ),
    clustering_row(
        "cbf",
        "cylinders, bells and funnels",
        "--dataset cbf",
        "0.553",
        "k-means 0.278, DTW k-means 0.760",
        passes=(at_least("recurrent_autoencoder/nmi", 0.50),),
        beats=Bound("recurrent_autoencoder/nmi", low=0.760, strict=True),
        figures=("cluster_means",),
    ),
    # negative controls: neither k-means nor an autoencoder finds these classes, and no row is to claim that it does;
    # of the second a next-step predictor finds some, see ae_rnn_italy_power
    clustering_row("gun_point", "2 movements, a negative control", "--dataset gun_point", "0.017", "k-means 0.008"),
    clustering_row(
        "italy_power", "2 seasons, a negative control", "--dataset italy_power_demand", "0.000", "k-means 0.002"
    ),
)
