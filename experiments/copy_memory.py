"""Remembering ten symbols over 200 steps and saying them again in order (the copying problem, Arjovsky et al. 2016).

Data: synthetic; training examples are made fresh at every step, validation and test are fixed
Time: 3 minutes a seed with gru (2 CPU cores)
Run: python -m experiments.copy_memory --cell lstm
Expected: shown beside the floor of those who remember nothing, 10 log 8 / (T + 20) nats a step: .0945 at T = 200.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.synthetic import (
    BLANK,
    DELIMITER,
    NUM_SYMBOLS,
    REMEMBERED,
    blind_copying_cost,
    copying,
    fresh_batch_at,
    synthetic_dataset,
)
from seqjax.errors import require
from seqjax.evaluate.gradient_flow import flow_curves, flow_measures, model_flow
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import main
from seqjax.models.sequence import CellName, SequenceModel, cell_function, with_time_scales
from seqjax.plots import gradient_flow, symbol_rows
from seqjax.types import Experiment, Phase

LOOKED_AT = 100  # test examples whose gradients and gates are looked at
NUM_INPUTS, NUM_OUTPUTS = DELIMITER + 1, BLANK + 1


@dataclasses.dataclass(frozen=True)
class Config:
    delay: int = 200
    """T: steps from the last symbol to be remembered to the first answer; a sequence has T + 20."""
    cell: CellName = "lstm"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 64
    """Units of a layer."""
    num_layers: int = 1
    """Layers."""
    time_scales: bool = True
    """Gates start out keeping for 1 to T + 20 steps, unit by unit (Tallec & Ollivier 2018)."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 4000
    """Training steps."""
    batch_size: int = 32
    """Examples in a step, over all devices."""
    chapter_steps: int = 500
    """Steps between validations."""
    test_size: int = 1000
    """Examples of the test split."""


SMOKE = {"delay": 2, "hidden_size": 32, "steps": 400, "chapter_steps": 100, "learning_rate": 1e-2, "test_size": 200}


def build(config: Config) -> Experiment:
    require(config.hidden_size >= 1, "hidden_size", config.hidden_size, "at least 1")
    require(config.num_layers >= 1, "num_layers", config.num_layers, "at least 1")
    require(config.test_size >= 1, "test_size", config.test_size, "at least 1")
    task = functools.partial(copying, delay=config.delay)
    num_steps = config.delay + 2 * REMEMBERED
    data = synthetic_dataset(f"copying_{config.delay}", task, validation_size=500, test_size=config.test_size)

    @functools.partial(jax.jit, static_argnames="cell")
    def initial(key, cell=config.cell):
        init_key, scales_key = jax.random.split(key)
        params = model_of(cell).init(init_key, jnp.zeros((1, 1, NUM_INPUTS)))
        return with_time_scales(params, scales_key, num_steps) if config.time_scales else params

    def model_of(cell):
        return SequenceModel(cell_function(cell), config.hidden_size, NUM_OUTPUTS, config.num_layers)

    model = model_of(config.cell)

    def logits(params, x):
        return model.apply(params, jax.nn.one_hot(x, NUM_INPUTS))

    def nats_a_step(params, batch):
        return losses.categorical_cross_entropy(logits(params, batch["x"]), batch["target"]) / num_steps

    def loss(params, batch, key, state):
        return nats_a_step(params, batch), train.Aux({})

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
        return per_example(lambda b: nats_a_step(state.params, b), split).mean()

    @jax.jit
    def answers(params, split):
        """Nats a step of each example, and the most likely symbol at each step."""
        return per_example(lambda b: (nats_a_step(params, b), logits(params, b["x"]).argmax(axis=-1)), split)

    @functools.partial(jax.jit, static_argnames="cell")
    def flow(params, split, cell):
        """Norm of the gradient of the last answer's cost to the state at each lag, and saturation, of `cell`."""
        x, target = (split.fields[name][:LOOKED_AT] for name in ("x", "target"))

        def last_cost(outputs):
            return losses.categorical_cross_entropy(outputs, target[:, -1])

        return model_flow(model_of(cell), params, jax.nn.one_hot(x, NUM_INPUTS), last_cost)

    def evaluate(state, data, key):
        nats, said = (np.asarray(a) for a in answers(state.params, data.test))
        remembered = said[:, -REMEMBERED:] == data.test.fields["target"][:, -REMEMBERED:]
        return {
            f"{config.cell}/nats_a_step": float(nats.mean(dtype=np.float64)),
            f"{config.cell}/symbols_right": float(remembered.mean()),
            "blind/nats_a_step": blind_copying_cost(config.delay),
            "blind/symbols_right": 1 / NUM_SYMBOLS,
        } | flow_measures(config.cell, *flow(state.params, data.test, config.cell))

    def figures(state, data, key, metrics):
        curves = flow_curves(
            lambda p, cell: flow(p, data.test, cell),
            config.cell,
            state.params,
            lambda c: initial(jax.random.clone(key), c),
        )
        said = np.asarray(answers(state.params, data.test)[1])
        shown = slice(0, 12)
        return {
            "gradient_flow": gradient_flow(curves, of="last cost"),
            "answers": symbol_rows(
                {
                    "to be remembered": data.test.fields["target"][shown, -REMEMBERED:],
                    f"{config.cell}'s answer": said[shown, -REMEMBERED:],
                },
                num_symbols=NUM_OUTPUTS,
            ),
        }

    return Experiment(data, (phase,), validate, evaluate, figures, {"logits": logits})


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
