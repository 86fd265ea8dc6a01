"""What a series has always done says where it goes wrong: errors of retelling it, and of foretelling its next step.

Data: faults (made up), or the path of one long series with labels: .csv with a column `label`, .npz with x, label [T]
Time: 2 minutes a seed on faults (1 CPU core)
Run: python -m experiments.series_anomaly --dataset faults
Expected: on faults a range-based AUROC of .93 by reconstruction and .86 by prediction; principal components of the
    same windows are ahead with .94, and by the AUROC of single steps with .93 against .89 and .82.

Two networks learn side by side from normal windows of the past alone: a recurrent autoencoder, which tells a window
again from one vector, and a recurrence that says each step from those before it. Every step of the future is judged by
its own score; nothing is adjusted once the truth is known.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import train
from seqjax.data.labelled_series import chosen_window_batch_at, labelled_series, normal_starts, window_batch
from seqjax.data.long_series import num_windows, windows
from seqjax.data.scaling import channel_scale, scaled
from seqjax.data.whole_series import mapped
from seqjax.errors import require
from seqjax.evaluate import anomaly
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.per_row import per_row
from seqjax.evaluate.range_auc import range_auc
from seqjax.evaluate.window_scores import last_of_windows, mean_over_windows
from seqjax.experiment import main
from seqjax.experiment.takes import takes
from seqjax.galleries.anomalies import roc_curves, scored_series
from seqjax.models.sequence import CellName, cell_function
from seqjax.models.sequence_encoders import next_step, recurrent_autoencoder
from seqjax.types import Experiment, Phase, Split


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "faults"
    """faults, or the path of a .csv or .npz file that holds one series and a label for each step, 0 for normal."""
    window: int = 32
    """Steps of a window."""
    cell: CellName = "gru"
    """The recurrence of both networks: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 32
    """Units of a layer."""
    code_size: int = 8
    """Units of the vector that a window is told again from."""
    components: int = 8
    """Principal components of windows, the baseline."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    steps: int = 2000
    """Training steps."""
    batch_size: int = 64
    """Windows in a step, over all devices."""
    chapter_steps: int = 200
    """Steps between validations."""
    quantile: float = 0.99
    """Share of the validation split's normal steps that the threshold leaves below it."""
    buffer: int = 16
    """Steps about an anomaly, half of them on each side, in which alarms count in part (range-based areas)."""


SMOKE = {
    "dataset": "faults",
    "window": 16,
    "hidden_size": 16,
    "code_size": 4,
    "components": 4,
    "learning_rate": 1e-2,
    "steps": 150,
    "chapter_steps": 50,
}


def build(config: Config) -> Experiment:
    require(config.window >= 2, "window", config.window, "at least 2 steps")
    for name in ("hidden_size", "code_size", "components"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    require(0 < config.quantile < 1, "quantile", config.quantile, "a share between 0 and 1")
    require(config.buffer >= 0, "buffer", config.buffer, "a number of steps, 0 or more")
    width = config.window
    # errors are in variances of a channel's normal steps in the training split from here on
    data = original = labelled_series(config.dataset)
    normal = np.broadcast_to(data.train.fields["label"][..., None] == 0, data.train.fields["x"].shape)
    scale = channel_scale(Split(data.train.fields | {"mask": normal}))
    data = mapped(data, lambda split: scaled(split, scale))
    starts = {part: normal_starts(data, part, width) for part in ("train", "validation")}
    kinds = sorted(set(np.unique(data.test.fields["label"]).tolist()) - {0})

    cell = cell_function(config.cell)
    told = recurrent_autoencoder(cell, config.hidden_size, config.code_size)
    foretold = next_step(cell, config.hidden_size)
    networks = {"reconstruction": told, "prediction": foretold}

    def initial(key):
        one = window_batch(jnp.asarray(data.train.fields["x"]), jnp.zeros(1, jnp.int32), width)
        return {name: network.init(key, one) for name, network in networks.items()}

    def loss(params, batch, key, state):
        terms = {name: network.loss(params[name], batch, key)[0] / width for name, network in networks.items()}
        # a sum, so that each goes down its own gradient as if it were alone
        return sum(terms.values()), train.Aux(terms)

    rate = train.schedule("cosine", config.learning_rate, steps=config.steps)
    phase = Phase(
        "train",
        train.minimise(loss, initial, train.optimizer("adam", rate)),
        config.steps,
        config.batch_size,
        config.chapter_steps,
        batch_at=chosen_window_batch_at(starts["train"], width),
    )

    def validate(state, split, key):
        def of_windows(batch):
            rows = window_batch(jnp.asarray(split.fields["x"]), batch["x"], width)
            return loss(state.params, rows, key, state)[0]

        return per_example(of_windows, Split({"x": jnp.asarray(starts["validation"])}), chunk=256).mean()

    @jax.jit
    def errors(params, series):
        """Squared error of each step of each window, summed over channels: told again, and foretold."""

        def of_windows(batch):
            rows = window_batch(series, batch["x"], width)
            again = told.reconstruct(params["reconstruction"], rows)
            # before the first step nothing is known but the mean
            ahead = jnp.pad(foretold.predict(params["prediction"], rows)[:, :-1], ((0, 0), (1, 0), (0, 0)))
            return [jnp.square(said - rows["x"]).sum(axis=2) for said in (again, ahead)]

        return per_row(of_windows, Split({"x": jnp.arange(num_windows(Split({"x": series}), width))}), chunk=256)

    def network_scores(params, series):
        again, ahead = errors(params, jnp.asarray(series))
        if not isinstance(again, jax.core.Tracer):
            again, ahead = (np.asarray(error, np.float64) for error in (again, ahead))
        return {"reconstruction": mean_over_windows(again), "prediction": last_of_windows(ahead)}

    def flat_windows(series, starts):
        return np.asarray(windows(jnp.asarray(series), jnp.asarray(starts), width), np.float64).reshape(len(starts), -1)

    @functools.cache
    def projected():
        return anomaly.projection(flat_windows(data.train.fields["x"], starts["train"]), config.components)

    def pca_scores(series):
        x = flat_windows(series, np.arange(num_windows(Split({"x": series}), width)))
        error = np.square(projected()(x) - x).reshape(len(x), width, -1).sum(axis=2)
        return mean_over_windows(error)

    def judged(state, data, key):
        """Scores [T] of each row of the table, and labels, of the validation split and of the test split."""
        for number, split in enumerate((data.validation, data.test)):
            series, label = (np.asarray(split.fields[name]) for name in ("x", "label"))
            blind = anomaly.blind_scores(label[0].shape, jax.random.fold_in(key, number))
            yield network_scores(state.params, series) | {"pca": pca_scores(series)} | blind, label[0]

    def evaluate(state, data, key):
        (reference, reference_label), (found, label) = judged(state, data, key)
        measured = {}
        for row, own in found.items():
            normal = reference[row][reference_label == 0]
            measured |= anomaly.measures(row, own, label != 0, normal, quantile=config.quantile)
            areas = range_auc(own, label != 0, buffer=config.buffer)
            measured |= {f"{row}/range_auroc": areas.roc, f"{row}/range_average_precision": areas.pr}
            if row in (*networks, "pca"):
                of = {kind: (label == 0) | (label == kind) for kind in kinds}
                measured |= {f"{row}/auroc_{kind}": anomaly.auroc(own[s], label[s] != 0) for kind, s in of.items()}
        return measured

    def figures(state, data, key, metrics):
        (reference, reference_label), (found, label) = judged(state, data, key)
        shown = {row: found[row] for row in (*networks, "pca")}
        limits = {row: anomaly.threshold(reference[row][reference_label == 0], config.quantile) for row in shown}
        columns = {row: own[:, None] for row, own in found.items()}
        return {
            "scored_series": scored_series(data.test.fields["x"][0], shown, label != 0, limits),
            "roc_curves": roc_curves(columns, (label != 0)[:, None]),
        }

    @takes(Split({"x": original.test.fields["x"][0, : 2 * width]}), axes={"x": f"T + {width - 1}, ..."})
    def score(params, x):
        """Scores [T] of each step of a series x [T D] in its own units, by each network."""
        return network_scores(params, ((x - scale.mean[None]) / scale.stddev[None]).astype(np.float32)[None])

    return Experiment(data, (phase,), validate, evaluate, figures, {"score": score})


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
