"""Who has seen one class alone tells the others from it; principal components do about as well (Ruff et al. 2018).

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz or .csv with labels
Time: 20 s a seed on digits, 2 minutes a seed on mnist (1 CPU core)
Run: python -m experiments.anomaly --dataset mnist
Expected: on MNIST a mean AUROC over the ten classes of about .96, by the error of an autoencoder as by that of PCA.
    Deep SVDD with --contrast --hidden 256 --code-size 128 reaches .95 on the validation split that chose its settings.

Every class is normal in turn: its own training examples are all that a network sees; all test examples are judged.
The networks are trained side by side, an example of each class in every row of a batch; none knows of the others.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import train
from seqjax.data.contrast import stretched, with_contrast_normalised
from seqjax.data.load import load
from seqjax.data.one_class import class_batch_at, gathered, normal_classes, rows_by_class, side_by_side
from seqjax.data.whole_series import mapped, whole_series
from seqjax.errors import UsageError, require
from seqjax.evaluate import anomaly, reconstruction
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.per_row import per_row
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.anomalies import extremes, roc_curves, score_histograms
from seqjax.models import one_class
from seqjax.models.autoencoder import Autoencoder
from seqjax.models.vae import VAE
from seqjax.types import Experiment, Phase, Split


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set with labels, or path to a file."""
    scorer: Literal["autoencoder", "vae", "deep_svdd"] = "autoencoder"
    """What scores: the error of an autoencoder, the bound of a VAE, or the distance to a centre (Deep SVDD)."""
    normal_class: int | None = None
    """The class that is normal. Default: each in turn."""
    contrast: bool = False
    """Bring each example to mean 0 and mean absolute value 1 first, as Deep SVDD's images were."""
    hidden: tuple[int, ...] = (128,)
    """Sizes of the encoder's layers before the code; decoders mirror them."""
    code_size: int = 32
    """Units of the code or of the latents, dimensions of the ball."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Of a VAE's data; bernoulli takes intensities from 0 to 1 as they are."""
    weight_decay: float = 1e-6
    """Weight of half the squared weights (Deep SVDD)."""
    outliers: float | None = None
    """Share of training examples left outside of a ball with a soft boundary (Deep SVDD). Default: a centre alone."""
    pretraining_steps: int = 1000
    """Steps as an autoencoder before the centre is set (Deep SVDD)."""
    steps: int = 1000
    """Training steps."""
    learning_rate: float = 1e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    ball_learning_rate: float = 1e-4
    """Peak learning rate towards the centre, after the steps as an autoencoder (Deep SVDD)."""
    batch_size: int = 64
    """Examples of each class in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between validations."""
    components: int = 32
    """Principal components of the baseline."""
    quantile: float = 0.95
    """Share of the validation examples of the normal class that the threshold leaves below it."""
    validation_size: int | None = None
    """Rows of the training split kept for validation. Default: the data set's own choice."""


SMOKE = {
    "dataset": "digits",
    "normal_class": None,
    "validation_size": None,
    "pretraining_steps": 40,
    "steps": 40,
    "chapter_steps": 20,
    "batch_size": 32,
}


def build(config: Config) -> Experiment:
    require(all(size >= 1 for size in config.hidden), "hidden", config.hidden, "sizes of at least 1")
    for name in ("code_size", "components"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    require(config.weight_decay >= 0, "weight_decay", config.weight_decay, "a weight of 0 or more")
    require(0 < config.quantile < 1, "quantile", config.quantile, "a share between 0 and 1")
    outliers = config.outliers
    require(outliers is None or 0 < outliers < 1, "outliers", outliers, "a share between 0 and 1")
    data = load(config.dataset, validation_size=config.validation_size)
    if "length" in data.train.fields:
        data = whole_series(data)
    original = data
    if config.contrast:
        data = mapped(data, with_contrast_normalised)
    classes = normal_classes(data, config.normal_class)
    rows = rows_by_class(data.train, classes)
    values = reconstruction.values_of(data.train)
    means = jnp.asarray(np.stack([values[own].mean(axis=0) for own in rows]), jnp.float32)
    num_values = values.shape[1]
    if config.scorer == "vae" and config.likelihood == "bernoulli" and not reconstruction.in_unit_interval(data):
        raise UsageError(f"{data.name}: has values outside [0, 1], which have no Bernoulli likelihood; use gaussian.")

    svdd = one_class.deep_svdd(
        num_values, config.hidden, config.code_size, weight_decay=config.weight_decay, outliers=outliers
    )
    match config.scorer:
        case "autoencoder":
            scorer = one_class.autoencoder_scorer(Autoencoder((num_values, *config.hidden, config.code_size), "elu"))
        case "vae":
            vae = VAE(num_values, (config.hidden,), (config.code_size,), likelihood=config.likelihood)
            scorer = one_class.vae_scorer(vae)
        case "deep_svdd":
            scorer = svdd.one_class

    def learner_of(scorer, steps, learning_rate):
        def initial(key):
            keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.asarray(classes))
            return jax.vmap(scorer.init)(keys, means)

        def loss(params, batch, key, state):
            each = jax.vmap(scorer.loss, in_axes=(0, 1, None), out_axes=1)(params, batch, key)
            # summed over classes, so that each goes down its own gradient as if it were alone
            total, terms = jax.tree.map(lambda values: values.sum(axis=1), each)
            return total, train.Aux(terms)

        rate = train.schedule("cosine", learning_rate, steps=max(1, steps))
        return train.minimise(loss, initial, train.optimizer("adam", rate))

    def phase_of(name, scorer, steps, learning_rate=config.learning_rate, **options):
        batch_at = class_batch_at(classes, rows)
        learner = learner_of(scorer, steps, learning_rate)
        return Phase(name, learner, steps, config.batch_size, config.chapter_steps, batch_at=batch_at, **options)

    places, valid = side_by_side(rows)

    @jax.jit
    def outputs(params, split):
        """The encoder's, of each class's own training examples, [M C Z]."""

        def of_places(batch):
            own = gathered(split, batch["rows"])
            return jax.vmap(svdd.outputs, in_axes=(0, 1), out_axes=1)(params, own)

        return per_example(of_places, Split({"x": jnp.arange(len(places)), "rows": jnp.asarray(places)}))

    def with_radius(params, split):
        if outliers is None:
            return params
        distances = jnp.square(outputs(params, split) - params["centre"][None]).sum(axis=2)
        radius_of = functools.partial(one_class.squared_radius_of, outliers=outliers)
        return params | {"squared_radius": jax.vmap(radius_of, in_axes=1)(distances, jnp.asarray(valid))}

    def enter(previous, split, key):
        """The pre-trained encoders, and the centres of their outputs, which stay where they are from now on."""
        state = phases[-1].learner.init(key)
        centres = jax.vmap(one_class.centre_of, in_axes=1)(outputs(previous.params, split), jnp.asarray(valid))
        params = state.params | {"encoder": previous.params["encoder"], "centre": centres}
        return state._replace(params=with_radius(params, split))

    def refresh(state, split):
        return state._replace(params=with_radius(state.params, split))

    if config.scorer == "deep_svdd":
        phases = (
            phase_of("pretraining", svdd.pretraining, config.pretraining_steps),
            phase_of("one_class", scorer, config.steps, config.ball_learning_rate, enter=enter, refresh=refresh),
        )
    else:
        phases = (phase_of("train", scorer, config.steps),)

    @jax.jit
    def scores(params, split, key):
        """Of each example by each class's network, [N C]."""
        # during its first phase Deep SVDD is an autoencoder
        own = svdd.pretraining if "decoder" in params else scorer
        return per_row(lambda batch: jax.vmap(lambda p: own.score(p, batch, key), out_axes=1)(params), split, chunk=500)

    def validate(state, split, key):
        own = split.fields["label"][:, None] == jnp.asarray(classes)[None]
        return (jnp.where(own, scores(state.params, split, key), 0).sum(axis=0) / own.sum(axis=0)).mean()

    def pca_scores(split):
        x = reconstruction.values_of(split)
        return np.stack([anomaly.pca_scores(values[own], x, config.components) for own in rows], axis=1)

    own_pca_scores = functools.cache(lambda name: pca_scores(getattr(data, name)))

    def judged(state, of, key):
        """Scores [N C] by each row of the table, and the labels, of the validation and of the test split."""
        for number, name in enumerate(("validation", "test")):
            split = getattr(of, name)
            by_pca = own_pca_scores(name) if split is getattr(data, name) else pca_scores(split)
            own = np.asarray(scores(state.params, split, key), np.float64)
            blind = anomaly.blind_scores(own.shape, jax.random.fold_in(key, number))
            yield {config.scorer: own, "pca": by_pca} | blind, np.asarray(split.fields["label"])

    def evaluate(state, data, key):
        (reference, reference_label), (found, label) = judged(state, data, key)
        measured = {}
        for row, own in found.items():
            of_reference = reference[row], reference_label
            options = {"quantile": config.quantile, "each": row in (config.scorer, "pca")}
            measured |= anomaly.one_class_measures(row, own, label, *of_reference, classes, **options)
        return measured

    def figures(state, data, key, metrics):
        (reference, reference_label), (found, label) = judged(state, data, key)
        own, reference = found[config.scorer], reference[config.scorer]
        limits = [
            anomaly.threshold(reference[reference_label == number, c], config.quantile)
            for c, number in enumerate(classes)
        ]
        anomalous = label[:, None] != np.asarray(classes)[None]
        names = [f"class {number} normal" for number in classes]
        images = reconstruction.values_of(data.test)
        return {
            "roc_curves": roc_curves(found, anomalous),
            "score_histograms": score_histograms(own, anomalous, np.asarray(limits), names),
            "extremes": extremes(stretched(images) if config.contrast else images, own, label, classes),
        }

    @takes(original.test)
    def score(params, x, key):
        """Scores [N C] of x [N ...], uint8 or numbers, by each class's network."""
        split = Split({"x": x})
        return scores(params, with_contrast_normalised(split) if config.contrast else split, key)

    return Experiment(data, phases, validate, evaluate, figures, {"score": score})


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
