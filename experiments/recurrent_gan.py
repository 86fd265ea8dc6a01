"""A recurrent generator makes series that small judges hardly tell from real ones, against a critic as recurrent.

Data: sines (made up), stocks, seasons, or the path of one long series: .csv, .npy or .npz with x [T D]
Time: 5 minutes a seed on sines, half of it for the judges (2 CPU cores)
Run: python -m experiments.recurrent_gan --dataset sines
Expected: on sines a discriminative score of .02 beside .01 of new real series, and a predictive score of .0945, as
    theirs. A judge of 32 units, for which the series of a Gaussian score .20 and real ones .00, gives them .12.

Scores, sizes of the judges and the sines are those of "Time-series generative adversarial networks" (Yoon, Jarrett &
van der Schaar 2019). That paper's generator is trained on all series; this one is not shown those that test the judges.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import adversarial_losses, train
from seqjax.adversarial_losses import gradient_penalty, r1_penalty
from seqjax.data.long_series import NAMES, SUFFIXES, long_series
from seqjax.data.series_windows import Range, window_examples
from seqjax.data.synthetic import sines, synthetic_dataset
from seqjax.errors import DataError, require
from seqjax.evaluate import series_scores
from seqjax.evaluate.critic import separation
from seqjax.evaluate.energy_distance import energy_distance
from seqjax.evaluate.manifolds import density_coverage
from seqjax.evaluate.neighbours import nearest
from seqjax.evaluate.per_row import per_row
from seqjax.evaluate.series_samplers import gaussian_series, noise_about_mean
from seqjax.experiment import main
from seqjax.galleries.generated_series import series_rows, spectra, spread_over_time
from seqjax.models.recurrent_gan import SeriesCritic, SeriesGenerator, series_noise, step_moments
from seqjax.models.sequence import CellName, cell_function
from seqjax.types import Experiment, Phase, Split

VALIDATED = 1000  # series of the validation split, and generated ones
SHOWN = 10  # series in the figure


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "sines"
    """sines, stocks, seasons, or the path of a .csv, .npy or .npz file that holds one series."""
    length: int = 24
    """Steps of a series; of one long series all windows of so many steps are taken."""
    num_series: int = 10_000
    """Sines that are drawn, four fifths of them to train."""
    objective: Literal["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"] = "wasserstein"
    """What the players pay."""
    penalty: Literal["none", "gradient", "r1"] = "gradient"
    """On the critic's gradient: its norm to be 1 between real and generated series, or small at real ones."""
    penalty_weight: float = 1.0
    """Weight of the penalty; images take 10 for gradient, these series 1."""
    clip_weights: float | None = None
    """Keep the critic's weights within this of 0."""
    cell: CellName = "gru"
    """The recurrence of both players: Elman's with tanh, GRU or LSTM."""
    generator_size: int = 48
    """Units of a layer of the generator."""
    critic_size: int = 48
    """Units of a layer of the critic."""
    num_layers: int = 1
    """Layers of each."""
    step_noise: int = 4
    """Inputs of the generator that are drawn anew at each step, standard normal."""
    held_noise: int = 16
    """Inputs of the generator that are drawn once for a series."""
    learning_rate: float = 1e-3
    """Peak learning rate of Adam, of both players."""
    momentum: float = 0.0
    """First-moment decay of Adam."""
    second_momentum: float = 0.9
    """Second-moment decay of Adam: a steep place of the penalty must not slow down a thousand steps after it."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the run."""
    critic_steps: int = 2
    """Updates of the critic in a step, each on series of its own."""
    ema_decay: float | None = 0.999
    """A moving average of the generator with this decay is evaluated."""
    steps: int = 4000
    """Training steps."""
    batch_size: int = 64
    """Series that an update sees, over all devices."""
    chapter_steps: int = 500
    """Steps between validations."""
    discriminative_steps: int = 2000
    """Steps that a judge is trained to tell real series from generated ones."""
    predictive_steps: int = 5000
    """Steps that a judge is trained on generated series to predict."""
    repeats: int = 2
    """Judges of each kind whose scores are averaged."""


SMOKE = {
    "dataset": "sines",
    "length": 12,
    "num_series": 500,
    "steps": 60,
    "chapter_steps": 20,
    "discriminative_steps": 60,
    "predictive_steps": 60,
    "repeats": 1,
}


def build(config: Config) -> Experiment:
    sizes = ("generator_size", "critic_size", "num_layers", "chapter_steps")
    for name in (*sizes, "discriminative_steps", "predictive_steps", "repeats"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    require(config.length >= 2, "length", config.length, "at least 2 steps, of which one predicts the next")
    require(config.num_series >= 20, "num_series", config.num_series, "at least 20")
    require(config.held_noise >= 0, "held_noise", config.held_noise, "0 or more")
    least = 0 if config.held_noise else 1
    require(config.step_noise >= least, "step_noise", config.step_noise, f"{least} or more beside held_noise")
    for name in ("momentum", "second_momentum"):
        require(0 <= getattr(config, name) < 1, name, getattr(config, name), "a number in [0, 1)")
    weighted = config.penalty_weight > 0 if config.penalty != "none" else config.penalty_weight == 0
    require(weighted, "penalty_weight", config.penalty_weight, "a weight above 0 with a penalty, and 0 without")
    clip = config.clip_weights
    require(clip is None or clip > 0, "clip_weights", clip, "a positive number")
    data, scale = series_data(config)
    num_features = data.train.fields["x"].shape[2]
    if num_features < 2:
        raise DataError(f"{data.name} has 1 feature; expected two or more: the last is predicted from the others.")
    objective = getattr(adversarial_losses, config.objective)

    cell = cell_function(config.cell)
    moments = step_moments(data.train.fields["x"])
    generator = SeriesGenerator(cell, config.generator_size, num_features, config.num_layers, output="linear")
    critic = SeriesCritic(cell, config.critic_size, config.num_layers)
    noise_sizes = {"length": config.length, "step_size": config.step_noise, "held_size": config.held_noise}
    some_noise = jnp.zeros((1, 2, config.step_noise + config.held_noise))
    some_series = jnp.zeros((1, 2, 2 * num_features))

    def made(params, key, index):
        """A series for each index."""
        return moments.placed(generator.apply(params, series_noise(key, index, **noise_sizes)))

    def critic_loss(params, batch, key, state, *, axis_name):
        real, fake = map(moments.seen, (batch["x"], made(state.params["generator"], key, batch["index"])))
        real_logits, fake_logits = jnp.split(critic.apply(params, jnp.concatenate([real, fake])), 2)
        terms = {"real": objective.real(real_logits), "fake": objective.fake(fake_logits)}
        cost = terms["real"] + terms["fake"]
        if config.penalty != "none":
            terms["penalty"] = penalty(functools.partial(critic.apply, params), real, fake, batch, key)
            cost = cost + config.penalty_weight * terms["penalty"]
        return cost, train.Aux(terms)

    def penalty(scores, real, fake, batch, key):
        if config.penalty == "r1":
            return r1_penalty(scores, real)
        # not the key of the generator's noise
        return gradient_penalty(scores, real, fake, jax.random.fold_in(key, 1), batch["index"])

    def generator_loss(params, batch, key, state, *, axis_name):
        logits = critic.apply(state.params["critic"], moments.seen(made(params, key, batch["index"])))
        return objective.generator(logits), train.Aux({})

    def optimizer(updates):
        # an optimiser counts its own updates, of which the critic makes several a step
        rate = train.schedule(config.schedule, config.learning_rate, steps=config.steps * updates)
        return train.optimizer("adam", rate, momentum=config.momentum, second_momentum=config.second_momentum)

    def clipped(params):
        return jax.tree.map(lambda weights: jnp.clip(weights, -clip, clip), params)

    learner = train.adversarial(
        {
            "critic": train.Player(
                critic_loss,
                lambda key: critic.init(key, some_series),
                optimizer(config.critic_steps),
                updates=config.critic_steps,
                project=clipped if clip else None,
            ),
            "generator": train.Player(
                generator_loss,
                lambda key: generator.init(key, some_noise),
                optimizer(1),
                ema_decay=config.ema_decay,
            ),
        }
    )
    phase = Phase("train", learner, config.steps, config.batch_size * config.critic_steps, config.chapter_steps)

    def validate(state, split, key):
        x = jnp.asarray(split.fields["x"][:VALIDATED])
        own = made(state.params["generator"], key, jnp.arange(len(x)))
        return energy_distance(own.reshape(len(own), -1), x.reshape(len(x), -1))

    @jax.jit
    def generated(params, key, index):
        return per_row(lambda batch: made(params["generator"], key, batch["x"]), Split({"x": index}))

    logits_of = jax.jit(lambda params, x: critic.apply(params, moments.seen(x)))
    train_x, test_x = (np.asarray(split.fields["x"]) for split in (data.train, data.test))
    count = len(train_x) + len(test_x)  # as many generated series as real ones
    compared = min(VALIDATED, data.validation.num_examples, len(test_x))

    def row(name, series, key):
        scores = series_scores.measures(
            name,
            train_x,
            test_x,
            series,
            key,
            discriminative_steps=config.discriminative_steps,
            predictive_steps=config.predictive_steps,
            repeats=config.repeats,
        )
        some, real = (rows[:compared].reshape(compared, -1) for rows in (series, test_x))
        return scores | {f"{name}/coverage": density_coverage(some, real, k=min(5, compared - 1)).coverage}

    @functools.cache
    def samplers():
        """New series of the data's own source, whose scores are the floor; and what knows no more than moments."""
        return {
            "real": np.asarray(data.validation.fields["x"]),
            "gaussian": gaussian_series(train_x, count, jax.random.key(0)),
            "noise": noise_about_mean(train_x, count, jax.random.key(1)),
        }

    @functools.cache
    def baselines():
        rows = (row(name, series, jax.random.key(2)) for name, series in samplers().items())
        return {measure: value for found in rows for measure, value in found.items()}

    def evaluate(state, data, key):
        series = np.asarray(generated(state.params, key, jnp.arange(count)))
        found = row("gan", series, key)
        logits = [np.asarray(logits_of(state.params["critic"], x)) for x in (test_x, series[: len(test_x)])]
        return found | {"gan/critic_separation": separation(*logits)} | baselines()

    def figures(state, data, key, metrics):
        series = np.asarray(generated(state.params, key, jnp.arange(count)))
        some = series[:SHOWN]
        rows = train_x.reshape(len(train_x), -1)
        copied = nearest(some.reshape(len(some), -1), rows).rows[:, 0]
        panels = {"noise": samplers()["noise"], "gaussian": samplers()["gaussian"], "generated": series, "real": test_x}
        return {
            "samples": series_rows(
                {
                    "noise": panels["noise"][:SHOWN],
                    "gaussian": panels["gaussian"][:SHOWN],
                    "generated": some,
                    "nearest to it\nin training": train_x[copied],
                    "real": test_x[:SHOWN],
                }
            ),
            "spread_over_time": spread_over_time({name: panels[name] for name in ("generated", "real")}),
            "spectra": spectra(panels),
        }

    low, high = (jnp.asarray(bound, jnp.float32)[None, None] for bound in scale)

    def generate(params, key, index):
        """Series number `index` [N] of those that the key draws, [N T D] in the units of the data."""
        return low + generated(params, key, index) * (high - low)

    return Experiment(data, (phase,), validate, evaluate, figures, {"generate": generate}, health)


def series_data(config):
    """The series from 0 to 1, and the range of the data they were scaled from."""
    if config.dataset != "sines":
        names = ("sines", *NAMES)
        if config.dataset not in names and Path(config.dataset).suffix.lower() not in SUFFIXES:
            expected = f"{', '.join(names)}, or the path of a {', '.join(SUFFIXES)} file"
            raise DataError(f"'{config.dataset}': expected {expected}.")
        return window_examples(long_series(config.dataset), config.length)
    num_train = config.num_series * 4 // 5
    data = synthetic_dataset(
        f"sines_{config.length}",
        functools.partial(sines, length=config.length),
        train_size=num_train,
        validation_size=config.num_series,
        test_size=config.num_series - num_train,
    )
    num_features = data.train.fields["x"].shape[2]
    return data, Range(np.zeros(num_features), np.ones(num_features))


def health(metrics):
    """Collapsed: on some seed, covers less than a quarter of what as many real series do. Saturated: a critic that is
    always right."""
    if min(metrics["gan/coverage"]["per_seed"]) < 0.25 * metrics["real/coverage"]["mean"]:
        return "collapsed"
    return "saturated" if max(metrics["gan/critic_separation"]["per_seed"]) > 0.999 else "ok"


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
