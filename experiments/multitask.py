"""Few labels go further where the encoder that learns from them also reconstructs and clusters all rows.

Seven encoders, one for each subset of the tasks, start from the same weights and see the same batches; each is moved by
the weighted sum of its own tasks. Classes are asked of a share of the training rows, the other tasks see them all.

Data: digits (embedded), mnist, fashion_mnist, japanese_vowels and other sets of series, any prepared TFDS name, or a
    path to .npz, .csv or .ts with labels
Time: 2 minutes a seed on digits (1 CPU core)
Run: python -m experiments.multitask --label-share 0.02
Expected: with 30 labelled digits, an accuracy of .86 of all tasks together, .76 of classification alone; the clusters
    gain nothing by the labels, an NMI of .77 against .80 of clustering and reconstruction and of k-means on the values.

Clustering starts from k-means on the codes that the other tasks have made; alone it starts from random ones.
Logistic regressions choose their strength by the labels of the validation split, which the encoders never see.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.clustering_losses import assignment_divergence, log_soft_assignments, target_distribution
from seqjax.data.batches import first_example
from seqjax.data.few_labels import partly_labelled
from seqjax.data.load import load
from seqjax.data.unlabelled import chosen_clusters, new_batch, rows_or_series, values_a_row
from seqjax.errors import require
from seqjax.evaluate import classification
from seqjax.evaluate.assignments import assignment_measures, baseline_measures, seed_of
from seqjax.evaluate.cluster_scores import collapsed
from seqjax.evaluate.clustering import k_means
from seqjax.evaluate.embedding_tasks import labels_of
from seqjax.evaluate.embeddings import Embedded
from seqjax.evaluate.few_label_baselines import classifier_baselines, log_probabilities
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.reconstruction import squared_error_baselines
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.clusters import cluster_figures
from seqjax.models.autoencoder import Autoencoder
from seqjax.models.mlp import Activation
from seqjax.models.row_encoder import row_autoencoder
from seqjax.models.sequence import CellName, cell_function
from seqjax.models.sequence_encoders import recurrent_autoencoder
from seqjax.types import Experiment, Phase

TASKS = ("classify", "cluster", "reconstruct")
SUBSETS = {"_".join(tasks): tasks for size in (1, 2, 3) for tasks in itertools.combinations(TASKS, size)}
ALL = "_".join(TASKS)


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file or to a folder of series; with labels."""
    label_share: float = 0.02
    """Share of the training rows of each class whose label is known; one row at least."""
    classify_weight: float = 1.0
    """Of -log p of a class in nats, a mean over the rows with a label."""
    cluster_weight: float = 0.3
    """Of the divergence of clusters from their targets in nats, a mean over all rows."""
    reconstruct_weight: float = 30.0
    """Of the squared error a value, a mean over all rows."""
    num_clusters: int | None = None
    """Number of clusters. Default: that of the classes."""
    hidden: tuple[int, ...] = (256, 128)
    """Sizes of the encoder's layers before the code, for rows; the decoder mirrors them."""
    code_size: int = 10
    """Units of the code, which is linear, as is the classifier that reads it."""
    activation: Activation = "relu"
    """Of the hidden layers."""
    cell: CellName = "gru"
    """The recurrence of encoder and decoder, for series: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 64
    """Units of it, in each direction of the encoder."""
    learning_rate: float = 1e-3
    """Of Adam."""
    batch_size: int = 128
    """Rows in a step, over all devices."""
    steps: int = 1500
    """Steps before there are clusters."""
    cluster_steps: int = 1500
    """Steps with them."""
    refresh_every: int = 100
    """Steps between two computations of the clusters' targets, each over all training rows; a chapter."""
    restarts: int = 20
    """Starts of k-means, of which the best one counts."""


SMOKE = {
    "dataset": "digits",
    "num_clusters": None,
    "hidden": (64,),
    "learning_rate": 3e-3,
    "batch_size": 64,
    "steps": 60,
    "cluster_steps": 60,
    "refresh_every": 30,
    "restarts": 2,
}


def build(config: Config) -> Experiment:
    require(min(config.hidden, default=1) >= 1, "hidden", config.hidden, "sizes of at least 1")
    for name in ("code_size", "hidden_size", "restarts"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    weight_of = {task: getattr(config, f"{task}_weight") for task in TASKS}
    for task, weight in weight_of.items():
        require(weight > 0, f"{task}_weight", weight, "a number above 0")
    original = partly_labelled(load(config.dataset), config.label_share)
    data, scale = rows_or_series(original)
    num_clusters, num_classes = chosen_clusters(data, config.num_clusters), int(data.train.fields["label"].max()) + 1
    num_values, labelled = values_a_row(data.train), data.train.fields["labelled"]
    shape = data.train.fields["x"].shape
    one = first_example(data.train)
    if len(shape) == 2:
        encoder = row_autoencoder(Autoencoder((shape[1], *config.hidden, config.code_size), config.activation))
    else:
        encoder = recurrent_autoencoder(cell_function(config.cell), config.hidden_size, config.code_size)
    weights = jnp.asarray([[weight_of[task] * (task in tasks) for task in TASKS] for tasks in SUBSETS.values()])

    @jax.jit
    def initial(key):
        """The same start for every subset, the first axis of every array."""
        params = {
            "encoder": encoder.init(key, one),
            "classifier": jnp.zeros((config.code_size, num_classes)),
            "bias": jnp.zeros(num_classes),
            "centroids": jnp.zeros((num_clusters, config.code_size)),
        }
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(SUBSETS)), params)

    def outputs(params, batch):
        """Of one subset: codes, logarithms of classes' probabilities and of assignments, squared error of each row."""
        codes = encoder.encode(params["encoder"], batch)
        log_p = jax.nn.log_softmax(codes @ params["classifier"] + params["bias"][None, :])
        error = encoder.loss(params["encoder"], batch, jax.random.key(0))[0]
        return codes, log_p, log_soft_assignments(codes, params["centroids"]), error

    def task_losses(params, batch, targets):
        _, log_p, log_q, error = outputs(params, batch)
        asked = batch["labelled"] / labelled.mean(dtype=np.float32)
        return jnp.stack(
            [
                asked * losses.categorical_cross_entropy(log_p, batch["label"]),
                assignment_divergence(log_q, targets),
                error / num_values,
            ]
        )

    def loss(params, batch, key, state):
        # targets of zeros, as they are before there are clusters, cost nothing and move nothing
        targets = state.extra["targets"][:, batch["index"]]
        terms = jax.vmap(task_losses, (0, None, 0))(params, batch, targets)
        total = jnp.einsum("st,stb->b", weights, terms)
        return total, train.Aux(dict(zip(TASKS, terms[list(SUBSETS).index(ALL)], strict=True)))

    @jax.jit
    def outputs_of(params, split):
        return per_example(functools.partial(outputs, params), split)

    @jax.jit
    def refresh(state, split):
        log_q = jax.vmap(outputs_of, (0, None))(state.params, split)[2]
        return state._replace(extra=state.extra | {"targets": jax.vmap(target_distribution)(log_q)})

    def of(subset, params):
        return jax.tree.map(lambda leaf: leaf[list(SUBSETS).index(subset)], params)

    def codes_of(own, split):
        if split.num_examples == 0:
            return np.zeros((0, config.code_size))
        return np.asarray(outputs_of(own, split)[0], np.float64)

    def clustering_of(codes, key):
        return k_means(codes, num_clusters, seed=seed_of(key), num_starts=config.restarts)

    def enter(previous, split, key):
        """Centroids where k-means finds them among the codes of all rows, of the subsets that cluster."""
        centroids = previous.params["centroids"]
        for position, (subset, tasks) in enumerate(SUBSETS.items()):
            if "cluster" in tasks:
                found = clustering_of(codes_of(of(subset, previous.params), split), key)
                centroids = centroids.at[position].set(found.centres.astype(np.float32))
        return refresh(previous._replace(params=previous.params | {"centroids": centroids}), split)

    def extra(params):
        return {"targets": jnp.zeros((len(SUBSETS), data.train.num_examples, num_clusters))}

    learner = train.minimise(loss, initial, train.optimizer("adam", config.learning_rate), extra=extra)
    options = (config.batch_size, config.refresh_every)
    phases = (
        Phase("before_clusters", learner, config.steps, *options),
        Phase("all_tasks", learner, config.cluster_steps, *options, enter=enter, refresh=refresh),
    )

    def validate(state, split, key):
        """-log p of the classes under the encoder of all tasks."""
        log_p = per_example(functools.partial(outputs, of(ALL, state.params)), split)[1]
        return losses.categorical_cross_entropy(log_p, split.fields["label"]).mean()

    def clusters_of(subset, params, key):
        """Its own clusters of the test rows where it has any, else those of k-means on its codes."""
        own = of(subset, params)
        if "cluster" in SUBSETS[subset]:
            return np.asarray(outputs_of(own, data.test)[2].argmax(axis=1))
        return clustering_of(codes_of(own, data.train), key).assign(codes_of(own, data.test))

    def measures_of(subset, params, key):
        own, tasks, labels = of(subset, params), SUBSETS[subset], labels_of(data.test)
        _, log_p, _, error = outputs_of(own, data.test)
        found = assignment_measures(subset, clusters_of(subset, params, key), data.test, prefix="cluster_")
        codes = Embedded(*(codes_of(own, split) for split in (data.train, data.validation, data.test)), data)
        probe = classification.measures("probe", log_probabilities(codes), labels)
        found[f"{subset}/probe_accuracy"] = probe["probe/accuracy"]
        if "classify" in tasks:
            found |= classification.measures(subset, np.asarray(log_p, np.float64), labels)
        if "reconstruct" in tasks:
            found[f"{subset}/squared_error"] = float(error.mean())
        return found

    @functools.cache
    def baselines():
        errors = squared_error_baselines(data.train, data.test, config.code_size)
        found = {f"{row}/squared_error": error for row, error in errors.items()}
        return classifier_baselines(data, config.code_size) | found

    def evaluate(state, data, key):
        found = {}
        for subset in SUBSETS:
            found |= measures_of(subset, state.params, key)
        options = {"seed": seed_of(key), "num_starts": config.restarts, "prefix": "cluster_"}
        return found | baselines() | baseline_measures(data, num_clusters, config.code_size, **options)

    def figures(state, data, key, metrics):
        stages = {
            subset: (codes_of(of(subset, state.params), data.test), clusters_of(subset, state.params, key))
            for subset in ("classify", "reconstruct", ALL)
        }
        return cluster_figures(stages, data.test)

    @takes(original.test)
    def encode(params, x, length=None):
        return encoder.encode(of(ALL, params)["encoder"], new_batch(x, scale, length))

    @takes(original.test)
    def classify(params, x, length=None):
        return jnp.exp(outputs(of(ALL, params), new_batch(x, scale, length))[1])

    @takes(original.test)
    def assign(params, x, length=None):
        return jnp.exp(outputs(of(ALL, params), new_batch(x, scale, length))[2])

    def health(metrics):
        return "collapsed" if collapsed(metrics, ALL, num_clusters=num_clusters) else "ok"

    functions = {"encode": encode, "classify": classify, "assign": assign}
    return Experiment(data, phases, validate, evaluate, figures, functions, health)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
