"""Told the class, a variational autoencoder draws what is asked for and classifies by Bayes' rule (Sohn et al. 2015).

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz, .npy or .csv with labels
Time: 60 s a seed on digits, 3 minutes for the command below (2 CPU cores)
Run: python -m experiments.conditional_vae --dataset mnist --hidden 200 200 --latent-size 50 --validation-size 400
    --schedule staged --learning-rate 1e-3 --steps 29800 --chapter-steps 2980
Expected: a higher likelihood given the class than of class marginals, and more test images classified right. What it
    draws is taken for its class less often than what class marginals draw.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import bounds, noise, train
from seqjax.data.binarised import binarised
from seqjax.data.load import load
from seqjax.errors import require
from seqjax.evaluate import class_conditional
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.posterior import latent_measures, posterior_health
from seqjax.evaluate.reconstruction import mean_row
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.latent_images import latent_figures
from seqjax.models import latent_space
from seqjax.models.mlp import Activation
from seqjax.models.vae import VAE, initial
from seqjax.types import Experiment, Phase, Split


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the encoder's layers before the latents; the decoder mirrors them."""
    latent_size: int = 16
    """Units of the latents next to the data."""
    activation: Activation = "tanh"
    """Of the hidden layers."""
    schedule: Literal["staged", "constant", "cosine"] = "cosine"
    """Learning rate over the run; staged is that of Burda et al. 2016, by passes over the data."""
    learning_rate: float = 3e-3
    """Its peak."""
    steps: int = 8000
    """Training steps."""
    batch_size: int = 20
    """Examples in a step, over all devices."""
    chapter_steps: int = 800
    """Steps between validations."""
    validation_size: int | None = None
    """Rows of the training split kept for validation. Default: the data set's own choice."""
    importance_samples: int = 1000
    """Draws for the log-likelihood of each test example given its class."""
    class_samples: int = 50
    """Draws for its log-likelihood given each of the classes, by which it is classified."""


SMOKE = {
    "dataset": "digits",
    "validation_size": None,
    "steps": 200,
    "chapter_steps": 100,
    "batch_size": 64,
    "importance_samples": 20,
    "class_samples": 5,
}


def build(config: Config) -> Experiment:
    for name in ("batch_size", "importance_samples", "class_samples"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    data = binarised(load(config.dataset, validation_size=config.validation_size))
    count = class_conditional.num_classes(data)
    mean = mean_row(data.train)
    model = VAE(len(mean), (config.hidden,), (config.latent_size,), config.activation)

    def condition(label):
        return jax.nn.one_hot(label, count)

    def sampler(params, batch, key, numbers):
        return latent_space.posterior_draws(model, params, batch, key, numbers, condition=condition(batch["label"]))

    def bound(params, batch, key):
        draws = sampler(params, batch, key, jnp.zeros(1, jnp.int32))
        log_likelihood, kl = draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1)
        return bounds.evidence_lower_bound(log_likelihood, kl), log_likelihood, kl

    def loss(params, batch, key, state):
        shown_key, draws_key = jax.random.split(key)
        shown = batch | {"x": noise.bernoulli(batch["x"], shown_key, batch["index"])}
        value, log_likelihood, kl = bound(params, shown, draws_key)
        return -value, train.Aux({"reconstruction": -log_likelihood, "kl": kl})

    epoch_steps = data.train.num_examples / config.batch_size
    rate = train.schedule(config.schedule, config.learning_rate, steps=config.steps, epoch_steps=epoch_steps)
    start = functools.partial(initial, model, mean=mean, num_conditions=count)
    learner = train.minimise(loss, start, train.optimizer("adam", rate, eps=1e-4))
    phase = Phase("train", learner, config.steps, config.batch_size, config.chapter_steps)

    def validate(state, split, key):
        return -per_example(lambda batch: bound(state.params, batch, key)[0], split).mean()

    true = np.asarray(data.test.fields["label"])
    prior = class_conditional.log_class_shares(np.asarray(data.train.fields["label"]), count)

    @jax.jit
    def generate(params, key, label):
        """A binary image [N D] of each class asked for, [N]."""
        count = label.shape[0]
        means_key, binary_key = jax.random.split(key)
        means = latent_space.generated(model, params, means_key, count, condition(label))
        return noise.bernoulli(means, binary_key, jnp.arange(count))

    nearest = functools.cache(lambda: class_conditional.nearest_class(data))
    baselines = functools.cache(lambda: class_conditional.class_baselines(data, count, nearest()))

    def evaluate(state, data, key):
        measure_key, class_key, draw_key = jax.random.split(key, 3)
        own = latent_measures(
            "conditional_vae", sampler, state.params, data.test, measure_key, num_samples=config.importance_samples
        )
        given = class_conditional.class_log_likelihoods(
            sampler, state.params, data.test, class_key, count, num_samples=config.class_samples
        )
        own["conditional_vae/accuracy"] = class_conditional.accuracy(given + prior[None], true)
        drawn = generate(state.params, draw_key, jnp.asarray(nearest().asked))
        own["conditional_vae/obedience"] = class_conditional.obedience(nearest(), np.asarray(drawn), nearest().asked)
        return own | baselines()

    def figures(state, data, key, metrics):
        labels = jnp.asarray(data.test.fields["label"])
        return latent_figures("conditional VAE", model, state.params, data.test, key, condition(labels))

    told = Split({"x": data.test.fields["x"], "condition": np.eye(count, dtype=np.float32)[true]})
    functions = {name: takes(told)(function) for name, function in latent_space.functions(model).items()}
    functions["generate"] = generate
    return Experiment(data, (phase,), validate, evaluate, figures, functions, posterior_health("conditional_vae"))


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
