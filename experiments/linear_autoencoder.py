"""A linear autoencoder learns the principal subspace, and no more (Baldi & Hornik 1989).

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz, .npy or .csv
Time: 15 s for 5 seeds on digits (2 CPU cores)
Run: python -m experiments.linear_autoencoder
Expected: test error within 1 % of PCA's with as many components; training error never below PCA's.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.batches import intensities
from seqjax.data.load import load
from seqjax.errors import UsageError, require
from seqjax.evaluate import reconstruction
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import main
from seqjax.models.autoencoder import Autoencoder, starting_at
from seqjax.plots import reconstruction_figures
from seqjax.types import Experiment, Phase


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file."""
    code_size: int = 10
    """Units of the code."""
    learning_rate: float = 1e-2
    """Peak learning rate of Adam, down to zero by half a cosine."""
    steps: int = 4000
    """Training steps."""
    batch_size: int = 256
    """Examples in a step, over all devices."""
    chapter_steps: int = 200
    """Steps between validations."""


SMOKE = {"dataset": "digits", "steps": 60, "chapter_steps": 30, "batch_size": 64}


def build(config: Config) -> Experiment:
    require(config.code_size >= 1, "code_size", config.code_size, "at least 1")
    data = load(config.dataset)
    baselines = {
        f"{row}/{split}_squared_error": value
        for split, rows in (("train", data.train), ("test", data.test))
        for row, value in reconstruction.squared_error_baselines(data.train, rows, config.code_size).items()
    }
    if baselines["pca/train_squared_error"] < 1e-9 * baselines["mean/train_squared_error"] + 1e-12:
        raise UsageError(
            f"{data.name}: {config.code_size} components reconstruct it exactly, so there is no error to compare.\n"
            "Choose a smaller --code-size."
        )

    num_values = int(np.prod(data.train.fields["x"].shape[1:]))
    model = Autoencoder((num_values, config.code_size), activation="linear")
    mean = jnp.asarray(reconstruction.mean_row(data.train), jnp.float32)

    def initial(key):
        return starting_at(model.init(key, jnp.zeros((1, num_values))), mean)

    def flat(batch):
        return batch["x"].reshape(batch["x"].shape[0], -1)

    def loss(params, batch, key, state):
        error = losses.squared_error(model.apply(params, flat(batch))[0], flat(batch))
        return error, train.Aux({})

    learner = train.minimise(
        loss,
        initial,
        train.optimizer("adam", train.schedule("cosine", config.learning_rate, steps=config.steps)),
    )
    phase = Phase("train", learner, config.steps, config.batch_size, config.chapter_steps)

    def validate(state, split, key):
        return per_example(lambda b: loss(state.params, b, key, state)[0], split).mean()

    def in_float64(params, x):
        weights = {name: np.asarray(value, np.float64) for name, value in params["params"].items()}
        code = x @ weights["encoder_kernel_0"] + weights["encoder_bias_0"]
        return code @ weights["decoder_kernel_0"] + weights["decoder_bias_0"]

    def evaluate(state, data, key):
        own = {}
        for split, rows in (("train", data.train), ("test", data.test)):
            x = reconstruction.values_of(rows)
            error = float(reconstruction.squared_errors(in_float64(state.params, x), x).mean())
            own[f"linear_autoencoder/{split}_squared_error"] = error
            own[f"linear_autoencoder/{split}_gap"] = error / baselines[f"pca/{split}_squared_error"] - 1.0
        return own | baselines

    def figures(state, data, key, metrics):
        x = reconstruction.values_of(data.test)
        codes = model.apply(state.params, jnp.asarray(x, jnp.float32), method="encode")
        measured = metrics["linear_autoencoder/test_squared_error"]
        return reconstruction_figures(
            data, "linear autoencoder", in_float64(state.params, x), np.asarray(codes), measured
        )

    def encode(params, x):
        return model.apply(params, flat({"x": intensities(jnp.asarray(x))}), method="encode")

    return Experiment(data, (phase,), validate, evaluate, figures, {"encode": encode})


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
