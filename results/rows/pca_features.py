"""Features fitted without labels, put before the same networks: one set of them a row, with few labels and with all."""

from results.row import Row

SETS = {
    "raw": ("values", "--features raw"),
    "standardised": ("standardised values", "--features standardised"),
    "pca": ("20 principal components", "--features pca"),
    "whitened": ("20 whitened components", "--features whitened"),
    "whitened_64": ("all components, whitened", "--features whitened --components 64"),
    "centroids": ("distances to 100 centroids", "--features centroids"),
    "raw_centroids": ("values and distances to 100 centroids", "--features raw centroids"),
    "whitened_centroids": (
        "20 whitened components and distances to 100 centroids",
        "--features whitened centroids",
    ),
}
LABELS = {"few": ("67 labels", 0.05), "all": ("all labels", 1.0)}


def features_row(features: str, labels: str) -> Row:
    title, flags = SETS[features]
    amount, share = LABELS[labels]
    return Row(
        name=f"features_{labels}_{features}",
        title=f"MLP with 128 units, digits with {amount}, fed {title}",
        experiment="pca_features",
        flags=f"--dataset digits {flags} --label-share {share:g}",
        metric="classifier/accuracy",
        unit="test accuracy",
        baselines=("logistic/accuracy", "majority/accuracy", "kmeans/nmi"),
        also=("autoencoder_kmeans/nmi",),
        figures=("scree",) if (labels, features) == ("few", "whitened") else (),
        budget="features fitted on all 1,257 training rows without labels; 1,500 steps, the strength of logistic"
        " regression chosen on the validation split; kmeans: on the features, autoencoder_kmeans: on the codes of an"
        " autoencoder of them",
    )


ROWS = tuple(features_row(features, labels) for labels in LABELS for features in SETS)
