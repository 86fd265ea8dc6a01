"""The programs of a phase on the devices of a run: the chapter, and what is decided at its end."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import parallel, train
from seqjax.data.load import RESIDENT_BYTES, is_resident
from seqjax.experiment.session import Session
from seqjax.experiment.source import Source, make_source
from seqjax.experiment.state import Boundary, Run, make_boundary
from seqjax.types import Phase, Split, TrainState

MAX_SKIPPED_IN_A_ROW = 10


class Programs(NamedTuple):
    """`dispatch` of what `source` gives, and `boundary` after it; nothing is compiled before its call.

    validation: the split on every device.
    """

    source: Source
    dispatch: parallel.Dispatch
    boundary: Boundary
    validation: Split


def make_programs(session: Session, phase: Phase) -> Programs:
    """Raises UsageError for a stream of batches that are not rows of the split."""
    plan, layout, data = session.plan, session.layout, session.experiment.data
    # the devices of a CPU have one memory, and each a copy
    copies = layout.mesh.size if plan.platform == "cpu" else 1
    too_large = phase.batch_at is None and not is_resident(data, limit_bytes=RESIDENT_BYTES // copies)
    source = make_source(
        data.train, phase, layout, stream=plan.stream or too_large, overfit_batch=session.overfit_batch
    )
    chapter = train.make_chapter(
        phase.learner,
        source.fetch,
        length=source.length,
        seed_plan=plan.seed_plan,
        axis_name=layout.axis_name,
        shards=layout.shards,
        most_skipped=MAX_SKIPPED_IN_A_ROW,
    )
    dispatch = parallel.distribute(chapter, layout, streamed=source.streamed)
    boundary = make_boundary(session.experiment, phase, plan.seed_range, layout)
    validation = parallel.replicated(jax.tree.map(np.asarray, data.validation), layout.mesh)
    return Programs(source, dispatch, boundary, validation)


def run_chapter(
    session: Session, programs: Programs, run: Run, done: int, count: int
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """The states after `count` steps more, in as many dispatches as the source asks for, at most 16 in flight, and
    each step's metrics [S count].
    """
    source, states, parts = programs.source, run.states, []
    for start, part in source.parts(states, done, count):
        begin = time.monotonic()
        length = min(source.length, done + count - start)
        states, metrics = programs.dispatch(states, run.active, jnp.int32(length), part)
        session.timing.setdefault("compile_s", time.monotonic() - begin)
        session.moved()
        parts.append((length, metrics))
        if len(parts) % 16 == 0:
            jax.block_until_ready(states)
    seeds = session.plan.seeds
    parts = [(length, parallel.local(metrics)) for length, metrics in parts]
    gathered = [jax.tree.map(lambda m, n=length: np.asarray(m)[:seeds, :n], metrics) for length, metrics in parts]
    return states, jax.tree.map(lambda *ms: np.concatenate(ms, axis=1), *gathered)
