"""A two-phase experiment on made-up data: fit a line, then go on from its negated weights with refreshed targets."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import losses, train
from seqjax.types import Dataset, Experiment, Phase, Split


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "toy"
    steps: int = 40
    second_steps: int = 30
    validation_rises_after: int | None = None
    patience: int | None = None
    keep_best: bool = False


SMOKE = {"steps": 10, "second_steps": 10}


def split(rows: int, seed: int) -> Split:
    x = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return Split({"x": x, "y": x @ np.asarray([[1.0], [-2.0], [0.5], [3.0]], np.float32)})


def enter(previous, split, key):
    flipped = jax.tree.map(jnp.negative, previous.params)
    start = learner(1.0).init(key)
    return start._replace(params=flipped, extra=start.extra | {"target_scale": jnp.float32(0.5)})


def refresh(state, split):
    return state._replace(extra=state.extra | {"target_scale": state.extra["target_scale"] + 0.1})


@functools.cache
def learner(scale: float):
    def loss(params, batch, key, state):
        target = batch["y"] * state.extra["target_scale"]
        return losses.squared_error(batch["x"] @ params["w"], target), train.Aux({})

    def init(key):
        return {"w": jax.random.normal(key, (4, 1))}

    return train.minimise(loss, init, optax.adam(0.05), extra=lambda params: {"target_scale": jnp.float32(scale)})


def build(config: Config) -> Experiment:
    data = Dataset("toy", split(64, 0), split(16, 1), split(16, 2), "0" * 64)

    def validate(state, split, key):
        error = jnp.square(split.fields["x"] @ state.params["w"] - split.fields["y"]).mean()
        if config.validation_rises_after is None:
            return error
        return jnp.abs(state.step - config.validation_rises_after).astype(jnp.float32)

    def evaluate(state, data, key):
        error = np.square(data.test.fields["x"] @ np.asarray(state.params["w"]) - data.test.fields["y"]).mean()
        return {"line/error": float(error), "line/step": float(state.step)}

    first = Phase("fit", learner(1.0), config.steps, 16, 10, patience=config.patience, keep_best=config.keep_best)
    second = Phase("go on", learner(1.0), config.second_steps, 16, 10, enter=enter, refresh=refresh, refresh_every=20)
    phases = (first, second) if config.second_steps else (first,)
    return Experiment(data, phases, validate, evaluate)
