"""The flight record of a run that ended on values that are not finite: what the first refused step began with."""

from typing import Any

import jax
import numpy as np

from seqjax import checkpoint
from seqjax.data.batches import row_indices
from seqjax.experiment.session import Session
from seqjax.experiment.source import data_key
from seqjax.experiment.state import Run
from seqjax.types import Phase, TrainState

FOLDER = "flight"


def record(session: Session, run: Run, seeds: list[int]) -> int:
    """Writes the run as it was before the steps that `seeds` have just skipped in a row, as a checkpoint; its step.

    run: off the mesh, after the chapter. The details name the seeds, and for each the keys of the step and of its data,
    and the rows of its batch (`null` where the phase makes its own batches). Raises SaveError.
    """
    phase = session.experiment.phases[int(run.phase)]
    positions = [session.plan.seed_range.index(seed) for seed in seeds]
    states = before_skipped(run.states, positions)
    step = int(np.asarray(states.step)[positions[0]])
    details = {
        "phase": int(run.phase),
        "done": step,
        "seeds": {str(seed): _inputs(session, phase, states, at) for seed, at in zip(seeds, positions, strict=True)},
    }
    directory = session.run_dir / FOLDER / f"{int(run.phase)}-{step:09d}"
    checkpoint.commit(checkpoint.begin_save(directory, run._replace(states=states, done=np.int32(step)), details))
    return step


def before_skipped(states: TrainState, positions: list[int]) -> TrainState:
    """The states before the steps that some seeds have just skipped: they have changed nothing but these counts."""
    at = np.asarray(positions)
    skipped = {name: np.array(count) for name, count in states.extra["skipped"].items()}
    step, in_a_row = np.array(states.step), skipped["in_a_row"][at]
    step[at] -= in_a_row
    skipped["total"][at] -= in_a_row
    skipped["in_a_row"][at] = 0
    # an earlier row that was as long as this one would have ended the run
    skipped["longest"][at] = 0
    return states._replace(step=step, extra=states.extra | {"skipped": skipped})


def _inputs(session: Session, phase: Phase, states: TrainState, position: int) -> dict[str, Any]:
    key, step = states.key[position], int(np.asarray(states.step)[position])
    rows = None
    if phase.batch_at is None:
        count = session.experiment.data.train.num_examples
        at = 0 if session.overfit_batch else step
        rows = row_indices(data_key(key), at, batch_size=phase.batch_size, num_examples=count)
    words = {"key": jax.random.fold_in(key, step), "data_key": data_key(key)}
    return {
        "step": step,
        **{name: np.asarray(jax.random.key_data(one)).tolist() for name, one in words.items()},
        "rows": None if rows is None else np.asarray(rows).tolist(),
    }
