"""A code of eight units, learned, reconstructs unseen examples better than as many principal components.

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz, .npy or .csv
Time: 15 s for 5 seeds on digits (2 CPU cores)
Run: python -m experiments._template
Expected: squared error of a test example at most 1 on digits, against 1.57 of PCA and 4.74 of the mean.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.batches import intensities
from seqjax.data.load import load
from seqjax.errors import require
from seqjax.evaluate import reconstruction
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import main
from seqjax.models.autoencoder import Autoencoder, starting_at
from seqjax.plots import reconstruction_figures
from seqjax.types import Experiment, Phase

ROW = "_template"  # of the results, beside pca and mean


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file."""
    hidden_size: int = 128
    """Units of the layer before the code, and of the one after it."""
    code_size: int = 8
    """Units of the code."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    steps: int = 2000
    """Training steps."""
    batch_size: int = 128
    """Examples in a step, over all devices."""
    chapter_steps: int = 200
    """Steps between validations."""


SMOKE = {"dataset": "digits", "steps": 100, "chapter_steps": 50, "batch_size": 64}


def build(config: Config) -> Experiment:
    require(config.hidden_size >= 1, "hidden_size", config.hidden_size, "at least 1")
    require(config.code_size >= 1, "code_size", config.code_size, "at least 1")
    data = load(config.dataset)
    num_values = math.prod(data.train.fields["x"].shape[1:])
    model = Autoencoder((num_values, config.hidden_size, config.code_size), activation="elu")
    mean = jnp.asarray(reconstruction.mean_row(data.train), jnp.float32)

    def initial(key):
        return starting_at(model.init(key, jnp.zeros((1, num_values))), mean)

    def flat(x):
        return x.reshape(x.shape[0], -1)

    def loss(params, batch, key, state):
        x = flat(batch["x"])
        outputs, _ = model.apply(params, x)
        return losses.squared_error(outputs, x), train.Aux({})

    optimizer = train.optimizer("adam", train.schedule("cosine", config.learning_rate, steps=config.steps))
    learner = train.minimise(loss, initial, optimizer)
    phase = Phase("train", learner, config.steps, config.batch_size, config.chapter_steps)

    def validate(state, split, key):
        return per_example(lambda batch: loss(state.params, batch, key, state)[0], split).mean()

    @jax.jit
    def outputs_and_codes(params, split):
        return per_example(lambda batch: model.apply(params, flat(batch["x"])), split)

    baselines = functools.cache(lambda: reconstruction.baseline_measures(data, config.code_size))

    def evaluate(state, data, key):
        rows, _ = outputs_and_codes(state.params, data.test)
        own = reconstruction.measures(ROW, np.asarray(rows, np.float64), data, probabilities=False)
        return own | {name: value for name, value in baselines().items() if name.endswith("/squared_error")}

    def figures(state, data, key, metrics):
        rows, codes = map(np.asarray, outputs_and_codes(state.params, data.test))
        return reconstruction_figures(data, ROW, rows, codes, metrics[f"{ROW}/squared_error"])

    def encode(params, x):
        return model.apply(params, flat(intensities(jnp.asarray(x))), method="encode")

    return Experiment(data, (phase,), validate, evaluate, figures, {"encode": encode}, health)


def health(metrics):
    better = metrics[f"{ROW}/squared_error"]["mean"] < metrics["mean/squared_error"]["mean"]
    return "ok" if better else "collapsed"


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
