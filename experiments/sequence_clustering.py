"""One vector for each series, learned without labels, in which k-means finds the classes (Lafabregue et al. 2022).

Data: events (made up), japanese_vowels, basic_motions, cbf, gun_point, italy_power_demand, any other set of series, or
    a path to a folder with NAME_TRAIN.ts and NAME_TEST.ts, a .ts or a .npz
Time: half a minute a seed on japanese_vowels, 20 s on cbf (1 CPU core)
Run: python -m experiments.sequence_clustering --dataset japanese_vowels
Expected: an NMI of .90 on japanese_vowels, .78 on basic_motions and on cbf, against .83, .38 and .36 of the best of
    values and principal components; on gun_point and italy_power_demand hardly any, as of the values.

The encoder is trained on the training split; clusters are found among the codes of the test split, whose labels only
score them.
"""

import dataclasses
import functools
from typing import Literal

import jax.numpy as jnp

from seqjax import train
from seqjax.data.batches import first_example
from seqjax.data.load import load
from seqjax.data.unlabelled import chosen_clusters, rows_or_series, values_a_row
from seqjax.data.whole_series import in_frames, new_series, require_next_steps, whole_series
from seqjax.evaluate.assignments import seed_of
from seqjax.evaluate.cluster_scores import collapsed
from seqjax.evaluate.embedding_tasks import (
    METHODS,
    clustering,
    explained_variance,
    linear_probe,
    nearest_neighbours,
    one_class,
)
from seqjax.evaluate.embeddings import embedding_matrix, learned, principal_components, random_projection
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.reconstruction import values_of
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.clusters import cluster_figures
from seqjax.models import sequence_encoders
from seqjax.models.sequence import CellName, cell_function
from seqjax.models.sequence_autoencoder import Order, Pooling, Reading
from seqjax.types import Experiment, Phase

CHUNK = 64  # series that are validated together


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "events"
    """Name of a set of series, or path to a folder of .ts files, a .ts or a .npz."""
    num_clusters: int | None = None
    """Clusters that are looked for. Default: as many as there are classes."""
    method: Literal["k_means", "gaussian_mixture"] = "k_means"
    """What finds them among the codes."""
    tasks: tuple[Literal["dbscan", "probe", "neighbours", "one_class", "explained"], ...] = ()
    """What codes and values are tried at beside; explained: the variance of the values that is linear in them."""
    encoder: Literal["recurrent_autoencoder", "autoencoder", "vae", "sequence_vae", "next_step"] = (
        "recurrent_autoencoder"
    )
    """What learns the codes; of them autoencoder and vae read the padded series as one row."""
    frame: int | None = None
    """Steps that are read at once, as one. Default: so many that the longest series has 32 of them at most."""
    cell: CellName = "gru"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 64
    """Units of a layer of the decoder, or of the next-step predictor, whose state is the code."""
    encoder_size: int = 64
    """Units of a layer of the encoder, in each direction."""
    num_layers: int = 1
    """Layers of each recurrence."""
    bidirectional: bool = True
    """The encoder reads the series in both directions."""
    hidden: tuple[int, ...] = (256,)
    """Sizes of the layers before the code, of autoencoder and vae."""
    latent_size: int = 16
    """Units of the code; PCA and the random projection have as many."""
    pooling: Pooling = "mean"
    """What the code is linear in, or is of next_step: the last state, or the mean of the outputs."""
    order: Order = "forward"
    """In which the decoder tells the series."""
    reading: Reading = "latent"
    """What the decoder reads beside the code: nothing, the true step before, or what it has said itself."""
    beta: float = 1.0
    """Weight of the KL divergence of vae and sequence_vae."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 1000
    """Training steps."""
    batch_size: int = 32
    """Series in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between validations; the parameters with the best one are evaluated."""
    validation_size: int | None = None
    """Training series kept for validation. Default: the data set's own choice. With 0 the last parameters are kept."""


SMOKE = {
    "dataset": "events",
    "num_clusters": None,
    "frame": 4,
    "hidden_size": 32,
    "encoder_size": 32,
    "latent_size": 8,
    "hidden": (32,),
    "learning_rate": 1e-2,
    "steps": 240,
    "chapter_steps": 80,
    "validation_size": None,
}


def build(config: Config) -> Experiment:
    original = whole_series(load(config.dataset, validation_size=config.validation_size))
    num_clusters = chosen_clusters(original, config.num_clusters)
    standardised, scale = rows_or_series(original)
    data, frame = in_frames(standardised, config.frame)
    if config.encoder == "next_step":
        require_next_steps(data)

    cell, layers = cell_function(config.cell), {"num_layers": config.num_layers}
    recurrent = (cell, config.hidden_size, config.latent_size)
    both = layers | {"encoder_size": config.encoder_size, "bidirectional": config.bidirectional}
    match config.encoder:
        case "recurrent_autoencoder":
            told = {"order": config.order, "reading": config.reading}
            encoder = sequence_encoders.recurrent_autoencoder(*recurrent, **both, **told, pooling=config.pooling)
        case "autoencoder":
            encoder = sequence_encoders.mlp_autoencoder(config.hidden, config.latent_size)
        case "vae":
            encoder = sequence_encoders.vae(config.hidden, config.latent_size, beta=config.beta)
        case "sequence_vae":
            encoder = sequence_encoders.sequence_vae(*recurrent, **both, beta=config.beta)
        case "next_step":
            encoder = sequence_encoders.next_step(cell, config.hidden_size, **layers, pooling=config.pooling)

    # over a constant, so that each value counts the same, in whatever series
    mean_values = values_a_row(data.train)

    def loss(params, batch, key, state):
        values, terms = encoder.loss(params, batch, key)
        return values / mean_values, train.Aux({name: term / mean_values for name, term in terms.items()})

    first = first_example(data.train)
    learner = train.minimise(
        loss,
        lambda key: encoder.init(key, first),
        train.optimizer(
            "adam", train.schedule("cosine", config.learning_rate, steps=config.steps), clip_norm=config.clip_norm
        ),
    )
    phase = Phase(
        "train",
        learner,
        config.steps,
        config.batch_size,
        config.chapter_steps,
        keep_best=data.validation.num_examples > 0,
    )

    def validate(state, split, key):
        if not split.num_examples:
            return jnp.zeros(())
        return per_example(lambda b: encoder.loss(state.params, b, key)[0], split, chunk=CHUNK).mean() / mean_values

    def encoders(params, seed):
        return {
            config.encoder: learned(functools.partial(encoder.encode, params)),
            "standardised": values_of,
            "pca": principal_components(data.train, config.latent_size),
            "random_projection": random_projection(data.train, config.latent_size, seed=seed),
        }

    def evaluate(state, data, key):
        seed = seed_of(key)  # of clusters and random directions, so that their spread is in the table too
        tasks = {
            "clustering": clustering(num_clusters, method=config.method, seed=seed),
            "dbscan": clustering(method="dbscan", prefix="dbscan_"),
            "probe": linear_probe(),
            "neighbours": nearest_neighbours(),
            "one_class": one_class(),
            "explained": explained_variance((config.latent_size,)),
        }
        asked = [task for name, task in tasks.items() if name in ("clustering", *config.tasks)]
        found = embedding_matrix(encoders(state.params, seed), asked, data)
        # as they come, padded with zeros
        return found | embedding_matrix({"raw": values_of}, asked, original)

    def figures(state, data, key, metrics):
        seed = seed_of(key)
        codes = encoders(state.params, seed)[config.encoder](data.test)
        rows = {"raw": values_of(original.test), config.encoder: codes}
        find = functools.partial(METHODS[config.method], num_clusters=num_clusters, seed=seed)
        return cluster_figures({name: (x, find(x).assign(x)) for name, x in rows.items()}, original.test)

    def health(metrics):
        return "collapsed" if collapsed(metrics, config.encoder, num_clusters=num_clusters) else "ok"

    @takes(original.test)
    def encode(params, x, length=None):
        """The codes [N Z] of series x [N T D] in the units of the data, of these lengths, default the whole."""
        return encoder.encode(params, new_series(x, scale, frame=frame, length=length))

    return Experiment(data, (phase,), validate, evaluate, figures, {"encode": encode}, health)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
