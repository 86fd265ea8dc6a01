"""An autoencoder and a recurrence on the same series, and what becomes of both together (Srivastava et al. 2015).

The autoencoder reads a padded series as one row and tells it again from a code. The recurrence says each step from
those before. The recurrent autoencoder does both: from one code it tells the series and the step that comes after it.

Data: events (made up), japanese_vowels, basic_motions, cbf, gun_point, italy_power_demand, any other set of series, or
    a path to a folder with NAME_TRAIN.ts and NAME_TEST.ts, a .ts or a .npz
Time: half a minute a seed on events, 1 minute on japanese_vowels (1 CPU core)
Run: python -m experiments.autoencoder_vs_rnn --dataset japanese_vowels
Expected: the smallest error of the last step from the recurrence, but on italy_power_demand; codes in which k-means
    finds more of the classes of events from the recurrent autoencoder, an NMI of .43 against .29; the fewest
    multiplications from the autoencoder. PCA reconstructs better than both autoencoders, except on japanese_vowels.

A model that has no answer to a question has no number in its column. Errors are of single test values, in variances of
the channel in the training split; a step is what is read at once, see `frame`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import train
from seqjax.data.batches import first_example, whole
from seqjax.data.load import load
from seqjax.data.scaling import observed
from seqjax.data.unlabelled import chosen_clusters, rows_or_series, values_a_row
from seqjax.data.whole_series import in_frames, new_series, require_next_steps, whole_series
from seqjax.evaluate.cluster_scores import collapsed
from seqjax.evaluate.cost import multiply_adds, num_parameters
from seqjax.evaluate.embedding_tasks import clustering, labels_of
from seqjax.evaluate.embeddings import embedding_matrix, principal_components
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.reconstruction import values_of
from seqjax.evaluate.series_reconstruction import pca_series, prediction_baselines, told_baselines
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.comparison import comparison
from seqjax.galleries.told_series import latent_map, told_series
from seqjax.models import sequence_encoders
from seqjax.models.sequence import CellName, cell_function
from seqjax.models.sequence_autoencoder import Pooling
from seqjax.types import Experiment, Phase, Split

CHUNK = 64  # series that are evaluated together
SHOWN = 4  # test series in the figure
MODELS = ("autoencoder", "rnn", "recurrent_autoencoder")
COLUMNS = ("reconstruction_error", "next_step_error", "last_step_error", "nmi", "multiply_adds")


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "events"
    """Name of a set of series, or path to a folder of .ts files, a .ts or a .npz."""
    num_clusters: int | None = None
    """Clusters that are looked for. Default: as many as there are classes."""
    frame: int | None = None
    """Steps that are read at once, as one. Default: so many that the longest series has 32 of them at most."""
    cell: CellName = "gru"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 64
    """Units of a layer of each recurrence, in each direction; the code of rnn has as many."""
    num_layers: int = 1
    """Layers of each."""
    bidirectional: bool = True
    """The encoder of recurrent_autoencoder reads the series in both directions."""
    pooling: Pooling = "mean"
    """What of a recurrence the code is, or is linear in: the last state, or the mean of the outputs."""
    hidden: tuple[int, ...] = (256,)
    """Sizes of the layers of autoencoder before the code."""
    latent_size: int = 16
    """Units of the code of both autoencoders; PCA has as many."""
    future_weight: float = 1.0
    """Weight of the error of the step that recurrent_autoencoder predicts, beside that of what it tells again."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 1000
    """Training steps of each model."""
    batch_size: int = 32
    """Series in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between validations; each model is evaluated with the parameters of its best one."""


SMOKE = {
    "dataset": "events",
    "num_clusters": None,
    "frame": 8,
    "hidden_size": 24,
    "hidden": (32,),
    "latent_size": 8,
    "learning_rate": 1e-2,
    "steps": 80,
    "chapter_steps": 40,
}


def build(config: Config) -> Experiment:
    original = whole_series(load(config.dataset))
    num_clusters = chosen_clusters(original, config.num_clusters)
    standardised, scale = rows_or_series(original)
    data, frame = in_frames(standardised, config.frame)
    require_next_steps(data)

    cell, layers = cell_function(config.cell), {"num_layers": config.num_layers, "pooling": config.pooling}
    encoders = {
        "autoencoder": sequence_encoders.mlp_autoencoder(config.hidden, config.latent_size),
        "rnn": sequence_encoders.next_step(cell, config.hidden_size, **layers),
        "recurrent_autoencoder": sequence_encoders.recurrent_autoencoder(
            cell,
            config.hidden_size,
            config.latent_size,
            bidirectional=config.bidirectional,
            horizon=1,
            future_weight=config.future_weight,
            **layers,
        ),
    }
    # over a constant, so that each value counts the same, in whatever series
    mean_values = values_a_row(data.train)
    first = first_example(data.train)

    def learner_of(encoder):
        def loss(params, batch, key, state):
            values, terms = encoder.loss(params, batch, key)
            return values / mean_values, train.Aux({name: term / mean_values for name, term in terms.items()})

        schedule = train.schedule("cosine", config.learning_rate, steps=config.steps)
        optimizer = train.optimizer("adam", schedule, clip_norm=config.clip_norm)
        return train.minimise(loss, lambda key: encoder.init(key, first), optimizer)

    turns = train.in_turn({name: learner_of(encoder) for name, encoder in encoders.items()})
    sizes = (config.steps, config.batch_size, config.chapter_steps)
    keep_best = data.validation.num_examples > 0
    phases = tuple(
        Phase(name, turn.learner, *sizes, keep_best=keep_best, enter=turn.enter) for name, turn in turns.items()
    )

    def validate(state, split, key):
        """The loss of the model that is trained."""
        (name,) = set(encoders) - set(state.extra["others"])
        values = per_example(lambda batch: encoders[name].loss(state.params, batch, key)[0], split, chunk=CHUNK)
        return values.mean() / mean_values

    @functools.partial(jax.jit, static_argnums=0)
    def errors_of(name, params, split):
        """By column, squared errors of each series and the number of values they are of, where the model has them."""
        encoder = encoders[name]

        def of_batch(batch):
            found = {}
            if encoder.reconstruct is not None:
                found["reconstruction_error"] = sequence_encoders.told_errors(encoder, params, batch)
            if encoder.predict is not None:
                found["next_step_error"] = sequence_encoders.predicted_errors(encoder, params, batch)
                found["last_step_error"] = sequence_encoders.predicted_errors(encoder, params, batch, last=True)
            if name == "recurrent_autoencoder":
                future = encoder.loss(params, batch, jax.random.key(0))[1]["future"]
                found["last_step_error"] = future, sequence_encoders.predictable(batch, last=True).sum(axis=(1, 2))
            return found

        return per_example(of_batch, split, chunk=CHUNK)

    def costs(name, params):
        """Of one series of the greatest length, told or predicted in training."""
        encoder = encoders[name]
        longest = first | {"length": jnp.full(1, first["x"].shape[1], jnp.int32)}
        products = multiply_adds(lambda params: encoder.loss(params, longest, jax.random.key(0))[0], params)
        return {"parameters": num_parameters(params), "multiply_adds": products}

    @functools.cache
    def baselines():
        size, num_values = config.latent_size, values_of(standardised.train).shape[1]
        told = told_baselines(standardised.train, standardised.test, size)
        found = {f"{row}/reconstruction_error": error for row, error in told.items()}
        for column, last in (("next_step_error", False), ("last_step_error", True)):
            said = prediction_baselines(standardised.test, frame, last=last)
            found |= {f"{row}/{column}": error for row, error in said.items()}
        # there and back
        return found | {"pca/parameters": (size + 1) * num_values, "pca/multiply_adds": 2 * size * num_values}

    @functools.partial(jax.jit, static_argnums=0)
    def codes_of(name, params, split):
        return per_example(functools.partial(encoders[name].encode, params), split, chunk=CHUNK)

    def encoder_of(name, state):
        params = train.learned_by(state, name)
        return lambda split: np.asarray(codes_of(name, params, split), np.float64)

    def evaluate(state, data, key):
        found = {}
        for name in MODELS:
            params = train.learned_by(state, name)
            errors = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).sum(), errors_of(name, params, data.test))
            found |= {f"{name}/{column}": float(total / count) for column, (total, count) in errors.items()}
            found |= {f"{name}/{cost}": float(value) for cost, value in costs(name, params).items()}
        # the seed of the clusters, so that their spread is in the table too
        tasks = (clustering(num_clusters, seed=int(jax.random.randint(key, (), 0, 2**31 - 1))),)
        rows = {name: encoder_of(name, state) for name in MODELS}
        rows["pca"] = principal_components(data.train, config.latent_size)
        for row, encoder in (rows | {"raw": values_of}).items():
            # raw: as they come, padded with zeros; of the other splits no codes are asked
            test = original.test if row == "raw" else data.test
            found |= embedding_matrix({row: encoder}, tasks, data._replace(train=test, validation=test, test=test))
        return found | {name: float(value) for name, value in baselines().items()}

    def unframed(values):
        """[K F frame*D] as the [K T D] that it stands for."""
        num_steps, num_channels = original.test.fields["x"].shape[1:]
        return np.asarray(values).reshape(len(values), -1, num_channels)[:, :num_steps]

    def figures(state, data, key, metrics):
        shown, truth = (Split({n: v[:SHOWN] for n, v in s.test.fields.items()}) for s in (data, standardised))
        batch, lengths = whole(shown), np.asarray(truth.fields["length"])
        said = {"pca": pca_series(standardised.train, truth, config.latent_size)}
        for name in ("autoencoder", "recurrent_autoencoder"):
            said[name] = unframed(encoders[name].reconstruct(train.learned_by(state, name), batch))
        predicted = np.asarray(encoders["rnn"].predict(train.learned_by(state, "rnn"), batch))
        # nothing is said about the first step
        predicted = np.concatenate([np.full_like(predicted[:, :1], np.nan), predicted[:, :-1]], axis=1)
        said["rnn, of the next step"] = unframed(predicted)
        codes = {name: encoder_of(name, state)(data.test) for name in MODELS}
        return {
            "comparison": comparison(metrics, COLUMNS),
            "series": told_series(np.where(observed(truth), truth.fields["x"], np.nan), lengths, said),
            "latent_map": latent_map({"raw": values_of(original.test)} | codes, labels_of(data.test)),
        }

    def health(metrics):
        return "collapsed" if collapsed(metrics, "recurrent_autoencoder", num_clusters=num_clusters) else "ok"

    @takes(original.test)
    def encode_new(params, x, length=None):
        """The codes [N Z] by recurrent_autoencoder of series x [N T D] in the units of the data, of these lengths."""
        return encoders["recurrent_autoencoder"].encode(params, new_series(x, scale, frame=frame, length=length))

    return Experiment(data, phases, validate, evaluate, figures, {"encode": encode_new}, health)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
