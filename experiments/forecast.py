"""The next steps of several channels at once: a recurrence learns the shapes that linear autoregression cannot.

Data: seasons (made up), stocks (Yoon et al. 2019), or the path of one long series: .csv, .npy or .npz with x [T D]
Time: 1 minute a seed on seasons (2 CPU cores)
Run: python -m experiments.forecast --dataset seasons --cell gru
Expected: on seasons a squared error between vector autoregression and the noise; on stocks about that of the last
    value, which nothing should be expected to beat by much.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.long_series import long_series, num_windows, window_batch_at, windows
from seqjax.data.scaling import standardised
from seqjax.errors import DataError, require
from seqjax.evaluate import forecasting
from seqjax.evaluate.gradient_flow import flow_curves, flow_measures, model_flow
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import main
from seqjax.models.sequence import CellName, SequenceModel, cell_function
from seqjax.plots import errors_by_step, forecasts, gradient_flow
from seqjax.types import Experiment, Phase, Split

LOOKED_AT = 100  # test windows whose gradients and gates are looked at
SHOWN = 3  # test windows in the figure, and most channels of them


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "seasons"
    """seasons, stocks, or the path of a .csv, .npy or .npz file that holds one series."""
    context: int = 48
    """Steps that are read."""
    horizon: int = 24
    """Steps after them that are predicted, all at once."""
    inputs: Literal["values", "changes"] = "values"
    """What is read: the values, or by how much each differs from the one before, whatever the level."""
    period: int | None = None
    """Steps of a season, for the seasonal baseline. Default: chosen on the validation split."""
    cell: CellName = "gru"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 128
    """Units of a layer."""
    num_layers: int = 1
    """Layers."""
    dropout: float = 0.0
    """Rate at which outputs of each layer are dropped in training."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW, down to zero by half a cosine."""
    weight_decay: float = 0.0
    """Decoupled decay of the weights (AdamW)."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 2000
    """Training steps."""
    batch_size: int = 64
    """Windows in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between validations; the parameters with the best one are evaluated."""


SMOKE = {
    "dataset": "seasons",
    "context": 24,
    "horizon": 4,
    "period": None,
    "hidden_size": 24,
    "learning_rate": 1e-2,
    "steps": 200,
    "chapter_steps": 50,
}


def build(config: Config) -> Experiment:
    for name in ("context", "horizon", "hidden_size", "num_layers"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    require(0 <= config.dropout < 1, "dropout", config.dropout, "a rate from 0 to below 1")
    period_fits = config.period is None or 1 <= config.period <= config.context
    require(period_fits, "period", config.period, f"1 to context={config.context}")
    context, horizon, width = config.context, config.horizon, config.context + config.horizon
    # errors are in standard deviations of a channel in the training split from here on
    data, scale = standardised(long_series(config.dataset), ("x", "clean"))
    mean, stddev = (jnp.asarray(part, jnp.float32)[None, None] for part in scale)
    num_channels = data.train.fields["x"].shape[2]
    for name, split in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        if num_windows(split, width) < 1:
            raise DataError(
                f"{data.name}: its {name} split has {split.fields['x'].shape[1]} steps; expected context + horizon ="
                f" {width} at least.\nLower --context or --horizon, or give a longer series."
            )

    def model_of(cell):
        num_outputs = horizon * num_channels
        return SequenceModel(cell_function(cell), config.hidden_size, num_outputs, config.num_layers, config.dropout)

    @functools.partial(jax.jit, static_argnames="cell")
    def initial(key, cell=config.cell):
        return model_of(cell).init(key, jnp.zeros((1, 1, num_channels)))

    model = model_of(config.cell)

    def read(x):
        return x if config.inputs == "values" else jnp.diff(x, axis=1, prepend=x[:, :1])

    def predictions(params, x, *, key=None, index=None):
        """The steps after each of x [B T D], [B T horizon D]: its own values, and learned changes from them."""
        changes = model.apply(params, read(x), key=key, index=index)
        return x[:, :, None] + changes.reshape(*x.shape[:2], horizon, num_channels)

    def loss(params, batch, key, state):
        x = batch["x"]
        targets = x[:, jnp.arange(context)[:, None] + jnp.arange(1, horizon + 1)[None, :]]
        predicted = predictions(params, x[:, :context], key=key, index=batch["index"])
        return losses.squared_error(predicted, targets) / (context * horizon * num_channels), train.Aux({})

    learner = train.minimise(
        loss,
        initial,
        train.optimizer(
            "adamw",
            train.schedule("cosine", config.learning_rate, steps=config.steps),
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
        ),
    )
    phase = Phase(
        "train",
        learner,
        config.steps,
        config.batch_size,
        config.chapter_steps,
        keep_best=True,
        batch_at=window_batch_at(width),
    )

    @jax.jit
    def errors(params, split):
        """Squared and absolute error of each window at each step ahead, averaged over channels."""

        def of_windows(batch):
            x = windows(split.fields["x"], batch["x"], width)
            error = predictions(params, x[:, :context])[:, -1] - x[:, context:]
            return jnp.square(error).mean(axis=2), jnp.abs(error).mean(axis=2)

        starts = jnp.arange(num_windows(split, width))
        return per_example(of_windows, Split({"x": starts}), chunk=256)

    def validate(state, split, key):
        return errors(state.params, split)[0].mean()

    def by_step(params, split):
        return tuple(np.asarray(error, np.float64).mean(axis=0) for error in errors(params, split))

    @functools.cache
    def baselines():
        series = (split.fields["x"][0] for split in (data.train, data.validation))
        periods = range(1, context + 1) if config.period is None else (config.period,)
        return forecasting.baselines(*series, context=context, horizon=horizon, periods=periods)

    @functools.cache
    def baselines_by_step():
        series = data.test.fields["x"][0]
        sizes = {"context": context, "horizon": horizon}
        found = {row: forecasting.errors_by_step(f, series, **sizes) for row, f in baselines().forecasts.items()}
        if "clean" in data.test.fields:
            found["noise"] = forecasting.floor_by_step(data.test.fields["clean"][0], series, **sizes)
        return found

    @functools.partial(jax.jit, static_argnames="cell")
    def flow(params, x, cell):
        """Norm of the gradient of the last forecast's error to the state at each lag, and saturation, of `cell`."""
        targets = (x[:, context:] - x[:, context - 1 : context]).reshape(len(x), -1)
        return model_flow(
            model_of(cell), params, read(x[:, :context]), lambda outputs: losses.squared_error(outputs, targets)
        )

    def looked_at(data):
        starts = np.linspace(0, num_windows(data.test, width) - 1, LOOKED_AT).astype(np.int32)
        return windows(jnp.asarray(data.test.fields["x"]), jnp.asarray(starts), width)

    def evaluate(state, data, key):
        found = {config.cell: by_step(state.params, data.test)} | baselines_by_step()
        rows = {
            f"{row}/{measure}": float(values.mean())
            for row, both in found.items()
            for measure, values in zip(("squared_error", "absolute_error"), both, strict=True)
        }
        return rows | flow_measures(config.cell, *flow(state.params, looked_at(data), config.cell))

    def figures(state, data, key, metrics):
        x = looked_at(data)
        curves = flow_curves(
            lambda p, cell: flow(p, x, cell), config.cell, state.params, lambda c: initial(jax.random.clone(key), c)
        )
        found = {config.cell: by_step(state.params, data.test)} | baselines_by_step()
        shown = x[:: LOOKED_AT // SHOWN][:SHOWN]
        past, future = (np.asarray(part, np.float64)[..., :SHOWN] for part in (shown[:, :context], shown[:, context:]))
        said = {config.cell: np.asarray(predictions(state.params, shown[:, :context])[:, -1])}
        said["var"] = baselines().forecasts["var"](np.asarray(shown[:, :context], np.float64))
        return {
            "gradient_flow": gradient_flow(curves, of="forecast's error"),
            "errors_by_step": errors_by_step(
                {row: squared for row, (squared, _) in found.items()}, measure="squared error"
            ),
            "forecasts": forecasts(past, future, {row: values[..., :SHOWN] for row, values in said.items()}),
        }

    def predict(params, x):
        """The `horizon` steps after x [B T D], both in the units of the series."""
        return predictions(params, (x - mean) / stddev)[:, -1] * stddev + mean

    def predict_standardised(params, x):
        return predictions(params, jnp.asarray(x))[:, -1]

    functions = {"predict": predict, "predict_standardised": predict_standardised}
    return Experiment(data, (phase,), validate, evaluate, figures, functions)


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
