"""One step of a run once more, operation by operation: what it was given, and where its values cease to be finite."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import checkpoint
from seqjax.data.batches import batch_at
from seqjax.errors import CheckpointError, UsageError
from seqjax.experiment import rundir
from seqjax.experiment import state as runs
from seqjax.experiment.flight import FOLDER
from seqjax.experiment.loading import built_again, config_from
from seqjax.experiment.progress import say
from seqjax.experiment.source import data_key
from seqjax.train.non_finite import first_non_finite
from seqjax.types import Batch, Experiment, Phase, TrainState


def replay(target: str, name: str, config_type: type, build: Callable[[Any], Experiment]) -> bool:
    """Runs the step that follows step S of a run, for `target` `RUN@S`, and says what it gave; whether it was finite.

    It begins from the flight record or the checkpoint at S, else from the newest one before S, of the newest phase that
    has one; the steps between are run again first. From a record each of its seeds is run at its own step. Nothing is
    written.
    Raises UsageError for what names no step of such a run and where its data have changed since, and CheckpointError
    where nothing before it can be trusted.
    """
    run_dir, step = _parsed(target)
    description = rundir.read_description(run_dir)
    if description["experiment"] != name:
        raise UsageError(
            f"--replay {target}: is a run of {description['experiment']}, expected one of {name}.\n"
            f"Use python -m experiments.{description['experiment']}."
        )
    experiment = built_again(run_dir, description, config_from(config_type, description["config"]), build)
    plan = description["plan"]
    seeds = range(plan["seed"], plan["seed"] + plan["seeds"])
    found = _before(run_dir, step, runs.abstract_runs(experiment, seeds))
    phase = experiment.phases[int(found.tree.phase)]
    if step >= phase.steps:
        raise UsageError(
            f"--replay {target}: phase {phase.name} has {phase.steps} steps, expected 0 to {phase.steps - 1}."
        )
    say(f"phase {phase.name}, from step {int(found.tree.done)} of {run_dir}")
    own_steps = _recorded_steps(found, step) or dict.fromkeys(seeds, step)
    overfit_batch = description.get("overfit_batch") is True
    finite = [
        _one_seed(phase, experiment, found.tree, seeds.index(seed), seed, own, overfit_batch)
        for seed, own in own_steps.items()
    ]
    return all(finite)


def _recorded_steps(found: checkpoint.Restored, step: int) -> dict[int, int]:
    """The step of each seed that a record is about; nothing where it is none, or of an earlier step."""
    match found.details:
        case {"done": int(done), "seeds": dict(recorded)} if done == step:
            return {int(seed): int(one["step"]) for seed, one in recorded.items()}
    return {}


def _parsed(target: str) -> tuple[Path, int]:
    run_dir, _, step = target.rpartition("@")
    if not (run_dir and step.isdecimal() and len(step) < 10):
        raise UsageError(f"--replay {target!r}: expected RUN@STEP, a run directory and the steps done before.")
    return Path(run_dir), int(step)


def _before(run_dir: Path, step: int, abstract: dict[int, Any]) -> checkpoint.Restored:
    """The trusted record or checkpoint that is nearest before the step."""
    candidates = [
        directory
        for root in (run_dir / FOLDER, run_dir / "checkpoints")
        for directory in checkpoint.checkpoints(root)
        if checkpoint.numbers(directory)[1] <= step
    ]
    # a record, which comes first, goes before a checkpoint of the same step
    candidates.sort(key=checkpoint.numbers, reverse=True)
    reasons = []
    for directory in candidates:
        try:
            return checkpoint.restore(directory, abstract)
        except checkpoint.Untrusted as reason:
            reasons.append(f"{directory.name}: {reason}")
    raise CheckpointError(
        f"{run_dir}: has no checkpoint at step {step} or before that can be trusted ({'; '.join(reasons) or 'none'}).\n"
        "Name a later step; --keep and --keep-every keep more of them."
    )


def _one_seed(
    phase: Phase, experiment: Experiment, run: runs.Run, position: int, seed: int, step: int, overfit_batch: bool
) -> bool:
    state = runs.seed_state(run.states, position)

    def batch_of(state: TrainState) -> Batch:
        batch = phase.batch_at or batch_at
        at = jnp.zeros_like(state.step) if overfit_batch else state.step
        return batch(experiment.data.train, data_key(state.key), at, batch_size=phase.batch_size)

    # on one device and as one shard: where the run had several its sums may differ in the last bits
    forward = jax.jit(lambda state: phase.learner.step(state, batch_of(state))[0])
    every = phase.refresh_every or phase.chapter_steps
    while int(state.step) < step:
        state = forward(state)
        if phase.refresh is not None and int(state.step) % every == 0:
            state = phase.refresh(state, experiment.data.train)
    batch = jax.jit(batch_of)(state)
    say(f"seed {seed}, step {step}: {_shown_batch(batch)}")

    def stepped(given: dict[str, Any]) -> dict[str, Any]:
        after, metrics = phase.learner.step(given["state"], given["batch"], guarded=False)
        return {"metrics": metrics, "params": after.params}

    given = {"state": state, "batch": batch}
    origins = first_non_finite(stepped, given)
    if not origins:
        values = stepped(given)["metrics"]
        say("  all finite: " + ", ".join(f"{name} {float(value):.5g}" for name, value in values.items()))
    measures = {path: origin for path, origin in origins.items() if path.startswith("['metrics']")}
    # what is wrong with the measures is wrong with all parameters after it
    shown = measures or origins
    for origin in dict.fromkeys(shown.values()):
        names = [_shown_path(path) for path, other in shown.items() if other == origin]
        say(f"  not finite: {', '.join(names)}\n  first: {origin}")
    return not origins


def _shown_path(path: str) -> str:
    """`['metrics']['loss']` as `loss`, `['params']['dense']['kernel']` as `params dense kernel`."""
    parts = re.findall(r"\['?([^'\]]+)'?\]|\.(\w+)", path.removeprefix("['metrics']"))
    return " ".join(bracketed or dotted for bracketed, dotted in parts)


def _shown_batch(batch: Batch) -> str:
    rows = np.asarray(batch["index"]).tolist() if "index" in batch else []
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    fields = ", ".join(f"{name} {list(field.shape)}" for name, field in batch.items() if name != "index")
    return f"{fields}; rows {shown}" if rows else fields
