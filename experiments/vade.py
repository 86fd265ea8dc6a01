"""A variational autoencoder whose prior is a mixture finds classes as its components (Jiang et al. 2017, VaDE).

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name, or a path to .npz, .npy or .csv
Time: a minute and a half a seed on digits (2 CPU cores)
Run: python -m experiments.vade --dataset mnist --hidden 500 500 2000 --pretraining-steps 35000 --steps 210000
    --chapter-steps 7000
Expected: on digits an NMI of .77, beside .74 of k-means on the values, at an accuracy of .74, beside .79: classes that
    look alike share a component. Published on MNIST is an accuracy of .9446.

All rows are trained on and scored, which is the published protocol; with --no-joined the test split is kept apart.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import bounds, train
from seqjax.data.batches import whole
from seqjax.data.load import load
from seqjax.data.unlabelled import chosen_clusters, joined
from seqjax.errors import UsageError, require
from seqjax.evaluate.assignments import assignment_measures, baseline_measures, seed_of
from seqjax.evaluate.cluster_scores import collapsed
from seqjax.evaluate.clustering import fitted_mixture
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.reconstruction import in_unit_interval, mean_row
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.clusters import cluster_figures
from seqjax.galleries.latent_images import mosaic
from seqjax.mixture_prior import MixturePrior
from seqjax.models.mlp import Activation
from seqjax.models.vae import VAE, initial, standard_noise
from seqjax.types import Experiment, Phase, Split

SHOWN = 10  # samples of a component
LEAST = 1e-2  # weight and standard deviation of a component at the start: with less it could never be trained


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file."""
    joined: bool = True
    """Train on the rows of all splits and score them all, as published; else train and test split stay apart."""
    num_clusters: int | None = None
    """Number of components of the prior. Default: that of the classes."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Of the data given the latents; bernoulli takes intensities as probabilities, as published."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the encoder's layers before the latents; the decoder mirrors them."""
    latent_size: int = 10
    """Units of the latents."""
    activation: Activation = "relu"
    """Of the hidden layers."""
    pretraining_learning_rate: float = 1e-3
    """Adam's, of the autoencoder on whose codes the components are first found."""
    pretraining_steps: int = 3000
    """Steps of the autoencoder alone."""
    restarts: int = 20
    """Starts of the mixture on its codes, and of k-means beside it, of which the best one counts."""
    learning_rate: float = 2e-3
    """Adam's, of the bound; as published."""
    decay: float = 0.9
    """Factor of this rate after every ten passes over the data, down to a tenth of it."""
    steps: int = 6000
    """Steps of the bound."""
    batch_size: int = 100
    """Rows in a step, over all devices."""
    chapter_steps: int = 300
    """Steps between validations."""


SMOKE = {
    "dataset": "digits",
    "num_clusters": None,
    "hidden": (64,),
    "pretraining_steps": 100,
    "restarts": 2,
    "steps": 100,
    "batch_size": 64,
    "chapter_steps": 50,
}


def decaying(peak: float, decay: float, *, epoch_steps: float) -> optax.Schedule:
    """`peak` times `decay` after every ten passes over the data, of `epoch_steps` each, down to a tenth of `peak`.

    Optax's own would take the tenth for a most where `decay` is 1.
    """
    every = max(1, round(10 * epoch_steps))
    return lambda step: peak * jnp.maximum(decay ** (step // every), 0.1)


def build(config: Config) -> Experiment:
    for name in ("latent_size", "restarts", "batch_size"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    for name in ("learning_rate", "pretraining_learning_rate"):
        require(0 < getattr(config, name) < np.inf, name, getattr(config, name), "a positive finite number")
    require(0 < config.decay <= 1, "decay", config.decay, "a factor in (0, 1]")
    data = load(config.dataset)
    if len(data.train.fields["x"].shape) != 2:
        raise UsageError(
            f"--dataset {config.dataset}: expected rows of values, x [N D].\n"
            "Series are clustered by python -m experiments.deep_clustering."
        )
    data = joined(data) if config.joined else data
    if config.likelihood == "bernoulli" and not in_unit_interval(data):
        raise UsageError(
            f"--likelihood bernoulli: {data.name} has values outside [0, 1]. Scale them, or use --likelihood gaussian."
        )
    num_clusters = chosen_clusters(data, config.num_clusters)
    mean = mean_row(data.train)
    model = VAE(len(mean), (config.hidden,), (config.latent_size,), config.activation, config.likelihood)

    @jax.jit
    def start(key):
        centred = jnp.zeros((num_clusters, config.latent_size))
        prior = MixturePrior(jnp.zeros(num_clusters), centred, centred)
        return {"vae": initial(model, key, mean), "prior": prior._asdict()}

    def code_of(params, batch):
        return model.apply(params["vae"], batch["x"], method="encode")

    def reconstruction(params, batch):
        """-log p(x | the posterior's mean), in nats."""
        code = code_of(params, batch)[:, None]
        return -model.apply(params["vae"], batch["x"], code, method="log_likelihood")[:, 0]

    def pretraining_loss(params, batch, key, state):
        return reconstruction(params, batch), train.Aux({})

    def terms(params, batch, key):
        """log p(x | z) and the divergence of z and its component from the prior, for one draw of z, in nats."""
        prior = MixturePrior(**params["prior"])
        epsilon = standard_noise(key, batch["index"], jnp.zeros(1, jnp.int32), model.latent_sizes)
        (z,), (posterior,) = model.apply(params["vae"], batch["x"], epsilon, method="draw")
        log_likelihood = model.apply(params["vae"], batch["x"], z, method="log_likelihood")[:, 0]
        mean, log_stddev = posterior.mean[:, 0], posterior.log_stddev[:, 0]
        return log_likelihood, prior.kl(mean, log_stddev, prior.log_responsibilities(z[:, 0]))

    def loss(params, batch, key, state):
        log_likelihood, kl = terms(params, batch, key)
        bound = bounds.evidence_lower_bound(log_likelihood, kl)
        return -bound, train.Aux({"reconstruction": -log_likelihood, "kl": kl})

    pretraining = train.minimise(pretraining_loss, start, train.optimizer("adam", config.pretraining_learning_rate))
    rate = decaying(config.learning_rate, config.decay, epoch_steps=data.train.num_examples / config.batch_size)
    learner = train.minimise(
        loss, start, train.optimizer("adam", rate, eps=1e-4), extra=lambda params: {"pretrained": params}
    )

    @jax.jit
    def codes_of(params, split):
        return per_example(functools.partial(code_of, params), split)

    def enter(previous, split, key):
        """The components of the mixture that the codes of all rows are likeliest under."""
        codes = np.asarray(codes_of(previous.params, split))
        found = fitted_mixture(codes, num_clusters, seed=seed_of(key), num_starts=config.restarts)
        log_weights, log_stddevs = (np.log(np.maximum(a, LEAST)) for a in (found.weights_, found.covariances_**0.5))
        prior = MixturePrior(*(jnp.asarray(a, jnp.float32) for a in (log_weights, found.means_, log_stddevs)))
        params = previous.params | {"prior": prior._asdict()}
        begun = learner.init(key)
        return begun._replace(params=params, extra=begun.extra | {"pretrained": params})

    phases = (
        Phase("pretrain", pretraining, config.pretraining_steps, config.batch_size, config.chapter_steps),
        Phase("cluster", learner, config.steps, config.batch_size, config.chapter_steps, enter=enter),
    )

    def validate(state, split, key):
        def nats(batch):
            if "pretrained" not in state.extra:
                return reconstruction(state.params, batch)
            return -bounds.evidence_lower_bound(*terms(state.params, batch, key))

        return per_example(nats, split).mean()

    @jax.jit
    def terms_of(params, split, key):
        return per_example(lambda batch: jnp.stack(terms(params, batch, key), axis=1), split)

    def clusters_of(params, codes):
        return np.asarray(MixturePrior(**params["prior"]).log_responsibilities(jnp.asarray(codes)).argmax(axis=1))

    def evaluate(state, data, key):
        found = {}
        for row, params in (("vade", state.params), ("autoencoder_mixture", state.extra["pretrained"])):
            found |= assignment_measures(row, clusters_of(params, codes_of(params, data.test)), data.test)
        log_likelihood, kl = np.asarray(terms_of(state.params, data.test, key), np.float64).mean(axis=0)
        return (
            found
            | {"vade/elbo": float(log_likelihood - kl), "vade/kl": float(kl)}
            | baseline_measures(data, num_clusters, config.latent_size, seed=seed_of(key), num_starts=config.restarts)
        )

    def figures(state, data, key, metrics):
        stages = {"autoencoder and mixture": state.extra["pretrained"], "VaDE": state.params}
        coded = {name: (params, np.asarray(codes_of(params, data.test))) for name, params in stages.items()}
        samples = sample(state.params, key, jnp.repeat(jnp.arange(num_clusters), SHOWN))
        return cluster_figures(
            {name: (codes, clusters_of(params, codes)) for name, (params, codes) in coded.items()}, data.test
        ) | {
            "samples": mosaic(
                np.asarray(samples).reshape(num_clusters, SHOWN, -1),
                rows=[f"component {number}" for number in range(num_clusters)],
            )
        }

    def encode(params, x):
        return code_of(params, whole(Split({"x": x})))

    def assign(params, x):
        return jnp.exp(MixturePrior(**params["prior"]).log_responsibilities(encode(params, x)))

    def decode(params, z):
        return model.apply(params["vae"], z, method="decode")

    @takes(Split({"component": np.arange(num_clusters)}))
    def sample(params, key, component):
        """The mean of the data `[B D]` given latents drawn from those components; row n from a key of its own."""
        index = jnp.arange(component.shape[0])
        (epsilon,) = standard_noise(key, index, jnp.zeros(1, jnp.int32), model.latent_sizes)
        return decode(params, MixturePrior(**params["prior"]).draw(component, epsilon[:, 0]))

    def health(metrics):
        return "collapsed" if collapsed(metrics, "vade", num_clusters=num_clusters) else "ok"

    functions = {"encode": encode, "assign": assign, "decode": decode, "sample": sample}
    return Experiment(data, phases, validate, evaluate, figures, functions, health)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
