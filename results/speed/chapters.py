"""A chapter of an experiment as a run dispatches it, to be timed alone."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from seqjax.experiment import Options
from seqjax.experiment.programs import make_programs
from seqjax.experiment.session import make_plan, make_session
from seqjax.experiment.state import on_mesh, start_phase
from seqjax.train import SeedPlan
from seqjax.types import Experiment


def first_chapter(
    experiment: Experiment,
    steps: int,
    *,
    seeds: int = 1,
    devices: int = 1,
    seed_plan: SeedPlan | None = None,
    stream: bool = False,
) -> Callable[[], None]:
    """`run()` trains the first phase for so many steps more and returns when they are done; the first call compiles.

    seed_plan: default that of a run on these devices.
    stream: read the rows from the host, chapter by chapter the same ones.
    """
    (phase, *_) = experiment.phases
    plan = make_plan(Options(seeds=seeds, devices=devices, stream=stream))
    plan = plan._replace(seed_plan=seed_plan or plan.seed_plan)
    session = make_session(experiment, plan, Path())
    source, dispatch, *_ = make_programs(session, phase)
    run = on_mesh(start_phase(experiment, 0, range(seeds), None), session.layout)
    states = run.states

    def trained() -> None:
        nonlocal states
        for start, part in source.parts(states, 0, steps):
            states, _ = dispatch(states, run.active, jnp.int32(min(source.length, steps - start)), part)
        jax.block_until_ready(states)

    return trained
