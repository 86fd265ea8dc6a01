"""Distances to centroids tell a linear classifier with few labels more than the values do (Coates, Ng & Lee 2011).

Two networks are fed the same features, a classifier and an autoencoder whose codes k-means clusters; beside them stand
logistic regression and k-means on the features themselves.

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz or .csv with labels
Time: 5 s a seed on digits with few labels, up to 20 s with all (1 CPU core)
Run: python -m experiments.pca_features --features raw centroids
Expected: with 67 labelled digits, an accuracy of logistic regression of .88 from distances to centroids, .86 from the
    values; the network, which makes features of its own, gains less, .88 after .87, and k-means finds less in the
    distances, an NMI of .75 against .80.

Features are fitted on all training rows. The networks have no weight in common, and each trains as if alone.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.few_labels import partly_labelled
from seqjax.data.load import load
from seqjax.data.whole_series import mapped
from seqjax.errors import UsageError, require
from seqjax.evaluate import classification
from seqjax.evaluate.assignments import assignment_measures, seed_of
from seqjax.evaluate.cluster_scores import collapsed
from seqjax.evaluate.clustering import k_means
from seqjax.evaluate.embedding_tasks import labels_of
from seqjax.evaluate.embeddings import embedded, principal_components, rows_of
from seqjax.evaluate.features import centroid_distances, explained_shares, side_by_side, standardised, whitened
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.per_row import per_row
from seqjax.evaluate.reconstruction import values_of
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.scree import scree
from seqjax.models.autoencoder import Autoencoder, starting_at
from seqjax.models.mlp import MLP, Activation
from seqjax.plots import confusion
from seqjax.types import Experiment, Phase, Split


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file; with labels."""
    features: tuple[Literal["raw", "standardised", "pca", "whitened", "centroids"], ...] = ("raw", "centroids")
    """What the networks see, side by side: the values; with mean 0 and deviation 1 each; their principal components; of
    deviation 1 each; their distances to the centroids of k-means, standardised."""
    components: int = 20
    """Principal components, of pca and whitened."""
    floor: float = 0.0
    """Added to the components' variances in whitening, in mean variances of a value."""
    centroids: int = 100
    """Clusters of k-means among the values, to whose centroids the distances are taken."""
    label_share: float = 0.05
    """Share of the training rows of each class whose label is known; features and autoencoder need none."""
    hidden: tuple[int, ...] = (128,)
    """Sizes of the layers, of the classifier before its logits, of the autoencoder before its code and after it."""
    code_size: int = 10
    """Units of the autoencoder's code."""
    activation: Activation = "relu"
    """Of the hidden layers."""
    learning_rate: float = 1e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    steps: int = 1500
    """Training steps; the last parameters are evaluated."""
    batch_size: int = 128
    """Rows in a step, over all devices."""
    chapter_steps: int = 150
    """Steps between validations."""


SMOKE = {
    "dataset": "digits",
    "components": 10,
    "centroids": 20,
    "label_share": 1.0,
    "hidden": (32,),
    "learning_rate": 1e-2,
    "steps": 60,
    "chapter_steps": 30,
    "batch_size": 64,
}


def build(config: Config) -> Experiment:
    require(len(config.features) >= 1, "features", config.features, "one or more")
    require(min(config.hidden, default=1) >= 1, "hidden", config.hidden, "sizes of at least 1")
    for name in ("components", "centroids", "code_size"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    original = partly_labelled(load(config.dataset), config.label_share)
    if "centroids" in config.features and config.centroids > original.train.num_examples:
        raise UsageError(
            f"--centroids {config.centroids}: expected 1 to {original.train.num_examples}, the number of training rows"
            f" of {original.name}."
        )
    fitted_on, num_classes = original.train, int(original.train.fields["label"].max()) + 1
    makers = {
        "raw": lambda: rows_of,
        "standardised": lambda: standardised(fitted_on),
        "pca": lambda: principal_components(fitted_on, config.components),
        "whitened": lambda: whitened(fitted_on, config.components, floor=config.floor),
        "centroids": lambda: standardised(fitted_on, centroid_distances(fitted_on, config.centroids)),
    }
    features = side_by_side([makers[name]() for name in config.features])

    def with_features(split):
        return Split(split.fields | {"x": features(split).astype(np.float32)})

    data = mapped(original, with_features)
    num_features, labelled = data.train.fields["x"].shape[1], data.train.fields["labelled"]
    classifier = MLP((*config.hidden, num_classes), config.activation)
    autoencoder = Autoencoder((num_features, *config.hidden, config.code_size), config.activation)
    one, mean = jnp.zeros((1, num_features)), jnp.asarray(data.train.fields["x"].mean(axis=0))

    def initial(key):
        classifier_key, autoencoder_key = jax.random.split(key)
        return {
            "classifier": classifier.init(classifier_key, one),
            "autoencoder": starting_at(autoencoder.init(autoencoder_key, one), mean),
        }

    def nats(params, batch):
        return losses.categorical_cross_entropy(classifier.apply(params["classifier"], batch["x"]), batch["label"])

    def loss(params, batch, key, state):
        # no weight is in both terms, and Adam's steps do not know the other's gradients
        told, _ = autoencoder.apply(params["autoencoder"], batch["x"])
        terms = {
            "classifier": nats(params, batch) * batch["labelled"] / labelled.mean(dtype=np.float32),
            "autoencoder": losses.squared_error(told, batch["x"]) / num_features,
        }
        return terms["classifier"] + terms["autoencoder"], train.Aux(terms)

    schedule = train.schedule("cosine", config.learning_rate, steps=config.steps)
    learner = train.minimise(loss, initial, train.optimizer("adam", schedule))
    phase = Phase("train", learner, config.steps, config.batch_size, config.chapter_steps)

    def validate(state, split, key):
        return per_example(functools.partial(nats, state.params), split).mean()

    @jax.jit
    def log_probabilities(params, split):
        return per_row(lambda b: jax.nn.log_softmax(classifier.apply(params["classifier"], b["x"])), split)

    @jax.jit
    def codes(params, split):
        return per_row(lambda b: autoencoder.apply(params["autoencoder"], b["x"], method="encode"), split)

    def clustered(row, train_rows, test_rows, key):
        found = k_means(np.asarray(train_rows, np.float64), num_classes, seed=seed_of(key))
        return assignment_measures(row, found.assign(np.asarray(test_rows, np.float64)), data.test)

    @functools.cache
    def baselines():
        rows, label = embedded(values_of, data), labels_of(data.train)[labelled]
        said = {
            "logistic": classification.logistic_regression(
                (rows.train[labelled], label), (rows.validation, labels_of(data.validation)), rows.test
            ),
            "majority": classification.class_shares(label, len(rows.test)),
        }
        tables = [classification.measures(row, log_p, labels_of(data.test)) for row, log_p in said.items()]
        return {name: value for table in tables for name, value in table.items()}

    def evaluate(state, data, key):
        log_p = np.asarray(log_probabilities(state.params, data.test), np.float64)
        of_codes = (codes(state.params, split) for split in (data.train, data.test))
        return (
            classification.measures("classifier", log_p, labels_of(data.test))
            | clustered("autoencoder_kmeans", *of_codes, key)
            | clustered("kmeans", data.train.fields["x"], data.test.fields["x"], key)
            | baselines()
        )

    def figures(state, data, key, metrics):
        counts = np.zeros((num_classes, num_classes), np.int64)
        said = np.asarray(log_probabilities(state.params, data.test)).argmax(axis=1)
        np.add.at(counts, (labels_of(data.test), said), 1)
        return {
            "scree": scree(explained_shares(fitted_on), kept=config.components),
            "confusion": confusion(counts),
        }

    def health(metrics):
        own, majority = (metrics[f"{row}/accuracy"]["mean"] for row in ("classifier", "majority"))
        if own <= majority or collapsed(metrics, "autoencoder_kmeans", num_clusters=num_classes):
            return "collapsed"
        return "ok"

    functions = {
        "features": lambda params, x: features(Split({"x": x})),
        "classify": lambda params, x: jnp.exp(log_probabilities(params, with_features(Split({"x": x})))),
        "encode": lambda params, x: codes(params, with_features(Split({"x": x}))),
    }
    functions = {name: takes(original.test)(function) for name, function in functions.items()}
    return Experiment(data, (phase,), validate, evaluate, figures, functions, health)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
