"""A whole run: phases of chapters, decisions at chapter boundaries, checkpoints, evaluation, receipt."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import PyTree

from seqjax import checkpoint, parallel, train
from seqjax.errors import CheckpointError, Interrupted, NonFiniteError, UsageError
from seqjax.experiment import rundir
from seqjax.experiment.options import Options
from seqjax.experiment.progress import progress, say
from seqjax.experiment.source import make_source
from seqjax.types import Experiment, Key, Phase, TrainState

EVALUATION = 0x5EED  # folded into a seed's key for validation and evaluation
MAX_SKIPPED_IN_A_ROW = 10


class Run(NamedTuple):
    """All that a run continues from; what is saved and hashed. Arrays have the seed axis first.

    `best` holds parameters and extra of the best validation so far, and is empty where the last are kept.
    """

    phase: Array
    done: Array
    states: TrainState
    best: PyTree[Array]
    best_score: Array
    waited: Array
    active: Array


def phase_key(seed: int, phase: int) -> Key:
    return jax.random.fold_in(jax.random.key(seed), phase)


def evaluation_key(seed: int) -> Key:
    """The key of a seed's validation and evaluation, the same all through its run."""
    return jax.random.fold_in(jax.random.key(seed), EVALUATION)


def _stack(states: list[TrainState]) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def seed_state(states: TrainState, position: int) -> TrainState:
    """The state of one seed out of the batch of seeds."""
    return jax.tree.map(lambda leaf: leaf[position], states)


def selected(run: Run) -> TrainState:
    """The states to evaluate: the best where they were kept, else the last."""
    if not run.best:
        return run.states
    params, extra = run.best
    return run.states._replace(params=params, extra=extra)


def start_phase(experiment: Experiment, index: int, seeds: range, previous: Run | None) -> Run:
    """The run at the first step of a phase: from `learner.init`, or from what `enter` makes of the phase before."""
    phase = experiment.phases[index]
    if previous is None:
        keys = jnp.stack([phase_key(seed, index) for seed in seeds])
        # mapped, not vmapped: every seed gets the bits it would get alone
        states = jax.jit(lambda keys: lax.map(phase.learner.init, keys))(keys)
    elif phase.enter is None:
        states = selected(previous)
    else:
        before = selected(previous)
        states = _stack(
            [
                phase.enter(seed_state(before, position), experiment.data.train, phase_key(seed, index))
                for position, seed in enumerate(seeds)
            ]
        )
    count = len(seeds)
    return Run(
        jnp.int32(index),
        jnp.int32(0),
        states,
        jax.tree.map(jnp.copy, (states.params, states.extra)) if phase.keep_best else (),
        jnp.full(count, jnp.inf, jnp.float32),
        jnp.zeros(count, jnp.int32),
        jnp.ones(count, bool),
    )


def make_boundary(experiment: Experiment, phase: Phase, seeds: range) -> Any:
    """`(run, count) -> (run, scores [S])`: validation, keep-best and early stopping after `count` more steps."""
    keys = jnp.stack([evaluation_key(seed) for seed in seeds])

    def boundary(run: Run, count: Array, validation: Any) -> tuple[Run, Array]:
        def score(inputs: tuple[TrainState, Key]) -> Array:
            state, key = inputs
            return experiment.validate(train.averaged(state), validation, key)

        scores = lax.map(score, (run.states, keys)).astype(jnp.float32)
        better = run.active & (scores < run.best_score)
        best = run.best
        if phase.keep_best:
            candidates = (run.states.params, run.states.extra)
            best = jax.tree.map(
                lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), candidates, run.best
            )
        waited = jnp.where(run.active, jnp.where(better, 0, run.waited + 1), run.waited)
        active = run.active if phase.patience is None else run.active & (waited < phase.patience)
        best_score = jnp.where(better, scores, run.best_score)
        return Run(run.phase, run.done + count, run.states, best, best_score, waited, active), scores

    return jax.jit(boundary, donate_argnums=0)


class Session(NamedTuple):
    """What a run needs beside its arrays."""

    experiment: Experiment
    options: Options
    run_dir: Path
    devices: list[jax.Device]
    driver: Any
    seed_plan: train.SeedPlan
    stop_requested: Any
    started: float
    timing: dict[str, float]

    @property
    def seeds(self) -> range:
        return range(self.options.seed, self.options.seed + self.options.seeds)


@contextmanager
def stop_signals() -> Iterator[Any]:
    """A function that says whether SIGTERM or SIGINT has come; a second one ends the process at once."""
    received: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if received:
            raise SystemExit(128 + number)
        received.append(number)

    previous = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def save(session: Session, run: Run) -> checkpoint.PendingSave:
    index, done = int(run.phase), int(run.done)
    elapsed = session.timing["earlier_s"] + time.monotonic() - session.started
    details = {"phase": index, "done": done, "elapsed_s": elapsed}
    return checkpoint.begin_save(session.run_dir / "checkpoints" / f"{index}-{done:09d}", run, details)


def restore(run_dir: Path, experiment: Experiment, seeds: range) -> checkpoint.Restored | None:
    """The newest run that verifies; `None` where nothing was ever saved."""
    abstract = {}
    for index in range(len(experiment.phases)):
        abstract[index] = jax.eval_shape(lambda i=index: start_phase(experiment, i, seeds, None))
    return checkpoint.restore_newest(run_dir / "checkpoints", abstract)


def restore_or_start(session: Session) -> Run:
    """The newest run that verifies, or the start of the first phase where nothing was ever saved."""
    experiment, run_dir = session.experiment, session.run_dir
    restored = restore(run_dir, experiment, session.seeds)
    if restored is None:
        if rundir.read_metrics(run_dir):
            raise CheckpointError(
                f"{run_dir}: metrics.jsonl has lines but no checkpoint can be trusted.\n"
                "Put a checkpoint back from a copy, or start again with another --run-dir."
            )
        rundir.rewind_metrics(run_dir, -1, 0)
        run = start_phase(experiment, 0, session.seeds, None)
        checkpoint.commit(save(session, run))
        return run
    for line in restored.skipped:
        say(f"checkpoint skipped: {line}")
    run = restored.tree
    session.timing["earlier_s"] = float(restored.details["elapsed_s"])
    rundir.rewind_metrics(run_dir, int(run.phase), int(run.done))
    say(f"continues {run_dir} at phase {experiment.phases[int(run.phase)].name}, step {int(run.done)}")
    return run


def train_phases(session: Session, run: Run) -> Run:
    """Runs what is left of all phases."""
    for index in range(int(run.phase), len(session.experiment.phases)):
        if index > int(run.phase):
            run = start_phase(session.experiment, index, session.seeds, run)
            checkpoint.commit(save(session, run))
        run = _train_phase(session, run, session.experiment.phases[index])
    return run


def _train_phase(session: Session, run: Run, phase: Phase) -> Run:
    log_every = session.options.log_every or phase.chapter_steps
    if phase.chapter_steps % log_every:
        raise UsageError(f"--log-every {log_every}: expected a divisor of the chapter, {phase.chapter_steps} steps.")
    axis_name = None if session.driver == "jit" else parallel.AXIS
    num_shards = len(session.devices)
    if phase.batch_size % num_shards:
        raise UsageError(f"a batch of {phase.batch_size} does not divide over {num_shards} devices.")
    source = make_source(session.experiment.data.train, phase, session.devices, stream=session.options.stream)
    chapter = train.make_chapter(
        phase.learner, source.fetch, length=source.length, seed_plan=session.seed_plan, axis_name=axis_name
    )
    dispatch = parallel.distribute(chapter, session.devices, session.driver)
    boundary = make_boundary(session.experiment, phase, session.seeds)
    validation = jax.tree.map(jnp.asarray, session.experiment.data.validation)
    pending, saved_at = None, time.monotonic()
    with progress(phase.name, int(run.done)) as report:
        while int(run.done) < phase.steps and bool(run.active.any()):
            done = int(run.done)
            count = min(phase.chapter_steps, phase.steps - done)
            active = np.asarray(run.active)
            states, metrics = _chapter(session, run, dispatch, source, done, count)
            _stop_on_non_finite(states, active, session, done + count)
            run, scores = boundary(run._replace(states=states), jnp.int32(count), validation)
            if phase.refresh is not None and int(run.done) % (phase.refresh_every or phase.chapter_steps) == 0:
                refreshed = [
                    phase.refresh(seed_state(run.states, i), session.experiment.data.train)
                    for i in range(len(session.seeds))
                ]
                run = run._replace(states=_stack(refreshed))
            rows = metric_rows(int(run.phase), done, count, log_every, metrics, active)
            rows[-1]["validation"] = [float(s) if a else None for s, a in zip(scores, active, strict=True)]
            rundir.append_metrics(session.run_dir, rows)
            report(done + count, phase.steps, _means(rows[-1]))
            stopping = session.stop_requested()
            if stopping or time.monotonic() - saved_at >= session.options.save_every:
                if pending is not None:
                    checkpoint.commit(pending)
                pending, saved_at = save(session, run), time.monotonic()
            if stopping:
                checkpoint.commit(pending)
                raise Interrupted(
                    f"stopped by a signal at step {done + count}, saved in {session.run_dir}.\n"
                    "Run the same command to continue."
                )
    if pending is not None:
        checkpoint.commit(pending)
    checkpoint.commit(save(session, run))
    return run


def _chapter(
    session: Session, run: Run, dispatch: Any, source: Any, done: int, count: int
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """One chapter in as many dispatches as the source asks for, at most 16 in flight."""
    states, parts = run.states, []
    for start, part in source.parts(states, done, count):
        begin = time.monotonic()
        length = min(source.length, done + count - start)
        states, metrics = dispatch(states, run.active, jnp.int32(length), part)
        session.timing.setdefault("compile_s", time.monotonic() - begin)
        parts.append((length, metrics))
        if len(parts) % 16 == 0:
            jax.block_until_ready(states)
    gathered = [jax.tree.map(lambda m, n=length: np.asarray(m)[:, :n], metrics) for length, metrics in parts]
    return states, jax.tree.map(lambda *ms: np.concatenate(ms, axis=1), *gathered)


def metric_rows(
    phase: int, done: int, count: int, log_every: int, metrics: dict[str, np.ndarray], active: np.ndarray
) -> list[dict[str, Any]]:
    """Means over windows of `log_every` steps, one line each, as lists over seeds: null for those that stand still."""
    rows = []
    for start in range(0, count, log_every):
        stop = min(start + log_every, count)
        row: dict[str, Any] = {"phase": phase, "step": done + stop}
        for name, values in metrics.items():
            means = values[:, start:stop].mean(axis=1, dtype=np.float64)
            row[name] = [float(v) if a else None for v, a in zip(means, active, strict=True)]
        rows.append(row)
    return rows


def _means(row: dict[str, Any]) -> dict[str, float]:
    shown = {}
    for name, values in row.items():
        if isinstance(values, list):
            known = [v for v in values if v is not None]
            shown[name] = sum(known) / max(1, len(known))
    return shown


def _stop_on_non_finite(states: TrainState, active: np.ndarray, session: Session, step: int) -> None:
    in_a_row = np.asarray(states.extra["skipped"]["in_a_row"])
    for seed, is_active, skipped in zip(session.seeds, active, in_a_row, strict=True):
        if is_active and skipped >= MAX_SKIPPED_IN_A_ROW:
            raise NonFiniteError(
                f"seed {seed}: loss or gradient not finite in the last {skipped} steps before step {step}; "
                f"the last good checkpoint stays in {session.run_dir}.\n"
                "Lower --learning-rate or set --clip-norm, with a new --run-dir."
            )
