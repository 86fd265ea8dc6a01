"""One step of a run once more, operation by operation: what it was given, and where its values cease to be finite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seqjax import checkpoint
from seqjax.data.batches import batch_at
from seqjax.errors import CheckpointError, UsageError
from seqjax.experiment import rundir
from seqjax.experiment import state as runs
from seqjax.experiment.flight import FOLDER
from seqjax.experiment.loading import config_from
from seqjax.experiment.progress import say
from seqjax.experiment.source import data_key
from seqjax.train.non_finite import first_non_finite
from seqjax.types import Batch, Experiment, Phase, TrainState


def replay(target: str, name: str, config_type: type, build: Callable[[Any], Experiment]) -> bool:
    """Runs the step that follows step S of a run, for `target` `RUN@S`, and says what it gave; whether it was finite.

    It begins from the flight record or the checkpoint at S, else from the newest one before S, of the newest phase that
    has one; the steps between are run again first. Nothing is written.
    Raises UsageError for what names no step of such a run, and CheckpointError where nothing before it can be trusted.
    """
    run_dir, step = _parsed(target)
    description = rundir.read_description(run_dir)
    if description["experiment"] != name:
        raise UsageError(
            f"--replay {target}: is a run of {description['experiment']}, expected one of {name}.\n"
            f"Use python -m experiments.{description['experiment']}."
        )
    experiment = build(config_from(config_type, description["config"]))
    plan = description["plan"]
    seeds = range(plan["seed"], plan["seed"] + plan["seeds"])
    found = _before(run_dir, step, runs.abstract_runs(experiment, seeds))
    phase = experiment.phases[int(found.tree.phase)]
    chosen = [seed for seed in seeds if str(seed) in found.details.get("seeds", map(str, seeds))]
    say(f"phase {phase.name}, from step {int(found.tree.done)} of {run_dir}")
    finite = [_one_seed(phase, experiment, found.tree, seeds.index(seed), seed, step) for seed in chosen]
    return all(finite)


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


def _one_seed(phase: Phase, experiment: Experiment, run: runs.Run, position: int, seed: int, step: int) -> bool:
    state = runs.seed_state(run.states, position)

    def batch_of(state: TrainState) -> Batch:
        batch = phase.batch_at or batch_at
        return batch(experiment.data.train, data_key(state.key), state.step, batch_size=phase.batch_size)

    # on one device and as one shard: where the run had several its sums may differ in the last bits
    forward = jax.jit(lambda state: phase.learner.step(state, batch_of(state))[0])
    while int(state.step) < step:
        state = forward(state)
    batch = jax.jit(batch_of)(state)
    say(f"seed {seed}, step {step}: {_shown_batch(batch)}")

    def metrics_of(given: dict[str, Any]) -> dict[str, Any]:
        return phase.learner.step(given["state"], given["batch"])[1]

    origins = first_non_finite(metrics_of, {"state": state, "batch": batch})
    if not origins:
        values = metrics_of({"state": state, "batch": batch})
        say("  all finite: " + ", ".join(f"{name} {float(value):.5g}" for name, value in values.items()))
    for origin in dict.fromkeys(origins.values()):
        names = [path[2:-2] for path, other in origins.items() if other == origin]
        say(f"  not finite: {', '.join(names)}\n  first: {origin}")
    return not origins


def _shown_batch(batch: Batch) -> str:
    rows = np.asarray(batch["index"]).tolist() if "index" in batch else []
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    fields = ", ".join(f"{name} {list(field.shape)}" for name, field in batch.items() if name != "index")
    return f"{fields}; rows {shown}" if rows else fields
