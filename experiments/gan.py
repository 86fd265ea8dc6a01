"""Multi-layer perceptrons generate digits, by whichever loss the two players are given, and their collapse is seen.

Data: digits (embedded), mnist, fashion_mnist, any prepared TFDS name of square images with labels, or a path to .npz
Time: 15 s a seed on digits, 6 minutes for the command below (2 CPU cores)
Run: python -m experiments.gan --dataset mnist --latent-size 100 --steps 20000
Expected: nearer to the data than a Gaussian with the same covariance, on the features of a classifier trained here.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import adversarial_losses, train
from seqjax.adversarial_losses import gradient_penalty, packed, r1_penalty
from seqjax.data.batches import intensities
from seqjax.data.load import load
from seqjax.errors import UsageError, require
from seqjax.evaluate import neighbours
from seqjax.evaluate.critic import separation
from seqjax.evaluate.energy_distance import energy_distance
from seqjax.evaluate.image_samples import check_measurable, image_judge, trivial_samples
from seqjax.evaluate.reconstruction import in_unit_interval, values_of
from seqjax.experiment import main
from seqjax.models.gan import (
    Critic,
    Generator,
    initial_parameters,
    initial_statistics,
    latent_vectors,
    outputs_and_statistics,
)
from seqjax.plots import reconstructions
from seqjax.types import Experiment, Phase

VALIDATED = 1000  # rows of the validation split
SNAPSHOT = 12  # images that are kept of every chapter


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    """Name of a data set, or path to a file."""
    objective: Literal["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"] = "non_saturating"
    """What the players pay."""
    penalty: Literal["none", "gradient", "r1"] = "none"
    """On the critic's gradient: its norm to be 1 between real and generated rows, or small at real ones."""
    penalty_weight: float = 0.0
    """Weight of the penalty: usually 10 for gradient, about 1 for r1."""
    clip_weights: float | None = None
    """Keep the critic's weights within this of 0."""
    spectral_norm: bool = False
    """Divide the critic's matrices by their largest singular values."""
    batch_norm: bool = False
    """Batch normalisation of the generator's hidden layers."""
    packing: int = 1
    """Samples that the critic sees side by side."""
    condition: Literal["none", "concat", "projection"] = "none"
    """Tell both players the class; the critic by further inputs or by an inner product."""
    latent_size: int = 32
    """Size of the generator's input, standard normal."""
    generator_hidden: tuple[int, ...] = (128,)
    """Sizes of the generator's hidden layers, ReLU."""
    critic_hidden: tuple[int, ...] = (128,)
    """Sizes of the critic's hidden layers, leaky ReLU."""
    learning_rate: float = 1e-3
    """Peak learning rate of Adam, of both players."""
    momentum: float = 0.5
    """First-moment decay of Adam."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the run."""
    critic_steps: int = 1
    """Updates of the critic in a step, each on images of its own."""
    ema_decay: float | None = 0.999
    """A moving average of the generator with this decay is evaluated."""
    steps: int = 8000
    """Training steps."""
    batch_size: int = 64
    """Images that an update sees, over all devices."""
    chapter_steps: int = 1000
    """Steps between validations."""
    validation_size: int | None = None
    """Rows of the training split kept for validation. Default: the data set's own choice."""


SMOKE = {"dataset": "digits", "validation_size": None, "steps": 60, "chapter_steps": 20}


def build(config: Config) -> Experiment:
    require(config.latent_size >= 1, "latent_size", config.latent_size, "at least 1")
    require(config.chapter_steps >= 1, "chapter_steps", config.chapter_steps, "at least 1")
    require(config.packing >= 1, "packing", config.packing, "at least 1")
    require(config.batch_size % config.packing == 0, "batch_size", config.batch_size, f"packs of {config.packing}")
    weighted = config.penalty_weight > 0 if config.penalty != "none" else config.penalty_weight == 0
    require(weighted, "penalty_weight", config.penalty_weight, "a weight above 0 with a penalty, and 0 without")
    clip = config.clip_weights
    require(clip is None or clip > 0, "clip_weights", clip, "a positive number")
    both = config.batch_norm and config.ema_decay is not None
    require(not both, "ema_decay", config.ema_decay, "None with batch_norm, whose averages belong to the last weights")
    conditional = config.condition != "none"
    require(config.packing == 1 or not conditional, "packing", config.packing, "1 with a condition")
    data = load(config.dataset, validation_size=config.validation_size)
    if not in_unit_interval(data):
        raise UsageError(f"{data.name}: has values outside [0, 1], which sigmoid cannot meet.\nScale the data.")
    check_measurable(data)
    num_values = int(np.prod(data.train.fields["x"].shape[1:]))
    num_classes = 1 + max(int(s.fields["label"].max(initial=0)) for s in (data.train, data.validation, data.test))
    objective = getattr(adversarial_losses, config.objective)

    told = num_classes if conditional else 0
    sizes = (*config.generator_hidden, num_values)
    generator = Generator(sizes, output="sigmoid", batch_norm=config.batch_norm, num_classes=told)
    critic = Critic(
        config.critic_hidden,
        spectral_norm=config.spectral_norm,
        num_classes=told,
        conditioning="concat" if config.condition == "concat" else "projection",
    )
    some_latents, some_packs = jnp.zeros((1, config.latent_size)), jnp.zeros((1, config.packing * num_values))
    some_label = jnp.zeros(1, jnp.int32)

    def real_packs(batch):
        return packed(batch["x"].reshape(len(batch["x"]), -1), config.packing)

    def fakes(params, batch, key, state, axis_name):
        """A generated image for each real one, of its class if there is a condition."""
        z = latent_vectors(key, batch["index"], config.latent_size)
        inputs = (generator, params, state.extra["generator"], z, batch["label"])
        return outputs_and_statistics(*inputs, axis_name=axis_name)

    def critic_loss(params, batch, key, state, *, axis_name):
        real = real_packs(batch)
        fake = packed(fakes(state.params["generator"], batch, key, state, axis_name)[0], config.packing)
        label = batch["label"][:: config.packing]
        logits, statistics = outputs_and_statistics(
            critic, params, state.extra["critic"], jnp.concatenate([real, fake]), jnp.concatenate([label, label])
        )
        real_logits, fake_logits = jnp.split(logits, 2)
        terms = {"real": objective.real(real_logits), "fake": objective.fake(fake_logits)}
        cost = terms["real"] + terms["fake"]
        if config.penalty != "none":
            logits_of = functools.partial(critic.apply, {**params, **statistics})
            terms["penalty"] = penalty(logits_of, real, fake, batch, key)
            cost = cost + config.penalty_weight * terms["penalty"]
        return cost, train.Aux(terms, {"critic": statistics})

    def penalty(logits_of, real, fake, batch, key):
        label, index = (batch[name][:: config.packing] for name in ("label", "index"))
        if config.penalty == "r1":
            return r1_penalty(lambda x: logits_of(x, label), real)
        # not the key of the latent vectors
        return gradient_penalty(lambda x: logits_of(x, label), real, fake, jax.random.fold_in(key, 1), index)

    def generator_loss(params, batch, key, state, *, axis_name):
        fake, statistics = fakes(params, batch, key, state, axis_name)
        variables = {**state.params["critic"], **state.extra["critic"]}
        logits = critic.apply(variables, packed(fake, config.packing), batch["label"][:: config.packing])
        return objective.generator(logits), train.Aux({}, {"generator": statistics})

    def optimizer(updates):
        # an optimiser counts its own updates, of which the critic may make several a step
        rate = train.schedule(config.schedule, config.learning_rate, steps=config.steps * updates)
        return train.optimizer("adam", rate, momentum=config.momentum)

    def clipped(params):
        return jax.tree.map(lambda weights: jnp.clip(weights, -clip, clip), params)

    learner = train.adversarial(
        {
            "critic": train.Player(
                critic_loss,
                lambda key: initial_parameters(critic, key, some_packs, some_label),
                optimizer(config.critic_steps),
                updates=config.critic_steps,
                project=clipped if clip else None,
            ),
            "generator": train.Player(
                generator_loss,
                lambda key: initial_parameters(generator, key, some_latents, some_label),
                optimizer(1),
                ema_decay=config.ema_decay,
            ),
        },
        extra=lambda params: {
            "generator": initial_statistics(generator, some_latents, some_label),
            "critic": initial_statistics(critic, some_packs, some_label),
            "snapshots": jnp.zeros((config.steps // config.chapter_steps, SNAPSHOT, num_values)),
        },
    )

    def generated(params, extra, key, label):
        """An image for each label (which only a generator with a condition looks at), of the state `extra` is from."""
        z = latent_vectors(key, jnp.arange(label.shape[0]), config.latent_size)
        return generator.apply({**params["generator"], **extra["generator"]}, z, label)

    @jax.jit
    def with_snapshot(state, split):
        labels = jnp.arange(SNAPSHOT) % num_classes
        rows = generated(train.averaged(state).params, state.extra, jax.random.key(0), labels)
        place = state.step // config.chapter_steps - 1
        return state._replace(extra=state.extra | {"snapshots": state.extra["snapshots"].at[place].set(rows)})

    phase = Phase(
        "train",
        learner,
        config.steps,
        config.batch_size * config.critic_steps,
        config.chapter_steps,
        refresh=with_snapshot,
    )

    def validate(state, split, key):
        shown = jax.tree.map(lambda field: field[:VALIDATED], split)
        x = intensities(shown.fields["x"]).reshape(shown.num_examples, -1)
        return energy_distance(generated(state.params, state.extra, key, shown.fields["label"]), x)

    judge = functools.cache(lambda: image_judge(data))

    @functools.cache
    def baselines():
        rows = trivial_samples(data, len(judge().reference), jax.random.key(0))
        return {k: v for row, images in rows.items() for k, v in judge().measures(row, images).items()}

    def critic_logits(state, images, label):
        packs = packed(jnp.asarray(images)[: len(images) // config.packing * config.packing], config.packing)
        variables = {**state.params["critic"], **state.extra["critic"]}
        return np.asarray(critic.apply(variables, packs, label[: len(packs)]))

    def evaluate(state, data, key):
        label = jnp.asarray(data.test.fields["label"])
        images = generated(state.params, state.extra, key, label)
        found = judge().measures("gan", np.asarray(images)[: len(judge().reference)])
        real = values_of(data.test).astype(np.float32)
        found["gan/critic_separation"] = separation(
            critic_logits(state, real, label), critic_logits(state, images, label)
        )
        if conditional:
            found["gan/as_asked"] = float((judge().classes(np.asarray(images)) == np.asarray(label)).mean())
        return found | baselines()

    def figures(state, data, key, metrics):
        label = jnp.arange(5 * SNAPSHOT * num_classes) % num_classes
        images = np.asarray(generated(state.params, state.extra, key, label))
        # a class that is made seldom, or never, leaves its row white
        seen = np.asarray(label) if conditional else judge().classes(images)
        by_class = {f"{'asked for' if conditional else 'seen as'} {c}": images[seen == c] for c in range(num_classes)}
        rows = {
            name: np.pad(row[:SNAPSHOT], ((0, max(0, SNAPSHOT - len(row))), (0, 0))) for name, row in by_class.items()
        }
        train_rows = values_of(data.train)
        snapshots = np.asarray(state.extra["snapshots"])
        moments = np.unique(np.linspace(0, len(snapshots) - 1, 8).round().astype(int)) if len(snapshots) else []
        some = images[:SNAPSHOT]
        found = {
            "samples": reconstructions(rows),
            "nearest_training_images": reconstructions(
                {"generated": some, "nearest": train_rows[neighbours.nearest(some, train_rows).rows[:, 0]]}
            ),
        }
        if len(moments):
            over_time = {f"step {(i + 1) * config.chapter_steps:,}": snapshots[i] for i in moments}
            found["samples_over_time"] = reconstructions(over_time)
        return found

    def instruments():
        return {"feature_network": judge().network.sha256}

    return Experiment(data, (phase,), validate, evaluate, figures, {"generate": generated}, health, instruments)


def health(metrics):
    """Collapsed: on some seed, covers less than a quarter of what as many real images do. Saturated: a critic that is
    always right."""
    if min(metrics["gan/coverage"]["per_seed"]) < 0.25 * metrics["real/coverage"]["mean"]:
        return "collapsed"
    return "saturated" if max(metrics["gan/critic_separation"]["per_seed"]) > 0.999 else "ok"


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
