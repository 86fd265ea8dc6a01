"""k-means on values and on codes, codes trained to be clustered, and priors whose components are clusters.

All rows of a data set are joined, as published.
"""

from results.row import Reference, Row, at_least, within

GUO = "Guo et al. 2017, DEC-keras"
JIANG = "Jiang et al. 2017, VaDE"
LAFABREGUE = "Lafabregue et al. 2022"

PROTOCOL = "--hidden 500 500 2000 --initialisation published --optimizer sgd --learning-rate 1"

MAPS = ("embedding_map", "cluster_confusion", "cluster_means")
VADE_BASELINES = (
    "autoencoder_mixture/accuracy",
    "autoencoder_mixture/nmi",
    "pca_kmeans/accuracy",
    "kmeans/accuracy",
    "kmeans/nmi",
)


def kmeans_row(dataset: str, reference: Reference, found: dict[str, float], *, seeds: int) -> Row:
    """k-means on the values comes with every run; the training is kept to the shortest."""
    return Row(
        name=f"kmeans_{dataset.removesuffix('_mnist')}",
        title=f"k-means on raw values, {dataset}",
        experiment="deep_clustering",
        flags=f"--dataset {dataset} --steps 100 --chapter-steps 100 --cluster-steps 0 --seeds {seeds}",
        metric="kmeans/accuracy",
        unit="accuracy by the best matching",
        baselines=("pca_kmeans/accuracy",),
        reference=reference,
        passes=tuple(within(f"kmeans/{measure}", value, 0.01) for measure, value in found.items()),
        also=("kmeans/nmi", "kmeans/ari"),
        budget="all rows, 20 starts, of which the least sum of squares is kept; the seed is that of the starts",
    )


def digits_row(method: str) -> Row:
    return Row(
        name=f"{method}_digits",
        title=f"{method.upper()} with 64-256-128-10, digits",
        experiment="deep_clustering",
        flags=f"--dataset digits --method {method}",
        figures=MAPS if method == "dec" else (),
        metric=f"{method}/nmi",
        unit="NMI",
        baselines=("autoencoder_kmeans/nmi", "pca_kmeans/nmi", "kmeans/nmi", "kmeans/accuracy"),
        also=(f"{method}/accuracy", f"{method}/ari", f"{method}/updates"),
        budget="3,000 steps of the autoencoder with Adam 1e-3, then SGD .01/.9, targets of all 1,797 rows every 140"
        " steps until under a thousandth of them change",
    )


def share_row(dataset: str, kind: str, title: str, published: dict[str, float]) -> Row:
    """A small part of the published protocol's steps on one seed: `aekm`, k-means on the codes, or `dec` after it."""
    metric, updates = {"aekm": ("autoencoder_kmeans", 0), "dec": ("dec", 560)}[kind]
    share = "3 of 300 epochs of the autoencoder, 5 of 20 starts of k-means, 1 of 10 trials"
    return Row(
        name=f"{kind}_{dataset.removesuffix('_mnist')}",
        title=f"{title}, {dataset}",
        experiment="deep_clustering",
        flags=f"--dataset {dataset} {PROTOCOL} --steps 820 --chapter-steps 820 --cluster-steps {updates} --restarts 5"
        " --seeds 1",
        metric=f"{metric}/accuracy",
        unit="accuracy by the best matching",
        baselines=(
            *(("autoencoder_kmeans/accuracy",) if kind == "dec" else ()),
            "pca_kmeans/accuracy",
            "kmeans/accuracy",
            "kmeans/nmi",
        ),
        reference=Reference(", ".join(f"{score:.3f} {name}" for name, score in published.items()), GUO, "F"),
        passes=(
            at_least(f"{metric}/accuracy", published["accuracy"] - 0.05),
            at_least(f"{metric}/nmi", published["nmi"] - 0.03),
        ),
        also=(f"{metric}/nmi", f"{metric}/ari"),
        tier="G",
        share=share if kind == "aekm" else f"{share}, at most {updates} updates of the clusters",
    )


def scores(accuracy: float, nmi: float, ari: float) -> dict[str, float]:
    return {"accuracy": accuracy, "nmi": nmi, "ari": ari}


AEKM, DEC = "784-500-500-2000-10 autoencoder and k-means", "DEC with 784-500-500-2000-10"

ROWS = (
    kmeans_row("mnist", Reference(".53, .50 nmi", GUO, "F"), {"accuracy": 0.53, "nmi": 0.50}, seeds=3),
    kmeans_row("fashion_mnist", Reference(".47, .51 nmi", GUO, "F"), {"accuracy": 0.47, "nmi": 0.51}, seeds=3),
    kmeans_row(
        "digits",
        Reference(".793, .743 nmi, .668 ari", "scikit-learn, 20 starts", "P"),
        scores(0.793, 0.743, 0.668),
        seeds=5,
    ),
    digits_row("dec"),
    digits_row("idec"),
    share_row("mnist", "aekm", AEKM, scores(0.879, 0.807, 0.783)),
    share_row("mnist", "dec", DEC, scores(0.912, 0.869, 0.856)),
    share_row("fashion_mnist", "aekm", AEKM, scores(0.606, 0.637, 0.474)),
    share_row("fashion_mnist", "dec", DEC, scores(0.618, 0.651, 0.494)),
    Row(
        name="vade_digits",
        title="VaDE with 64-256-256-10, digits",
        experiment="vade",
        flags="--dataset digits",
        figures=("embedding_map", "samples"),
        metric="vade/nmi",
        unit="NMI",
        baselines=("autoencoder_mixture/nmi", "pca_kmeans/nmi", "kmeans/nmi", "kmeans/accuracy"),
        also=("vade/accuracy", "vade/ari", "vade/elbo"),
        budget="3,000 steps of the autoencoder alone, the likeliest of 20 mixtures on its codes, 6,000 steps of the"
        " bound at the published rate; elbo: nats a row",
    ),
    Row(
        name="vade_mnist",
        title="VaDE with 784-500-500-2000-10, MNIST",
        experiment="vade",
        flags="--dataset mnist --hidden 500 500 2000 --pretraining-steps 2100 --restarts 5 --steps 3500"
        " --chapter-steps 700 --seeds 1",
        metric="vade/accuracy",
        unit="accuracy by the best matching",
        baselines=VADE_BASELINES,
        reference=Reference("0.9446", JIANG, "F"),
        passes=(at_least("vade/accuracy", 0.90),),
        also=("vade/nmi", "vade/ari", "vade/elbo"),
        tier="G",
        share="3 epochs of the autoencoder, not stacked layer by layer, 5 of 300 epochs of the bound, 1 seed",
        budget="batches of 100, Adam at 2e-3; the published number is the best of its epochs, of clusters read off a"
        " draw of the latents and not off their mean; elbo: nats a row, grey values as targets",
    ),
    Row(
        name="idec_japanese_vowels",
        title="IDEC on the codes of a bidirectional GRU, JapaneseVowels",
        experiment="deep_clustering",
        flags="--dataset japanese_vowels --no-joined --method idec --code-size 32 --learning-rate 2e-3 --batch-size 32"
        " --steps 1200 --chapter-steps 200 --cluster-steps 1400",
        figures=MAPS,
        metric="idec/nmi",
        unit="NMI of the test split",
        baselines=("autoencoder_kmeans/nmi", "pca_kmeans/nmi", "kmeans/nmi"),
        reference=Reference("0.780", f"bi-GRU IDEC of {LAFABREGUE}", "F"),
        passes=(at_least("idec/nmi", 0.75),),
        beats=at_least("idec/nmi", 0.78),
        also=("idec/accuracy", "idec/ari"),
        budget="one layer of 64 units each way, code of 32, channels standardised, trained on the training split alone",
    ),
)
