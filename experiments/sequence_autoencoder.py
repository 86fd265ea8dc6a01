"""One vector from which a recurrence tells a whole series again, and perhaps what comes after it (Srivastava 2015).

Data: events (made up), japanese_vowels and other sets of series, or a path to a folder with NAME_TRAIN.ts and
    NAME_TEST.ts, a .ts or a .npz
Time: 35 s a seed on events (1 CPU core)
Run: python -m experiments.sequence_autoencoder --dataset japanese_vowels --horizon 3
Expected: on japanese_vowels an error of .120, against .137 of as many principal components of the padded series; of
    its last 3 steps .17, against .22 of the last value. On events it does not beat them, .469 against .460.

Errors are of single values, in variances of the channel in the training split, told from the code alone.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import train
from seqjax.data.batches import first_example
from seqjax.data.load import load
from seqjax.data.scaling import observed
from seqjax.data.unlabelled import rows_or_series, values_a_row
from seqjax.data.whole_series import in_frames, new_series, whole_series
from seqjax.errors import UsageError, require
from seqjax.evaluate import series_reconstruction
from seqjax.evaluate.embedding_tasks import labels_of
from seqjax.evaluate.embeddings import principal_components
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.told_series import latent_map, told_series
from seqjax.models.sequence import CellName, cell_function
from seqjax.models.sequence_autoencoder import (
    Order,
    Pooling,
    Reading,
    SequenceAutoencoder,
    errors_from_codes,
    reconstruction_errors,
    told_from_codes,
)
from seqjax.plots import error_against_code_size
from seqjax.types import Experiment, Phase

CHUNK = 64  # series that are evaluated together
SHOWN = 4  # test series in the figure
SIZES = (1, 2, 4, 8, 16, 32, 64)  # numbers of components in the figure


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "events"
    """Name of a set of series, or path to a folder of .ts files, a .ts or a .npz."""
    frame: int | None = None
    """Steps that are read and told at once, as one. Default: so many that the longest series has 32 of them at most."""
    cell: CellName = "gru"
    """The recurrence of encoder and decoders: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 64
    """Units of a layer of the decoders."""
    encoder_size: int = 64
    """Units of a layer of the encoder, in each direction."""
    num_layers: int = 1
    """Layers of each."""
    bidirectional: bool = True
    """The encoder reads the series in both directions."""
    latent_size: int = 16
    """Units of the code; PCA has as many components."""
    pooling: Pooling = "last"
    """What the code is linear in: the last state of the encoder, or the mean of its outputs."""
    order: Order = "forward"
    """In which the decoder tells the series; reversed from the last step to the first."""
    reading: Reading = "latent"
    """What the decoder reads beside the code in training: nothing, the true step before, or what it has said itself."""
    horizon: int = 0
    """Last steps, as they are read, that the encoder does not see in training, and a second decoder predicts."""
    future_weight: float = 1.0
    """Weight of the predictions' error beside that of the reconstruction."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 1000
    """Training steps."""
    batch_size: int = 32
    """Series in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between validations; the parameters with the best one are evaluated."""


SMOKE = {
    "dataset": "events",
    "frame": 4,
    "hidden_size": 32,
    "encoder_size": 32,
    "latent_size": 8,
    "learning_rate": 1e-2,
    "steps": 100,
    "chapter_steps": 50,
}


def build(config: Config) -> Experiment:
    require(config.future_weight >= 0, "future_weight", config.future_weight, "a weight of 0 or more")
    original = whole_series(load(config.dataset))
    standardised, scale = rows_or_series(original)
    data, frame = in_frames(standardised, config.frame)
    horizon, longest = config.horizon, int(np.max(data.train.fields["length"]))
    if horizon >= longest:
        raise UsageError(
            f"horizon={horizon}: expected 0 to {longest - 1}, since the longest training series is read in {longest}"
            " steps; lower --horizon or --frame."
        )
    num_steps, num_channels = original.train.fields["x"].shape[1:]
    model = SequenceAutoencoder(
        cell_function(config.cell),
        data.train.fields["x"].shape[2],
        config.hidden_size,
        config.encoder_size,
        config.latent_size,
        config.num_layers,
        config.bidirectional,
        config.pooling,
        config.order,
        config.reading,
        horizon,
    )

    def apply(params, batch, method=None):
        return model.apply(params, batch["x"], batch["length"], batch.get("mask"), method=method)

    first = first_example(data.train)

    def initial(key):
        return model.init(key, first["x"], first["length"])

    # over a constant, so that each value counts the same, in whatever series
    mean_values = values_a_row(data.train)

    def weighted(terms):
        terms = {name: error / mean_values for name, error in terms.items()}
        return terms["reconstruction"] + (config.future_weight * terms["future"] if horizon else 0), terms

    def loss(params, batch, key, state):
        values, terms = weighted(reconstruction_errors(model, params, batch))
        return values, train.Aux(terms)

    learner = train.minimise(
        loss,
        initial,
        train.optimizer(
            "adam", train.schedule("cosine", config.learning_rate, steps=config.steps), clip_norm=config.clip_norm
        ),
    )
    phase = Phase(
        "train",
        learner,
        config.steps,
        config.batch_size,
        config.chapter_steps,
        keep_best=data.validation.num_examples > 0,
    )

    def validate(state, split, key):
        if not split.num_examples:
            return jnp.zeros(())
        return per_example(
            lambda batch: weighted(errors_from_codes(model, state.params, batch))[0], split, chunk=CHUNK
        ).mean()

    @jax.jit
    def told(params, split):
        """What is told from codes alone, and what should be."""
        return per_example(
            lambda batch: (told_from_codes(model, params, batch), apply(params, batch, "targets")), split, chunk=CHUNK
        )

    def in_steps(values):
        """[N F frame*D] as the [N T D] that it stands for."""
        return np.asarray(values).reshape(len(values), -1, num_channels)

    def future_measures(future, targets):
        future, wanted, counts = map(in_steps, (future, targets.future, targets.future_counts))
        last = series_reconstruction.last_values(standardised.test, frame * np.asarray(targets.seen))
        # standardised, so that the mean is 0
        rows = {"recurrent_autoencoder": future, "last_value": last[:, None], "mean": np.zeros((1, 1, 1))}
        return {
            f"{row}/future_squared_error": series_reconstruction.error_a_value(
                np.broadcast_to(values, wanted.shape), wanted, counts
            )
            for row, values in rows.items()
        }

    @functools.cache
    def baselines():
        return {
            "pca": series_reconstruction.pca_series(standardised.train, standardised.test, config.latent_size),
            "mean": series_reconstruction.mean_series(standardised.train, standardised.test),
        }

    def evaluate(state, data, key):
        said, targets = told(state.params, data.test)
        rows = {"recurrent_autoencoder": in_steps(said.reconstruction)[:, :num_steps]} | baselines()
        x, counts = standardised.test.fields["x"], observed(standardised.test)
        found = {
            f"{row}/squared_error": series_reconstruction.error_a_value(values, x, counts)
            for row, values in rows.items()
        }
        return found | (future_measures(said.future, targets) if horizon else {})

    def figures(state, data, key, metrics):
        train, test = standardised.train, standardised.test
        said, targets = told(state.params, data.test)
        truth = np.where(observed(test), test.fields["x"], np.nan)
        lines = {
            "recurrent autoencoder": in_steps(said.reconstruction),
            f"PCA-{config.latent_size}": baselines()["pca"],
        }
        if horizon:
            lines["future"] = np.full(truth.shape, np.nan)
            for line, values, seen in zip(
                lines["future"], in_steps(said.future), np.asarray(targets.seen), strict=True
            ):
                rest = line[frame * seen :][: len(values)]
                rest[:] = values[: len(rest)]
        shown = {name: values[:SHOWN] for name, values in lines.items()}
        components = principal_components(train, config.latent_size)(test)
        sizes = [size for size in SIZES if size <= min(train.num_examples, num_steps * num_channels)]
        measured = metrics["recurrent_autoencoder/squared_error"]
        return {
            "reconstructions": told_series(truth[:SHOWN], test.fields["length"][:SHOWN], shown),
            "latent_map": latent_map({"code": np.asarray(said.code), "PCA": components}, labels_of(test)),
            "error_against_code_size": error_against_code_size(
                (sizes, series_reconstruction.pca_errors(train, test, sizes)),
                {"recurrent autoencoder": [(config.latent_size, measured["mean"], measured["ci95"] or 0.0)]},
                measure="squared error of a test value",
            ),
        }

    def health(metrics):
        own, mean = (metrics[f"{row}/squared_error"]["mean"] for row in ("recurrent_autoencoder", "mean"))
        return "ok" if own < mean else "collapsed"

    @takes(original.test)
    def encode(params, x, length=None):
        """The codes [N Z] of series x [N T D] in the units of the data, of these lengths, default the whole."""
        return apply(params, new_series(x, scale, frame=frame, length=length), "encode")

    return Experiment(data, (phase,), validate, evaluate, figures, {"encode": encode}, health)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
