"""A chapter of an experiment as a run dispatches it, to be timed alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seqjax import parallel, train
from seqjax.experiment import Options
from seqjax.experiment.session import layout_of, make_plan
from seqjax.experiment.source import make_source
from seqjax.experiment.state import on_mesh, start_phase
from seqjax.types import Experiment


def first_chapter(
    experiment: Experiment,
    steps: int,
    *,
    seeds: int = 1,
    devices: int = 1,
    seed_plan: train.SeedPlan | None = None,
    stream: bool = False,
) -> Callable[[], None]:
    """`run()` trains the first phase for so many steps more and returns when they are done; the first call compiles.

    seed_plan: default that of a run on these devices.
    stream: read the rows from the host, chapter by chapter the same ones.
    """
    (phase, *_) = experiment.phases
    plan = make_plan(Options(seeds=seeds, devices=devices))
    layout = layout_of(plan)
    source = make_source(experiment.data.train, phase, layout, stream=stream)
    chapter = train.make_chapter(
        phase.learner,
        source.fetch,
        length=source.length,
        seed_plan=seed_plan or plan.seed_plan,
        axis_name=layout.axis_name,
        shards=layout.shards,
        most_skipped=10,
    )
    dispatch = parallel.distribute(chapter, layout, streamed=source.streamed)
    run = on_mesh(start_phase(experiment, 0, range(seeds), None), layout)
    states = run.states

    def trained() -> None:
        nonlocal states
        for start, part in source.parts(states, 0, steps):
            states, _ = dispatch(states, run.active, jnp.int32(min(source.length, steps - start)), part)
        jax.block_until_ready(states)

    return trained
