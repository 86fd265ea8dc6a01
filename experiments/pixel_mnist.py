"""Images read pixel by pixel: gated cells tell what was drawn hundreds of steps ago (Le, Jaitly & Hinton 2015).

With `--permuted` the pixels come in another order: one permutation, drawn once from a constant seed, for all images,
runs and seeds, so that neighbours are far apart in time.

Data: digits (embedded, 64 steps), mnist and fashion_mnist (784 steps), or a path to .npz with images and labels
Time: 30 s a seed on digits, 4 minutes for an epoch of mnist (2 CPU cores)
Run: python -m experiments.pixel_mnist --dataset digits --cell lstm
Expected: on MNIST an LSTM of 100 units 98.9 %, permuted 90.2 % (Cooijmans et al. 2017, 200 epochs); a linear
    classifier, to which all orders are one, 92 %.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.batches import intensities
from seqjax.data.load import load
from seqjax.errors import DataError, require
from seqjax.evaluate import classification
from seqjax.evaluate.gradient_flow import flow_curves, flow_measures, model_flow
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.reconstruction import values_of
from seqjax.experiment import main
from seqjax.models.sequence import CellName, SequenceModel, cell_function, with_time_scales
from seqjax.plots import confusion, gradient_flow
from seqjax.types import Experiment, Phase

LOOKED_AT = 100  # test images whose gradients and gates are looked at
CHUNK = 250  # images that are evaluated together


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """digits, mnist, fashion_mnist, or any other data set of labelled vectors by name or path."""
    permuted: bool = False
    """Read the pixels in an order of their own, the same for all images and in all runs."""
    cell: CellName = "lstm"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 64
    """Units of a layer."""
    num_layers: int = 1
    """Layers."""
    time_scales: bool = True
    """Gates start out keeping for 1 to as many steps as there are pixels, unit by unit (Tallec & Ollivier 2018)."""
    forget_bias: float = 1.0
    """What the LSTM's forget gates start from without time scales."""
    identity_start: bool = False
    """Start recurrent kernels as identities, input kernels orthogonal (Cooijmans et al. 2017)."""
    dropout: float = 0.0
    """Rate at which outputs of each layer are dropped in training."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optax optimiser; RMSProp with momentum .9."""
    learning_rate: float = 5e-3
    """Its peak learning rate."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the run."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 2000
    """Training steps."""
    batch_size: int = 50
    """Images in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between validations; the parameters with the best one are evaluated."""


SMOKE = {"dataset": "digits", "hidden_size": 32, "steps": 200, "chapter_steps": 50, "batch_size": 32}


def build(config: Config) -> Experiment:
    require(config.hidden_size >= 1, "hidden_size", config.hidden_size, "at least 1")
    require(config.num_layers >= 1, "num_layers", config.num_layers, "at least 1")
    require(0 <= config.dropout < 1, "dropout", config.dropout, "a rate from 0 to below 1")
    data = load(config.dataset)
    num_classes = classes_of(data)
    num_pixels = int(np.prod(data.train.fields["x"].shape[1:]))
    order = permutation(num_pixels)

    def model_of(cell):
        function = cell_function(cell, forget_bias=config.forget_bias, identity_start=config.identity_start)
        return SequenceModel(function, config.hidden_size, num_classes, config.num_layers, config.dropout)

    @functools.partial(jax.jit, static_argnames="cell")
    def initial(key, cell=config.cell):
        init_key, scales_key = jax.random.split(key)
        params = model_of(cell).init(init_key, jnp.zeros((1, 1, 1)))
        return with_time_scales(params, scales_key, num_pixels) if config.time_scales else params

    model = model_of(config.cell)

    def pixels(x):
        """The images as sequences [B T 1]."""
        flat = x.reshape(x.shape[0], -1)
        return (flat[:, order] if config.permuted else flat)[..., None]

    def logits(params, x, *, key=None, index=None):
        return model.apply(params, pixels(x), key=key, index=index)[:, -1]

    def loss(params, batch, key, state):
        said = logits(params, batch["x"], key=key, index=batch["index"])
        return losses.categorical_cross_entropy(said, batch["label"]), train.Aux({})

    learner = train.minimise(
        loss,
        initial,
        train.optimizer(
            config.optimizer,
            train.schedule(config.schedule, config.learning_rate, steps=config.steps),
            clip_norm=config.clip_norm,
        ),
    )
    phase = Phase("train", learner, config.steps, config.batch_size, config.chapter_steps, keep_best=True)

    @jax.jit
    def log_probabilities(params, split):
        return per_example(lambda b: jax.nn.log_softmax(logits(params, b["x"])), split, chunk=CHUNK)

    def validate(state, split, key):
        said = log_probabilities(state.params, split)
        return -jnp.take_along_axis(said, split.fields["label"][:, None], axis=1).mean()

    @functools.partial(jax.jit, static_argnames="cell")
    def flow(params, split, cell):
        """Norm of the gradient of the answer's cost to the state at each lag, and saturation, of `cell`."""
        x, labels = (intensities(split.fields[name][:LOOKED_AT]) for name in ("x", "label"))
        return model_flow(
            model_of(cell), params, pixels(x), lambda said: losses.categorical_cross_entropy(said, labels)
        )

    @functools.cache
    def baselines():
        rows = {split: values_of(getattr(data, split)) for split in ("train", "validation", "test")}
        labels = {split: getattr(data, split).fields["label"] for split in rows}
        linear = classification.logistic_regression(
            (rows["train"], labels["train"]), (rows["validation"], labels["validation"]), rows["test"]
        )
        shares = classification.class_shares(labels["train"], len(rows["test"]))
        found = {"logistic": linear, "majority": shares}
        tables = [classification.measures(row, said, labels["test"]) for row, said in found.items()]
        return {name: value for table in tables for name, value in table.items()}

    def evaluate(state, data, key):
        said = np.asarray(log_probabilities(state.params, data.test), np.float64)
        own = classification.measures(config.cell, said, data.test.fields["label"])
        return own | baselines() | flow_measures(config.cell, *flow(state.params, data.test, config.cell))

    def figures(state, data, key, metrics):
        curves = flow_curves(
            lambda p, cell: flow(p, data.test, cell),
            config.cell,
            state.params,
            lambda c: initial(jax.random.clone(key), c),
        )
        said = np.asarray(log_probabilities(state.params, data.test)).argmax(axis=1)
        counts = np.zeros((num_classes, num_classes), int)
        np.add.at(counts, (data.test.fields["label"], said), 1)
        return {"gradient_flow": gradient_flow(curves, of="answer's cost"), "confusion": confusion(counts)}

    functions = {"logits": lambda params, x: logits(params, intensities(jnp.asarray(x)))}
    return Experiment(data, (phase,), validate, evaluate, figures, functions)


def classes_of(data):
    """K, where labels are 0 to K - 1 and each is among the training rows."""
    splits = (data.train, data.validation, data.test)
    if any("label" not in split.fields for split in splits):
        raise DataError(f"{data.name} has no labels in some split; expected images with labels.")
    known = np.unique(data.train.fields["label"])
    found = np.unique(np.concatenate([split.fields["label"] for split in splits]))
    if len(found) < 2 or not np.array_equal(known, np.arange(len(found))):
        raise DataError(
            f"{data.name}: labels {found[:10]}, in the training split {known[:10]}; expected 0, 1, 2, ... without gaps,"
            " at least two, each in the training split."
        )
    return len(found)


def permutation(num_pixels):
    # a legacy generator because it is frozen for good: all runs of all versions read in the same order
    return np.random.RandomState(0).permutation(num_pixels)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
