"""One encoder for several tasks, with few labels; the encoders of fewer tasks are the ablation."""

from results.row import Row

ALL = "classify_cluster_reconstruct"
CLASSIFYING = ("classify", "classify_cluster", "classify_reconstruct")
OTHERS = ("cluster", "reconstruct", "cluster_reconstruct")

ROWS = (
    Row(
        name="multitask_digits",
        title="64-256-128-10 encoder of three tasks, digits with 30 labels",
        experiment="multitask",
        flags="--dataset digits --label-share .02",
        figures=("embedding_map", "cluster_confusion"),
        metric=f"{ALL}/accuracy",
        unit="test accuracy",
        baselines=(
            *(f"{subset}/accuracy" for subset in CLASSIFYING),
            *(f"{subset}/probe_accuracy" for subset in OTHERS),
            *(f"{subset}/cluster_nmi" for subset in (*CLASSIFYING, *OTHERS)),
            "logistic/accuracy",
            "pca_logistic/accuracy",
            "majority/accuracy",
            "kmeans/cluster_nmi",
        ),
        also=(f"{ALL}/probe_accuracy", f"{ALL}/cluster_nmi", f"{ALL}/squared_error"),
        budget="weights 1 of -log p, .3 of the divergence, 30 of the squared error a value; 1,500 steps before there"
        " are clusters and 1,500 after; the strength of logistic regressions chosen with 180 labels more;"
        " probe_accuracy: of such a regression on the codes, also of those that no label has moved",
    ),
)
