"""Generators on mixtures of Gaussians, where the modes they cover can be counted, and those they drop.

Data: ring (8 modes) or grid (25), made up: 100,000 training samples, or fresh ones at every step
Time: 25 s a seed with the small nets (2 CPU cores)
Run: python -m experiments.gan_mixture --dataset ring --seeds 10
Expected: on the ring at least 7.5 of 8 modes, 90 % of samples within 3 sd of one, reverse KL at most .1 nats.

The protocol of "PacGAN" (Lin, Khetan, Fanti & Oh 2018) and of the code published with it, packing by 2:

    --generator-hidden 400 400 400 400 --batch-norm --critic-hidden 200 200 200 --pieces 5 --weight-stddev .02
    --packing 2 --batch-size 200 --simultaneous --momentum .8 --learning-rate 1e-4 --schedule constant --ema-decay None
    --steps 400000

Both players move at the same time there, on the same noise; batch statistics are taken over 100 samples, those at one
place of all packs. Packs are formed anew in every epoch here; there they are drawn once.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seqjax import adversarial_losses, train
from seqjax.adversarial_losses import packed
from seqjax.data.load import load
from seqjax.data.mixtures import MIXTURES, mixture_task
from seqjax.data.synthetic import drawn, fresh_batch_at
from seqjax.errors import require
from seqjax.evaluate.critic import separation
from seqjax.evaluate.feature_distances import sliced_wasserstein_distance
from seqjax.evaluate.mixture_coverage import measures, mixture_coverage
from seqjax.experiment import main
from seqjax.models.gan import (
    Critic,
    Generator,
    initial_parameters,
    initial_statistics,
    latent_vectors,
    outputs_and_statistics,
)
from seqjax.plots import samples_over_time
from seqjax.types import Experiment, Phase

SNAPSHOT = 500  # samples that are kept of every chapter
PANELS = 8


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: Literal["ring", "grid"] = "ring"
    """Eight modes on a circle, or 25 on a grid."""
    fresh: bool = False
    """Draw new training samples at every step instead of 100,000 once."""
    objective: Literal["minimax", "non_saturating", "least_squares", "hinge"] = "non_saturating"
    """What the players pay."""
    latent_size: int = 2
    """Size of the generator's input, standard normal."""
    generator_hidden: tuple[int, ...] = (128, 128)
    """Sizes of the generator's hidden layers, ReLU."""
    batch_norm: bool = False
    """Batch normalisation of the generator's hidden layers."""
    critic_hidden: tuple[int, ...] = (128, 128)
    """Sizes of the critic's hidden layers, ReLU or maxout."""
    pieces: int = 1
    """Linear pieces of a maxout unit of the critic; 1 for ReLU."""
    weight_stddev: float | None = None
    """Standard deviation of the initial weights. Default: that of LeCun's scheme for each layer."""
    packing: int = 1
    """Samples that the critic sees side by side."""
    simultaneous: bool = False
    """Both players move from the same state, on the same noise, instead of in turns."""
    learning_rate: float = 1e-3
    """Peak learning rate of Adam, of both players."""
    momentum: float = 0.5
    """First-moment decay of Adam."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the run."""
    ema_decay: float | None = 0.999
    """A moving average of the generator with this decay is evaluated."""
    steps: int = 8000
    """Training steps."""
    batch_size: int = 256
    """Samples in a step, over all devices."""
    chapter_steps: int = 1000
    """Steps between validations."""
    num_samples: int = 2500
    """Samples that are counted."""


SMOKE = {"steps": 60, "chapter_steps": 20, "batch_size": 64, "num_samples": 500}


def build(config: Config) -> Experiment:
    require(config.latent_size >= 1, "latent_size", config.latent_size, "at least 1")
    require(config.num_samples >= 1, "num_samples", config.num_samples, "at least 1")
    require(config.chapter_steps >= 1, "chapter_steps", config.chapter_steps, "at least 1")
    require(config.packing >= 1, "packing", config.packing, "at least 1")
    require(config.batch_size % config.packing == 0, "batch_size", config.batch_size, f"packs of {config.packing}")
    both = config.batch_norm and config.ema_decay is not None
    require(not both, "ema_decay", config.ema_decay, "None with batch_norm, whose averages belong to the last weights")
    data = load(config.dataset)
    means, stddev = MIXTURES[config.dataset]
    objective = getattr(adversarial_losses, config.objective)

    scheme = nn.initializers.lecun_normal()
    if config.weight_stddev is not None:
        require(config.weight_stddev > 0, "weight_stddev", config.weight_stddev, "a positive number")
        scheme = nn.initializers.normal(config.weight_stddev)
    sizes = (*config.generator_hidden, means.shape[1])
    generator = Generator(sizes, batch_norm=config.batch_norm, kernel_init=scheme)
    critic = Critic(config.critic_hidden, "relu", config.pieces, kernel_init=scheme)
    some_latents, some_packs = jnp.zeros((1, config.latent_size)), jnp.zeros((1, config.packing * means.shape[1]))

    def fakes(params, batch, key, state, axis_name):
        """A sample for each row of the batch. Batch statistics are taken over one place of all packs at a time."""
        z = latent_vectors(key, batch["index"], config.latent_size).reshape(-1, config.packing, config.latent_size)

        def at_one_place(z):
            return outputs_and_statistics(generator, params, state.extra["generator"], z, axis_name=axis_name)

        rows, statistics = jax.vmap(at_one_place, in_axes=1, out_axes=(1, 0))(z)
        return rows.reshape(-1, means.shape[1]), jax.tree.map(lambda places: places.mean(axis=0), statistics)

    def critic_loss(params, batch, key, state, *, axis_name):
        fake, _ = fakes(state.params["generator"], batch, key, state, axis_name)
        real, fake = packed(batch["x"], config.packing), packed(fake, config.packing)
        real_logits, fake_logits = jnp.split(critic.apply(params, jnp.concatenate([real, fake])), 2)
        terms = {"real": objective.real(real_logits), "fake": objective.fake(fake_logits)}
        return terms["real"] + terms["fake"], train.Aux(terms)

    def generator_loss(params, batch, key, state, *, axis_name):
        fake, statistics = fakes(params, batch, key, state, axis_name)
        logits = critic.apply(state.params["critic"], packed(fake, config.packing))
        return objective.generator(logits), train.Aux({}, {"generator": statistics})

    rate = train.schedule(config.schedule, config.learning_rate, steps=config.steps)
    optimizer = train.optimizer("adam", rate, momentum=config.momentum)
    learner = train.adversarial(
        {
            "critic": train.Player(critic_loss, lambda key: initial_parameters(critic, key, some_packs), optimizer),
            "generator": train.Player(
                generator_loss,
                lambda key: initial_parameters(generator, key, some_latents),
                optimizer,
                ema_decay=config.ema_decay,
            ),
        },
        simultaneous=config.simultaneous,
        extra=lambda params: {
            "generator": initial_statistics(generator, some_latents),
            "snapshots": jnp.zeros((config.steps // config.chapter_steps, SNAPSHOT, means.shape[1])),
        },
    )

    def generate(params, extra, key, index):
        """Sample number `index` [N] of those that the key draws, [N 2], of the state that `extra` is from too."""
        z = latent_vectors(key, index, config.latent_size)
        return generator.apply({**params["generator"], **extra["generator"]}, z)

    def generated(params, extra, key, count):
        return generate(params, extra, key, jnp.arange(count))

    @jax.jit
    def with_snapshot(state, split):
        rows = generated(train.averaged(state).params, state.extra, jax.random.key(0), SNAPSHOT)
        place = state.step // config.chapter_steps - 1
        return state._replace(extra=state.extra | {"snapshots": state.extra["snapshots"].at[place].set(rows)})

    phase = Phase(
        "train",
        learner,
        config.steps,
        config.batch_size,
        config.chapter_steps,
        refresh=with_snapshot,
        batch_at=fresh_batch_at(mixture_task(config.dataset)) if config.fresh else None,
    )

    def coverage(samples):
        return mixture_coverage(samples, jnp.asarray(means), stddev=stddev)

    def validate(state, split, key):
        found = coverage(generated(state.params, state.extra, key, split.num_examples))
        return found.reverse_kl + 1 - found.high_quality

    def row(name, samples, data, key):
        distance = sliced_wasserstein_distance(np.asarray(samples), data.test.fields["x"], jax.random.fold_in(key, 1))
        return measures(name, coverage(jnp.asarray(samples))) | {f"{name}/sliced_wasserstein": distance}

    def evaluate(state, data, key):
        samples = generated(state.params, state.extra, key, config.num_samples)
        num_packs = len(samples) // config.packing * config.packing
        fake_logits = critic.apply(state.params["critic"], packed(samples[:num_packs], config.packing))
        real = data.test.fields["x"][: data.test.num_examples // config.packing * config.packing]
        real_logits = critic.apply(state.params["critic"], packed(jnp.asarray(real), config.packing))
        found = row("gan", samples, data, key)
        found["gan/critic_separation"] = separation(np.asarray(real_logits), np.asarray(fake_logits))
        for name, others in trivial_samplers(data, key, config.dataset, config.num_samples).items():
            found |= row(name, others, data, key)
        return found

    def figures(state, data, key, metrics):
        snapshots = np.asarray(state.extra["snapshots"])
        shown = np.unique(np.linspace(0, len(snapshots) - 1, PANELS).round().astype(int)) if len(snapshots) else []
        panels = {f"step {(i + 1) * config.chapter_steps:,}": snapshots[i] for i in shown}
        panels["at the end"] = np.asarray(generated(state.params, state.extra, key, config.num_samples))
        panels["data"] = data.test.fields["x"]
        return {"samples_over_time": samples_over_time(panels, means, stddev=stddev)}

    return Experiment(data, (phase,), validate, evaluate, figures, {"generate": generate}, health)


def trivial_samplers(data, key, name, count):
    """The mixture itself; a Gaussian with the data's moments, which drops nothing; one mode alone, all of quality."""
    means, stddev = MIXTURES[name]
    x = data.train.fields["x"].astype(np.float64)
    noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 2), (count, means.shape[1])))
    return {
        "true_sampler": drawn(mixture_task(name), jax.random.fold_in(key, 3), count).fields["x"],
        "gaussian": (x.mean(axis=0) + noise @ np.linalg.cholesky(np.cov(x.T)).T).astype(np.float32),
        "one_mode": means[:1] + stddev * noise,
    }


def health(metrics):
    """Collapsed: on some seed, the entropy of the modes is that of fewer than half of them. Saturated: a critic that is
    always right."""
    if max(metrics["gan/reverse_kl"]["per_seed"]) > np.log(2) or min(metrics["gan/modes"]["per_seed"]) < 1:
        return "collapsed"
    return "saturated" if max(metrics["gan/critic_separation"]["per_seed"]) > 0.99 else "ok"


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
