"""Training: phase after phase, chapter after chapter, with a line of metrics and perhaps a checkpoint after each."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from seqjax import checkpoint, parallel
from seqjax.errors import Interrupted, NonFiniteError, SaveError, UsageError, require
from seqjax.experiment import flight, rundir
from seqjax.experiment.programs import MAX_SKIPPED_IN_A_ROW, make_programs, run_chapter
from seqjax.experiment.progress import say
from seqjax.experiment.session import Plan, Session
from seqjax.experiment.state import (
    Run,
    needs_refresh,
    off_mesh,
    on_mesh,
    refreshed,
    save,
    start_phase,
    windows,
)
from seqjax.types import Experiment, Phase


def train_phases(session: Session, run: Run) -> Run:
    """Runs what is left of all phases."""
    for index in range(int(run.phase), len(session.experiment.phases)):
        if index > int(run.phase):
            run = start_phase(session.experiment, index, session.plan.seed_range, run, session.peers)
            _save_now(session, run)
        run = _train_phase(session, run, session.experiment.phases[index])
    return run


def check_phases(experiment: Experiment, plan: Plan) -> None:
    """Raises UsageError for phases that cannot run as planned."""
    shares = plan.devices // plan.seed_devices
    parts = parallel.VIRTUAL_SHARDS if plan.reproducible else shares
    for phase in experiment.phases:
        if experiment.data.validation.num_examples == 0 and (phase.keep_best or phase.patience is not None):
            raise UsageError("keep_best and patience need a validation split, and this one is empty.")
        require(0 <= phase.steps < 2**31, "steps", phase.steps, "0 to 2147483647")
        require(1 <= phase.batch_size < 2**31, "batch_size", phase.batch_size, "1 to 2147483647")
        require(phase.chapter_steps >= 1, "chapter_steps", phase.chapter_steps, "at least 1")
        require(phase.patience is None or phase.patience >= 1, "patience", phase.patience, "at least 1")
        if phase.finished is not None and phase.refresh is None:
            raise UsageError(f"phase {phase.name} is asked whether it has finished after a refresh, and has none.")
        every = phase.refresh_every or phase.chapter_steps
        require(every % phase.chapter_steps == 0, "refresh_every", every, f"a multiple of {phase.chapter_steps} steps")
        if phase.batch_size % parts:
            into = "virtual shards of --reproducible" if plan.reproducible else "devices"
            raise UsageError(
                f"a batch of {phase.batch_size} does not divide over {parts} {into}.\n"
                f"Ask for a --batch-size that is a multiple of {parts}, or for other --devices or --seeds."
            )
        if plan.log_every is not None and phase.chapter_steps % plan.log_every:
            raise UsageError(
                f"--log-every {plan.log_every}: expected a divisor of the chapter, {phase.chapter_steps} steps."
            )


def _train_phase(session: Session, run: Run, phase: Phase) -> Run:
    plan, layout, data = session.plan, session.layout, session.experiment.data
    log_every = plan.log_every or phase.chapter_steps
    programs = make_programs(session, phase)
    # where dispatches leave it: with any other placement the second chapter would compile again
    run = on_mesh(run, layout)
    peers, pending, saved_at = session.peers, None, time.monotonic()
    done = saved = int(run.done)  # what comes in was found as a checkpoint, or has just become one
    active, skipped, unwritten = _active(run, plan.seeds), _skipped_so_far(run, plan.seeds), []
    with session.reporter(phase.name, done) as report, ThreadPoolExecutor(1) as saver:
        while done < phase.steps and active.any():
            count = min(phase.chapter_steps, phase.steps - done)
            states, metrics = run_chapter(session, programs, run, done, count)
            _stop_on_non_finite(run._replace(states=states), active, session)
            run, scores = programs.boundary(run._replace(states=states), jnp.int32(count), programs.validation)
            if needs_refresh(run, phase):
                run = on_mesh(refreshed(off_mesh(run, plan.seeds), phase, data.train, peers), layout)
            rows = metric_rows(int(run.phase), done, count, log_every, metrics, active)
            scores = np.asarray(parallel.local(scores))[: plan.seeds]
            rows[-1]["validation"] = [float(s) if a else None for s, a in zip(scores, active, strict=True)]
            now_skipped = _skipped_so_far(run, plan.seeds)
            if (now_skipped > skipped).any():
                rows[-1]["skipped"] = (now_skipped - skipped).tolist()
            done, active, skipped = done + count, _active(run, plan.seeds), now_skipped
            if peers.is_first:
                unwritten = _unwritten(session, unwritten, rows)
                session.track(rows)
            report(done, phase.steps, _means(rows[-1]))
            # the clock that counts is the first one's
            due = peers.is_first and time.monotonic() - saved_at >= session.save_every
            stopping, saving = peers.any_of([session.stop_requested(), due])
            if stopping or saving:
                whole, score = off_mesh(run, plan.seeds), _means(rows[-1]).get("validation")
                if peers.is_first:
                    saved, pending = _saved(session, pending, saved), None
                    if stopping:
                        # who is told to run it again has to find it saved
                        rundir.append_metrics(session.run_dir, unwritten)
                        checkpoint.commit(save(session, whole, score), retention=session.retention)
                    elif not unwritten:
                        pending = _saving(session, saver, whole, score)
                saved_at = time.monotonic()
            if stopping:
                raise Interrupted(
                    f"stopped by a signal at step {done}, saved in {session.run_dir}.\n"
                    "Run the same command to continue."
                )
        saved = _saved(session, pending, saved)
    _check_replicas(run)
    run = off_mesh(run, plan.seeds)
    if peers.is_first:
        rundir.append_metrics(session.run_dir, unwritten)
    if saved != done:
        _save_now(session, run)
    return run


def _unwritten(session: Session, before: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Writes lines of metrics, after those that could not be written before; those that still are not."""
    try:
        rundir.append_metrics(session.run_dir, [*before, *rows])
    except SaveError as error:
        if not session.goes_on_unsaved:
            raise
        if not before:
            say(f"goes on unsaved: {str(error).splitlines()[0]}")
        return [*before, *rows]
    return []


class Pending(NamedTuple):
    """A save that is written while training goes on, and the step that it is of."""

    step: int
    future: Future


def _saving(session: Session, saver: ThreadPoolExecutor, run: Run, score: float | None) -> Pending | None:
    """Begins to save the run and lets it be committed as soon as it is written; `None` where there is no room."""
    with _told_if_unsaved(session):
        begun = save(session, run, score)
        return Pending(int(run.done), saver.submit(checkpoint.commit, begun, retention=session.retention))
    return None


def _saved(session: Session, pending: Pending | None, before: int) -> int:
    """Waits for a save; the newest step that is saved then."""
    if pending is not None:
        with _told_if_unsaved(session):
            pending.future.result()
            return pending.step
    return before


@contextmanager
def _told_if_unsaved(session: Session) -> Iterator[None]:
    try:
        yield
    except SaveError as error:
        if not session.goes_on_unsaved:
            raise
        say(f"goes on unsaved: {str(error).splitlines()[0]}")


def _save_now(session: Session, run: Run) -> None:
    if session.peers.is_first:
        checkpoint.commit(save(session, run), retention=session.retention)


def _active(run: Run, count: int) -> np.ndarray:
    """Which of the seeds that were asked for still train."""
    return np.asarray(parallel.local(run.active))[:count]


def _check_replicas(run: Run) -> None:
    names = parallel.differing_replicas(run)
    if names:
        raise AssertionError(f"devices disagree on {names[0]} and {len(names) - 1} more arrays")


def metric_rows(
    phase: int, done: int, count: int, log_every: int, metrics: dict[str, np.ndarray], active: np.ndarray
) -> list[dict[str, Any]]:
    """Means over windows of `log_every` steps, one line each, as lists over seeds: null for those that stand still.

    What is not finite is left out of the means, which are null where nothing is left.
    """
    rows = []
    for start, end in windows(done, count, log_every):
        row: dict[str, Any] = {"phase": phase, "step": end}
        for name, values in metrics.items():
            own = values[:, start - done : end - done]
            finite = np.isfinite(own)
            sums, number = np.where(finite, own, 0).sum(axis=1, dtype=np.float64), finite.sum(axis=1)
            means = np.divide(sums, number, out=np.full(len(sums), np.nan), where=number > 0)
            row[name] = [float(v) if a else None for v, a in zip(means, active, strict=True)]
        rows.append(row)
    return rows


def _skipped_so_far(run: Run, count: int) -> np.ndarray:
    return np.asarray(parallel.local(run.states.extra["skipped"]["total"]))[:count]


def _means(row: dict[str, Any]) -> dict[str, float]:
    shown = {}
    for name, values in row.items():
        if isinstance(values, list):
            known = [v for v in values if v is not None]
            shown[name] = sum(known) / max(1, len(known))
    return shown


def _stop_on_non_finite(run: Run, active: np.ndarray, session: Session) -> None:
    """Raises NonFiniteError, after a flight record, where a seed stands still since it skipped too many steps."""
    in_a_row = np.asarray(parallel.local(run.states.extra["skipped"]["in_a_row"]))
    stuck = [
        seed
        for seed, is_active, skipped in zip(session.plan.seed_range, active, in_a_row, strict=False)
        if is_active and skipped >= MAX_SKIPPED_IN_A_ROW
    ]
    if not stuck:
        return
    whole = off_mesh(run, session.plan.seeds)
    steps = {seed: int(np.asarray(whole.states.step)[session.plan.seed_range.index(seed)]) for seed in stuck}
    began = ", ".join(f"seed {seed} up to step {step}" for seed, step in steps.items())
    look = ""
    if session.peers.is_first:
        try:
            look = f", --replay {session.run_dir}@{flight.record(session, whole, stuck)} to see where it began"
        except SaveError as error:
            say(f"no flight record: {str(error).splitlines()[0]}")
    raise NonFiniteError(
        f"loss, gradient or update not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row: {began}; "
        f"the last good checkpoint stays in {session.run_dir}.\n"
        f"Lower --learning-rate or set --clip-norm, with a new --run-dir{look}."
    )
