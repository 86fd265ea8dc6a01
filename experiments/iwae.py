"""More draws in a bound of the log-likelihood make a better model (Burda, Grosse & Salakhutdinov 2016).

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz, .npy or .csv
Time: 60 s a seed on digits, 2 minutes for the command below (2 CPU cores)
Run: python -m experiments.iwae --dataset mnist --hidden 200 200 --latent-size 50 --validation-size 400 --schedule
    staged --learning-rate 1e-3 --samples 5 --steps 29800 --chapter-steps 2980
Expected: on MNIST, after ten epochs of the schedule, a higher likelihood with 50 draws than with 5, and with 5 than 1.

Two layers of latents as there: --latent-size 100 --upper-hidden 100 100 --upper-latent-size 50.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from seqjax import bounds, noise, train
from seqjax.data.binarised import binarised
from seqjax.data.load import load
from seqjax.errors import require
from seqjax.evaluate.density_baselines import bernoulli_baselines
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
    samples: int = 5
    """Draws of the latents of each example whose weights are averaged."""
    gradient: Literal["plain", "doubly_reparameterised"] = "plain"
    """Of the encoder: as it is, or that of Tucker et al. 2019, of the same expectation and less variance."""
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
    two_layers = config.upper_latent_size is not None
    require(
        two_layers or not config.upper_hidden, "upper_hidden", config.upper_hidden, "none without upper_latent_size"
    )
    data = binarised(load(config.dataset, validation_size=config.validation_size))
    mean = mean_row(data.train)
    model = VAE(
        len(mean),
        (config.hidden, config.upper_hidden) if two_layers else (config.hidden,),
        (config.latent_size, config.upper_latent_size) if two_layers else (config.latent_size,),
        config.activation,
    )
    sampler = functools.partial(latent_space.posterior_draws, model)
    numbers = jnp.arange(config.samples)

    def log_weights(params, x, draws):
        """log p(x, z) - log q(z | x) of each draw."""
        if config.gradient == "plain":
            return draws.log_weights
        latents, slack = bounds.doubly_reparameterised(draws.latents, jnp.zeros(draws.log_likelihood.shape))
        log_posterior = model.apply(jax.lax.stop_gradient(params), x, latents, method="log_posterior")
        return model.apply(params, x, latents, method="log_joint") - log_posterior + slack

    def loss(params, batch, key, state):
        shown_key, draws_key = jax.random.split(key)
        x = latent_space.flat(noise.bernoulli(batch["x"], shown_key, batch["index"]))
        draws = sampler(params, batch | {"x": x}, draws_key, numbers)
        bound = bounds.importance_weighted_bound(log_weights(params, x, draws))
        terms = {"reconstruction": -draws.log_likelihood.mean(axis=1), "kl": draws.kl_of_units.sum(axis=1)}
        return -bound, train.Aux(terms)

    epoch_steps = data.train.num_examples / config.batch_size
    rate = train.schedule(config.schedule, config.learning_rate, steps=config.steps, epoch_steps=epoch_steps)
    learner = train.minimise(
        loss, functools.partial(initial, model, mean=mean), train.optimizer("adam", rate, eps=1e-4)
    )
    phase = Phase("train", learner, config.steps, config.batch_size, config.chapter_steps)

    def validate(state, split, key):
        def nats(batch):
            return -bounds.importance_weighted_bound(sampler(state.params, batch, key, numbers).log_weights)

        return per_example(nats, split, chunk=max(1, 2000 // config.samples)).mean()

    baselines = functools.cache(lambda: bernoulli_baselines(data, config.mixture_components))

    def evaluate(state, data, key):
        own = latent_measures("iwae", sampler, state.params, data.test, key, num_samples=config.importance_samples)
        return own | baselines()

    def figures(state, data, key, metrics):
        return latent_figures("iwae", model, state.params, data.test, key)

    return Experiment(
        data, (phase,), validate, evaluate, figures, latent_space.functions(model), posterior_health("iwae")
    )


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
