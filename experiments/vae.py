"""A variational autoencoder bounds the likelihood of images that it has not seen (Kingma & Welling 2014).

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz, .npy or .csv
Time: 50 s a seed on digits; 20 minutes a seed for the command below (1 CPU core)
Run: python -m experiments.vae --dataset mnist --hidden 200 200 --latent-size 50 --validation-size 400 --schedule
    staged --learning-rate 1e-3 --batch-size 20 --steps 342700 --chapter-steps 2980
Expected: on MNIST, by 115 epochs of the schedule of Burda et al. 2016, at most 90.5 nats an image.

Two layers of latents as there: --latent-size 100 --upper-hidden 100 100 --upper-latent-size 50.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from seqjax import annealing, bounds, noise, train
from seqjax.data.binarised import binarised
from seqjax.data.load import load
from seqjax.errors import require
from seqjax.evaluate.density_baselines import bernoulli_baselines, gaussian_baselines
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.posterior import latent_measures, posterior_health
from seqjax.evaluate.reconstruction import mean_row
from seqjax.experiment import main
from seqjax.galleries.latent_images import latent_figures
from seqjax.models import latent_space
from seqjax.models.mlp import Activation
from seqjax.models.vae import VAE, initial
from seqjax.types import Experiment, Phase


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Of the data given the latents; bernoulli draws each image anew from its intensities whenever it is shown."""
    stddev: float | Literal["shared", "each"] = "shared"
    """Of a Gaussian likelihood: a number, one learned for all values, or one learned for each value of each example."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the encoder's layers before the latents; the decoder mirrors them."""
    latent_size: int = 16
    """Units of the latents next to the data."""
    upper_hidden: tuple[int, ...] = ()
    """Sizes of the layers between the two layers of latents, if there are two."""
    upper_latent_size: int | None = None
    """Units of a second layer of latents above the first."""
    activation: Activation = "tanh"
    """Of the hidden layers."""
    samples: int = 1
    """Draws of the latents of each example whose bounds are averaged."""
    beta: float = 1.0
    """Weight of the KL divergence in training; all that is measured has weight 1."""
    annealing: Literal["none", "linear", "cyclical"] = "none"
    """How the weight of the KL divergence rises from 0 in training."""
    rising: float = 0.25
    """Share of the run, or of each of four cycles, over which it rises."""
    free_bits: float = 0.0
    """Nats that each unit costs at least in training."""
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
    """Draws for the log-likelihood of each test example."""
    mixture_components: int = 50
    """Of the mixture of Bernoulli variables that stands beside it."""


SMOKE = {
    "dataset": "digits",
    "validation_size": None,
    "steps": 200,
    "chapter_steps": 100,
    "batch_size": 64,
    "importance_samples": 20,
}


def build(config: Config) -> Experiment:
    for name in ("batch_size", "samples", "importance_samples", "mixture_components"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    require(config.beta >= 0, "beta", config.beta, "a weight of 0 or more")
    require(config.free_bits >= 0, "free_bits", config.free_bits, "nats, 0 or more")
    two_layers = config.upper_latent_size is not None
    require(
        two_layers or not config.upper_hidden, "upper_hidden", config.upper_hidden, "none without upper_latent_size"
    )
    require(not (two_layers and config.free_bits), "free_bits", config.free_bits, "0 with two layers of latents")
    data = load(config.dataset, validation_size=config.validation_size)
    data = binarised(data) if config.likelihood == "bernoulli" else data
    mean = mean_row(data.train)
    model = VAE(
        len(mean),
        (config.hidden, config.upper_hidden) if two_layers else (config.hidden,),
        (config.latent_size, config.upper_latent_size) if two_layers else (config.latent_size,),
        config.activation,
        config.likelihood,
        config.stddev,
    )
    sampler = functools.partial(latent_space.posterior_draws, model)
    numbers = jnp.arange(config.samples)

    def shown(batch, key):
        if config.likelihood == "gaussian":
            return batch
        return batch | {"x": noise.bernoulli(batch["x"], key, batch["index"])}

    def beta(step):
        match config.annealing:
            case "linear":
                return config.beta * annealing.linear(step, rising_steps=round(config.rising * config.steps))
            case "cyclical":
                return config.beta * annealing.cyclical(step, steps=config.steps, rising=config.rising)
        return config.beta

    def loss(params, batch, key, state):
        shown_key, draws_key = jax.random.split(key)
        draws = sampler(params, shown(batch, shown_key), draws_key, numbers)
        log_likelihood, kl = draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1)
        charged = bounds.free_bits(draws.kl_of_units, nats=config.free_bits) if config.free_bits else kl
        bound = bounds.evidence_lower_bound(log_likelihood, charged, beta=beta(state.step))
        return -bound, train.Aux({"reconstruction": -log_likelihood, "kl": kl})

    epoch_steps = data.train.num_examples / config.batch_size
    rate = train.schedule(config.schedule, config.learning_rate, steps=config.steps, epoch_steps=epoch_steps)
    learner = train.minimise(
        loss, functools.partial(initial, model, mean=mean), train.optimizer("adam", rate, eps=1e-4)
    )
    phase = Phase("train", learner, config.steps, config.batch_size, config.chapter_steps)

    def validate(state, split, key):
        def nats(batch):
            draws = sampler(state.params, batch, key, numbers)
            return -bounds.evidence_lower_bound(draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1))

        return per_example(nats, split).mean()

    @functools.cache
    def baselines():
        if config.likelihood == "bernoulli":
            return bernoulli_baselines(data, config.mixture_components)
        return gaussian_baselines(data, config.latent_size, min_stddev=model.min_stddev)

    def evaluate(state, data, key):
        own = latent_measures("vae", sampler, state.params, data.test, key, num_samples=config.importance_samples)
        return own | baselines()

    def figures(state, data, key, metrics):
        return latent_figures("vae", model, state.params, data.test, key)

    return Experiment(
        data, (phase,), validate, evaluate, figures, latent_space.functions(model), posterior_health("vae")
    )


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
