"""How many units a model of series needs, by cross-validation: the smallest that is not clearly worse than the best.

Data: events (made up), japanese_vowels and other sets of series, or a path to a folder with NAME_TRAIN.ts and
    NAME_TEST.ts, a .ts or a .npz
Time: 2.5 minutes a seed for the five sizes of its row on japanese_vowels (1 CPU core)
Run: python -m experiments.hidden_size --dataset japanese_vowels --sizes 4 8 16 32 --folds 5
Expected: on japanese_vowels an error that falls up to 32 units and no further; 32 are the best and, since 16 are more
    than a standard error behind, the chosen ones too; their test error is .047, against .077 of the last value.

Each candidate is trained without each fold, and once on all of them for the test split, which chooses nothing. Any
other number of the model or of its training is chosen alike, `--field learning_rate --candidates 1e-3 3e-3 1e-2`: all
but the frame, which changes what is asked. Learning rates and weights of losses are traced, so that all candidates and
folds are one compiled program. Errors are of single values, in variances of the channel in the training split, whose
folds share that scale.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import train
from seqjax.data.batches import first_example
from seqjax.data.folds import fold_numbers, kept_weights
from seqjax.data.load import load
from seqjax.data.unlabelled import rows_or_series, values_a_row
from seqjax.data.whole_series import in_frames, require_next_steps, whole_series
from seqjax.errors import UsageError, require
from seqjax.evaluate.cross_validation import Rule, candidate_name, curve, curve_measures, fold_errors
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.series_reconstruction import prediction_baselines, told_baselines
from seqjax.experiment import main
from seqjax.galleries.cross_validation import error_curve
from seqjax.models import sequence_encoders
from seqjax.models.sequence import CellName, cell_function
from seqjax.types import Experiment, Phase

CHUNK = 64  # series that are validated together
SIZES = ("hidden_size", "num_layers", "latent_size")
WHOLE = (*SIZES, "horizon", "steps", "batch_size")
TRACED = ("learning_rate", "beta", "future_weight")
FOLDS = 0xF01D  # folded into a seed's key for its folds


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "events"
    """Name of a set of series, or path to a folder of .ts files, a .ts or a .npz."""
    sizes: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Hidden sizes to choose from, the smallest first."""
    field: Literal[
        "hidden_size",
        "num_layers",
        "latent_size",
        "horizon",
        "steps",
        "batch_size",
        "clip_norm",
        "learning_rate",
        "beta",
        "future_weight",
    ] = "hidden_size"
    """What is chosen: a number of the model or of its training."""
    candidates: tuple[float, ...] | None = None
    """Values of another field than the hidden size to choose from, in order from the simplest."""
    folds: int = 5
    """Parts of the training split that are left out in turn, with equally many series of each class."""
    rule: Rule = "one_standard_error"
    """Choose the first candidate within one standard error of the best, or the best."""
    model: Literal["next_step", "recurrent_autoencoder", "sequence_vae"] = "next_step"
    """What is trained: to say each step from those before, or to tell the series from a code."""
    frame: int | None = None
    """Steps that are read at once, as one. Default: so many that the longest series has 32 of them at most."""
    cell: CellName = "gru"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 32
    """Units of a layer, where another field is chosen."""
    num_layers: int = 1
    """Layers of each recurrence."""
    latent_size: int = 16
    """Units of the code, where there is one."""
    beta: float = 1.0
    """Weight of the KL divergence of sequence_vae."""
    horizon: int = 0
    """Last steps that recurrent_autoencoder predicts beside."""
    future_weight: float = 1.0
    """Weight of that prediction's error in training; errors reported are those of what is told again."""
    learning_rate: float = 1e-2
    """Peak learning rate of Adam, down to zero by half a cosine."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 500
    """Training steps, of each candidate and fold."""
    batch_size: int = 32
    """Series in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between looks at the folds' errors, which decide nothing in training."""


SMOKE = {
    "dataset": "events",
    "sizes": (2, 12),
    "candidates": None,
    "field": "hidden_size",
    "folds": 3,
    "frame": 8,
    "steps": 80,
    "chapter_steps": 40,
}


def build(config: Config) -> Experiment:
    candidates = chosen_from(config)
    original = whole_series(load(config.dataset, validation_size=0))
    standardised, _ = rows_or_series(original)
    data, frame = in_frames(standardised, config.frame)
    # the folds are what is looked at between chapters
    data = data._replace(validation=data.train)
    count, folds, labels = data.train.num_examples, config.folds, data.train.fields.get("label")
    require(2 <= folds <= count, "folds", folds, f"2 to {count}, the training series of {data.name}")
    predicts = config.model == "next_step"
    if predicts:
        require_next_steps(data)
    mean_values = values_a_row(data.train)
    first = first_example(data.train)

    def folds_of(key):
        """Of a seed, the same for all candidates."""
        return fold_numbers(jax.random.fold_in(key, FOLDS), count, num_folds=folds, labels=labels)

    def of_candidate(value):
        """The configuration with this value, unless it is traced."""
        return config if config.field in TRACED else dataclasses.replace(config, **{config.field: value})

    def encoder_of(own, **weights):
        """A candidate's model; weights of the loss are given, traced, in training alone."""
        cell, layers = cell_function(own.cell), {"num_layers": own.num_layers}
        match own.model:
            case "next_step":
                return sequence_encoders.next_step(cell, own.hidden_size, **layers)
            case "recurrent_autoencoder":
                weights = {"future_weight": weights.get("future_weight", 1.0), "horizon": own.horizon}
                make = sequence_encoders.recurrent_autoencoder
            case "sequence_vae":
                weights = {"beta": weights.get("beta", 1.0)}
                make = sequence_encoders.sequence_vae
        return make(cell, own.hidden_size, own.latent_size, **layers, **weights)

    def learner_of(own, values):
        """A point for each candidate and each fold that is left out, and one for each that leaves out none."""
        start = {name: jnp.float32(getattr(config, name)) for name in TRACED} | {"left_out": jnp.int32(folds)}

        def loss(params, batch, key, state):
            hyper = state.extra["hyper"]
            encoder = encoder_of(own, beta=hyper["beta"], future_weight=hyper["future_weight"])
            errors, terms = encoder.loss(params, batch, key)
            weights = kept_weights(folds_of(state.key) != hyper["left_out"], batch["index"]) / mean_values
            return weights * errors, train.Aux({name: weights * term for name, term in terms.items()})

        schedule = train.schedule("cosine", 1.0, steps=own.steps)
        one = train.minimise(
            loss,
            lambda key: encoder_of(own).init(key, first),
            train.scaled_by_hyper(train.optimizer("adam", schedule, clip_norm=own.clip_norm)),
            extra=lambda params: {"hyper": start},
        )
        points = [(value, fold) for value in values for fold in range(folds + 1)]
        hyper = {"left_out": np.asarray([fold for _, fold in points])}
        if config.field in TRACED:
            hyper[config.field] = np.asarray([value for value, _ in points])
        return train.grid(one, hyper)

    # candidates of different shapes train in turn, all others together
    groups = [candidates] if config.field in TRACED else [(value,) for value in candidates]
    groups = {candidate_name(config.field, values[0]): values for values in groups}
    configs = {name: of_candidate(values[0]) for name, values in groups.items()}
    turns = train.in_turn({name: learner_of(configs[name], values) for name, values in groups.items()})
    phases = tuple(
        Phase(name, turns[name].learner, own.steps, own.batch_size, own.chapter_steps, enter=turns[name].enter)
        for name, own in configs.items()
    )

    def errors_of(name, params, split):
        """Squared error of each series under each point of a group `[G N]`, and the number of its values `[N]`."""
        encoder = encoder_of(configs[name])
        errors = sequence_encoders.predicted_errors if predicts else sequence_encoders.told_errors

        def of_point(own):
            return per_example(functools.partial(errors, encoder, own), split, chunk=CHUNK)

        found, values = jax.lax.map(of_point, params)
        return found, values[0]

    def validate(state, split, key):
        """Mean error of the folds that are left out, over the candidates that are trained."""
        (name,) = set(groups) - set(state.extra["others"])
        errors, values = errors_of(name, state.params, split)
        left_out = folds_of(state.key)[None, :] == state.extra["points"]["hyper"]["left_out"][:, None]
        return jnp.where(left_out, errors, 0).sum() / (left_out * values[None, :]).sum()

    errors_on = jax.jit(errors_of, static_argnums=0)

    def by_candidate(name, params, split):
        """Errors `[C K+1 N]` and numbers of values `[N]`."""
        errors, values = map(np.asarray, errors_on(name, params, split))
        return errors.reshape(len(groups[name]), folds + 1, -1).astype(np.float64), values

    def measured(state, data):
        """The curve, and the test error of each candidate trained on all folds."""
        numbers, by_fold, test_errors = np.asarray(folds_of(state.key)), [], []
        for name in groups:
            params = train.learned_by(state, name)
            errors, values = by_candidate(name, params, data.train)
            by_fold += [fold_errors(own[:folds], values, numbers) for own in errors]
            errors, values = by_candidate(name, params, data.test)
            test_errors += [float(own[folds].sum() / values.sum()) for own in errors]
        return curve(np.stack(by_fold), rule=config.rule), test_errors

    @functools.cache
    def baselines(latent_size):
        if predicts:
            return prediction_baselines(standardised.test, frame)
        return told_baselines(standardised.train, standardised.test, latent_size)

    def baselines_of(found):
        return baselines(of_candidate(candidates[found.chosen]).latent_size)

    def evaluate(state, data, key):
        found, test_errors = measured(state, data)
        beside = {f"{row}/test_error": error for row, error in baselines_of(found).items()}
        return curve_measures(config.field, candidates, found, test_errors) | beside

    def figures(state, data, key, metrics):
        found, test_errors = measured(state, data)
        return {"error_curve": error_curve(config.field, candidates, found, test_errors, baselines_of(found))}

    return Experiment(data, phases, validate, evaluate, figures)


def chosen_from(config):
    """The values of the field, in order from the simplest. Raises UsageError for what cannot be chosen."""
    field, own = config.field, config.candidates
    if field == "hidden_size":
        require(own is None, "candidates", own, "none beside --sizes, which are the hidden sizes to choose from")
        own = config.sizes
    else:
        require(own is not None, "candidates", own, f"values of {field} to choose from")
    models = {"latent_size": ("recurrent_autoencoder", "sequence_vae"), "beta": ("sequence_vae",)}
    models["horizon"] = models["future_weight"] = ("recurrent_autoencoder",)
    if config.model not in models.get(field, (config.model,)):
        raise UsageError(f"field={field}: {config.model} has none; expected --model {' or '.join(models[field])}.")
    require(field != "future_weight" or config.horizon >= 1, "horizon", config.horizon, "1 or more, to be weighted")
    require(len(own) >= 2 and len(set(own)) == len(own), field, own, "two or more different candidates")
    if field in WHOLE:
        least = 0 if field == "horizon" else 1
        fits = all(value >= least and value == int(value) for value in own) and list(own) == sorted(own)
        require(fits, field, own, f"whole numbers from {least} on, the smallest first")
        return tuple(map(int, own))
    may_vanish = field in ("beta", "future_weight")
    require(min(own) > 0 or (may_vanish and min(own) == 0), field, own, "positive numbers")
    return own


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
