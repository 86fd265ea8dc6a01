"""Gated cells carry values over 200 steps, Elman networks do not (adding problem, Hochreiter & Schmidhuber 1997).

Data: synthetic; training examples are made fresh at every step, validation and test are fixed
Time: 1 minute a seed with gru or rnn, 1.5 with lstm (2 CPU cores)
Run: python -m experiments.adding --cell gru
Expected: at T = 200 test error of gru and lstm at most 1e-3; rnn within 10 % of the blind 1/6.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.synthetic import adding, fresh_batch_at, synthetic_dataset
from seqjax.errors import require
from seqjax.evaluate.gradient_flow import flow_curves, flow_measures, model_flow
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import main
from seqjax.models.sequence import CellName, SequenceModel, cell_function, with_time_scales
from seqjax.plots import gradient_flow
from seqjax.types import Experiment, Phase

LOOKED_AT = 100  # test examples whose gradients and gates are looked at
CORRECT = 0.04  # an answer this near counts as right in Hochreiter & Schmidhuber (1997)


@dataclasses.dataclass(frozen=True)
class Config:
    length: int = 200
    """Steps of a sequence."""
    cell: CellName = "gru"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 64
    """Units of a layer."""
    num_layers: int = 1
    """Layers."""
    time_scales: bool = True
    """Gates start out keeping for 1 to `length` steps, unit by unit (Tallec & Ollivier 2018)."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 3000
    """Training steps."""
    batch_size: int = 32
    """Examples in a step, over all devices."""
    chapter_steps: int = 250
    """Steps between validations."""
    test_size: int = 10_000
    """Examples of the test split."""


SMOKE = {"length": 10, "hidden_size": 24, "steps": 400, "chapter_steps": 100, "learning_rate": 1e-2, "test_size": 1000}


def build(config: Config) -> Experiment:
    require(config.hidden_size >= 1, "hidden_size", config.hidden_size, "at least 1")
    require(config.num_layers >= 1, "num_layers", config.num_layers, "at least 1")
    require(config.test_size >= 1, "test_size", config.test_size, "at least 1")
    task = functools.partial(adding, length=config.length)
    data = synthetic_dataset(f"adding_{config.length}", task, validation_size=1000, test_size=config.test_size)

    @functools.partial(jax.jit, static_argnames="cell")
    def initial(key, cell=config.cell):
        init_key, scales_key = jax.random.split(key)
        params = model_of(cell).init(init_key, jnp.zeros((1, 1, 2)))
        return with_time_scales(params, scales_key, config.length) if config.time_scales else params

    def model_of(cell):
        return SequenceModel(cell_function(cell), config.hidden_size, 1, config.num_layers)

    model = model_of(config.cell)

    def predictions(params, x):
        return model.apply(params, x)[:, -1, 0]

    def loss(params, batch, key, state):
        return losses.squared_error(predictions(params, batch["x"]), batch["target"]), train.Aux({})

    learner = train.minimise(
        loss,
        initial,
        train.optimizer(
            "adam", train.schedule("cosine", config.learning_rate, steps=config.steps), clip_norm=config.clip_norm
        ),
    )
    phase = Phase(
        "train", learner, config.steps, config.batch_size, config.chapter_steps, batch_at=fresh_batch_at(task)
    )

    def validate(state, split, key):
        return per_example(lambda b: loss(state.params, b, key, state)[0], split).mean()

    @jax.jit
    def predicted(params, split):
        return per_example(lambda b: predictions(params, b["x"]), split)

    @functools.partial(jax.jit, static_argnames="cell")
    def flow(params, x, cell):
        """Norm of the prediction's gradient to the state at each lag, and saturation, of `cell`."""
        return model_flow(model_of(cell), params, x, lambda outputs: outputs[:, 0])

    baselines = {
        f"{row}/{measure}": value
        for row, answers in trivial_answers(data.test.fields["x"]).items()
        for measure, value in measures(answers, data.test.fields["target"]).items()
    }

    def evaluate(state, data, key):
        found = measures(np.asarray(predicted(state.params, data.test)), data.test.fields["target"])
        own = {f"{config.cell}/{measure}": value for measure, value in found.items()}
        looked_at = flow(state.params, data.test.fields["x"][:LOOKED_AT], config.cell)
        return own | baselines | flow_measures(config.cell, *looked_at)

    def figures(state, data, key, metrics):
        x = data.test.fields["x"][:LOOKED_AT]
        curves = flow_curves(
            lambda p, cell: flow(p, x, cell), config.cell, state.params, lambda c: initial(jax.random.clone(key), c)
        )
        return {"gradient_flow": gradient_flow(curves, of="prediction")}

    return Experiment(data, (phase,), validate, evaluate, figures, {"predict": predictions})


def measures(answers, targets):
    errors = np.asarray(answers, np.float64) - targets
    return {"squared_error": float(np.square(errors).mean()), "correct": float((np.abs(errors) < CORRECT).mean())}


def trivial_answers(x):
    """What one answers who sees nothing, and one who remembers only the second marked value."""
    values, marks = x[..., 0], x[..., 1]
    last_marked = marks.shape[1] - 1 - np.argmax(marks[:, ::-1], axis=1)
    return {"blind": np.ones(len(x)), "second_value": 0.5 + values[np.arange(len(x)), last_marked]}


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
