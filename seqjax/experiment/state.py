"""The arrays of a run at a chapter boundary: how they start, what is decided there, how they are saved and found."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Int, PyTree, Shaped

from seqjax import checkpoint, parallel, train
from seqjax.errors import CheckpointError, UsageError
from seqjax.experiment import rundir
from seqjax.experiment.progress import say
from seqjax.experiment.session import Session
from seqjax.parallel import ALONE, Layout, Peers
from seqjax.types import Experiment, Key, Phase, Split, TrainState

EVALUATION = 0x5EED  # folded into a seed's key for validation and evaluation


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


def phase_key(seed: int | Int[Array, ""], phase: int) -> Key:
    return jax.random.fold_in(jax.random.key(seed), phase)


def evaluation_key(seed: int | Int[Array, ""]) -> Key:
    """The key of a seed's validation and evaluation, the same all through its run."""
    return jax.random.fold_in(jax.random.key(seed), EVALUATION)


def _stack(states: list[TrainState]) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@jax.jit
def seed_state(states: TrainState, position: int | Array) -> TrainState:
    """The state of one seed out of the batch of seeds, by one program for all arrays and seeds."""
    # to the check for keys used twice a slice uses up all keys of an array, an index that is an array only its own
    return jax.tree.map(lambda leaf: leaf[position], states)


def selected(run: Run) -> TrainState:
    """The states to evaluate: the best where they were kept, else the last."""
    if not run.best:
        return run.states
    params, extra = run.best
    return run.states._replace(params=params, extra=extra)


def start_phase(experiment: Experiment, index: int, seeds: range, previous: Run | None, peers: Peers = ALONE) -> Run:
    """The run at the first step of a phase: from `learner.init`, or from what `enter` makes of the phase before.

    All processes have the first one's.
    """
    started = _started(experiment, index, seeds, previous) if peers.is_first else None
    return started if peers.count == 1 else peers.tree_from_first(started, _like(experiment, index, seeds))


def _like(experiment: Experiment, index: int, seeds: range) -> Run:
    """Shapes and types of the run in a phase."""
    return jax.eval_shape(lambda: _started(experiment, index, seeds, None))


def _started(experiment: Experiment, index: int, seeds: range, previous: Run | None) -> Run:
    phase = experiment.phases[index]
    if previous is None:
        keys = jax.vmap(lambda seed: phase_key(seed, index))(jnp.asarray(seeds))
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
    _require_states_of(phase, states)
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


def _require_states_of(phase: Phase, states: TrainState) -> None:
    """Raises UsageError where a phase begins with other arrays than its learner makes: it could not be restored."""
    expected = jax.eval_shape(phase.learner.init, jax.eval_shape(lambda: jax.random.key(0)))
    if jax.tree.structure(states) != jax.tree.structure(expected):
        raise UsageError(
            f"phase {phase.name} begins with {jax.tree.structure(states)}, expected what its learner's init makes: "
            f"{jax.tree.structure(expected)}."
        )


# where a run's arrays lie on a mesh
BY_SEED = Run(P(), P(), *[P(parallel.SEED)] * 5)


def on_mesh(run: Run, layout: Layout) -> Run:
    """The run on a layout's devices, filled up with seeds that stand still to as many as these share out equally."""
    places = layout.seeds_filled_up(len(run.active))
    if places > len(run.active):
        run = _filled_up(run, places)
    return Run(*(parallel.placed(own, layout.mesh, spec) for own, spec in zip(run, BY_SEED, strict=True)))


@partial(jax.jit, static_argnames="places")
def _filled_up(run: Run, places: int) -> Run:
    count = len(run.active)
    seeds = jnp.minimum(jnp.arange(places), count - 1)
    run = jax.tree.map(lambda leaf: leaf[seeds] if leaf.ndim else leaf, run)
    return run._replace(active=run.active & (jnp.arange(places) < count))


def off_mesh(run: Run, count: int) -> Run:
    """The whole run of the `count` seeds that were asked for, on the first device of this process."""
    run = parallel.local(run)
    return run if len(run.active) == count else _first_seeds(run, count)


@partial(jax.jit, static_argnames="count")
def _first_seeds(run: Run, count: int) -> Run:
    return jax.tree.map(lambda leaf: leaf[:count] if leaf.ndim else leaf, run)


class Boundary(NamedTuple):
    """`(run, count, validation) -> (run, scores [S])`, by one program; the run is one `on_mesh`, and is donated.

    keys: of the evaluation of each seed.
    """

    program: Any
    keys: Shaped[Key, "S"]
    layout: Layout

    def __call__(self, run: Run, count: Array, validation: Split) -> tuple[Run, Array]:
        with parallel.sharing_rows(self.layout):
            return self.program(run, self.keys, count, validation)

    def compiled(self, run: Run, count: Array, validation: Split) -> jax.stages.Compiled:
        """The program for such arguments, to look at."""
        with parallel.sharing_rows(self.layout):
            return self.program.lower(run, self.keys, count, validation).compile()


def make_boundary(experiment: Experiment, phase: Phase, seeds: range, layout: Layout) -> Boundary:
    """Validation, keep-best and early stopping after `count` more steps."""
    numbers = [*seeds, *[seeds[-1]] * (layout.seeds_filled_up(len(seeds)) - len(seeds))]
    all_keys = jax.vmap(evaluation_key)(jnp.asarray(numbers))

    def boundary(run: Run, keys: Shaped[Key, "S"], count: Array, validation: Any) -> tuple[Run, Array]:
        def score(inputs: tuple[TrainState, Key]) -> Array:
            state, key = inputs
            return experiment.validate(train.averaged(state), validation, key)

        if validation.num_examples == 0:
            scores = jnp.full(len(run.active), jnp.nan, jnp.float32)
        else:
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

    by_seed = P(parallel.SEED)
    in_specs, out_specs = (BY_SEED, by_seed, P(), P()), (BY_SEED, by_seed)
    mapped = parallel.over_seeds(boundary, layout, in_specs, out_specs)
    return Boundary(mapped, parallel.placed(all_keys, layout.mesh, by_seed), layout)


def needs_refresh(run: Run, phase: Phase) -> bool:
    return phase.refresh is not None and int(run.done) % (phase.refresh_every or phase.chapter_steps) == 0


def refreshed(run: Run, phase: Phase, split: Split, peers: Peers = ALONE) -> Run:
    """The run after `phase.refresh` of every seed, each on a device of its own where there are several; a seed that has
    `finished` with it stops. All processes have the first one's.
    """
    return peers.tree_from_first(_refreshed(run, phase, split) if peers.is_first else None, run)


def _refreshed(run: Run, phase: Phase, split: Split) -> Run:
    devices = jax.local_devices()

    def of_seed(position: int, active: bool) -> TrainState:
        state = seed_state(run.states, position)
        if not active:
            return state  # a seed that has stopped stands still
        return phase.refresh(jax.device_put(state, devices[position % len(devices)]), split)

    refreshed_states = [of_seed(position, active) for position, active in enumerate(np.asarray(run.active).tolist())]
    run = run._replace(states=_stack(parallel.local(refreshed_states)))
    if phase.finished is None:
        return run
    going_on = [not phase.finished(state) for state in refreshed_states]
    return run._replace(active=run.active & jnp.asarray(going_on))


def save(session: Session, run: Run, validation: float | None = None) -> checkpoint.PendingSave:
    """Begins to save the run; `validation`, a mean over seeds, says how good it is. Raises SaveError."""
    index, done = int(run.phase), int(run.done)
    rundir.sync_metrics(session.run_dir)
    details = {
        "phase": index,
        "done": done,
        "elapsed_s": session.elapsed(),
        "validation": validation,
        "made_by": dict(session.made_by),
    }
    return checkpoint.begin_save(session.run_dir / "checkpoints" / f"{index}-{done:09d}", run, details)


def restore(run_dir: Path, experiment: Experiment, seeds: range) -> checkpoint.Restored | None:
    """The newest run that verifies; `None` where nothing was ever saved."""
    return checkpoint.restore_newest(run_dir / "checkpoints", abstract_runs(experiment, seeds))


def abstract_runs(experiment: Experiment, seeds: range) -> dict[int, Run]:
    """Shapes and types of the run in each phase."""
    return {index: _like(experiment, index, seeds) for index in range(len(experiment.phases))}


def restore_or_start(session: Session) -> Run:
    """The newest run that verifies, or the start of the first phase where nothing was ever saved.

    All processes have what the first one finds.
    """
    peers, experiment = session.peers, session.experiment
    run = _restored_or_started(session) if peers.is_first else None
    if peers.count == 1:
        return run
    index = peers.from_first("phase", lambda: int(run.phase))
    return peers.tree_from_first(run, _like(experiment, index, session.plan.seed_range))


def _restored_or_started(session: Session) -> Run:
    experiment, run_dir = session.experiment, session.run_dir
    restored = restore(run_dir, experiment, session.plan.seed_range)
    if restored is None:
        begin = _forked if session.origin else _anew
        run, rows = begin(session)
        if rundir.read_metrics(run_dir) not in ([], rows):
            raise CheckpointError(
                f"{run_dir}: metrics.jsonl has lines but no checkpoint can be trusted.\n"
                "Put a checkpoint back from a copy, or start again with another --run-dir."
            )
        rundir.write_metrics(run_dir, rows)
        checkpoint.commit(save(session, run), retention=session.retention)
        return run
    for line in restored.skipped:
        say(f"checkpoint skipped: {line}")
    run = restored.tree
    elapsed = restored.details.get("elapsed_s")
    session.timing["earlier_s"] = float(elapsed) if isinstance(elapsed, int | float) else 0.0
    # the lines after the checkpoint are written again
    ends = [line_steps(phase, session.plan.log_every) for phase in experiment.phases]
    rundir.write_metrics(run_dir, rundir.metrics_until(run_dir, int(run.phase), int(run.done), ends))
    say(f"continues {run_dir} at phase {experiment.phases[int(run.phase)].name}, step {int(run.done)}")
    for line in _changed_since(restored.details.get("made_by"), session.made_by):
        say(f"continues with {line}")
    return run


def line_steps(phase: Phase, log_every: int | None) -> list[int]:
    """The steps of a phase at which a line of metrics stands, where it is not ended early."""
    return [
        end
        for done in range(0, phase.steps, phase.chapter_steps)
        for _, end in windows(done, min(phase.chapter_steps, phase.steps - done), log_every or phase.chapter_steps)
    ]


def windows(done: int, count: int, log_every: int) -> list[tuple[int, int]]:
    """First step and end of each line of metrics in a chapter of `count` steps that follows `done` steps."""
    return [(start, min(start + log_every, done + count)) for start in range(done, done + count, log_every)]


def _changed_since(saved: Any, now: Mapping[str, Any]) -> list[str]:
    """What is not as it was when a checkpoint was made, on which its bits may depend."""
    match saved:
        case {"code_sha256": str(code), "versions": dict(before)}:
            changed = [f"{name} {v}, which was {before[name]}" for name, v in now["versions"].items()
                       if before.get(name, v) != v]  # fmt: skip
            if code != now["code_sha256"]:
                changed.insert(
                    0, "other code than made the checkpoint; its bits may be others than those of an unbroken run"
                )
            return changed
    return []


def _anew(session: Session) -> tuple[Run, list[dict[str, Any]]]:
    return _started(session.experiment, 0, session.plan.seed_range, None), []


def _forked(session: Session) -> tuple[Run, list[dict[str, Any]]]:
    """The newest run in the directory that `--fork` names, and its metrics up to there.

    Raises CheckpointError where it is of other arrays.
    """
    rundir.read_description(session.origin)
    found = restore(session.origin, session.experiment, session.plan.seed_range)
    if found is None:
        raise CheckpointError(f"--fork {session.origin}: holds no checkpoint yet.")
    for line in found.skipped:
        say(f"checkpoint skipped: {line}")
    phase, done = int(found.tree.phase), int(found.tree.done)
    say(f"begins with {session.origin} at phase {session.experiment.phases[phase].name}, step {done}")
    return found.tree, rundir.metrics_until(session.origin, phase, done)
