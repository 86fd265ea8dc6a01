"""Runs of a second, trained twice: once in one go, once stopped and continued."""

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seqjax import checkpoint
from seqjax.errors import Interrupted
from seqjax.experiment import Options, rundir, state
from seqjax.experiment.command import evaluated
from seqjax.experiment.phases import train_phases
from seqjax.experiment.programs import Programs, make_programs
from seqjax.experiment.session import Plan, Session, make_plan, make_session
from seqjax.experiment.state import Run
from seqjax.types import Experiment, Phase


def broken_and_whole(experiment: Experiment, plan: Plan, folder: Path, *, chapters: int = 1, **options: Any) -> Run:
    """The end of a run, the same whether or not it was stopped after so many chapters, counted over all phases."""
    compiled = {}

    def compiled_once(session: Session, phase: Phase) -> Programs:
        if id(phase) not in compiled:
            compiled[id(phase)] = make_programs(session, phase)
        return compiled[id(phase)]

    def trained(name: str, **more: Any) -> Run:
        (folder / name).mkdir(exist_ok=True)
        session = make_session(experiment, plan, folder / name, **options, **more)
        return train_phases(session, state.restore_or_start(session))

    asked = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqjax.experiment.phases.make_programs", compiled_once)
        with pytest.raises(Interrupted):
            trained("broken", stop_requested=lambda: next(asked) == chapters)
        broken, whole = trained("broken"), trained("whole")
    assert checkpoint.tree_sha256(broken) == checkpoint.tree_sha256(whole)
    assert rundir.read_metrics(folder / "broken") == rundir.read_metrics(folder / "whole")
    return whole


def stopped_and_continued(
    experiment: Experiment, folder: Path, *, chapters: int = 1
) -> tuple[dict[str, float], dict[str, Any]]:
    """Measures and figures of one seed, after making sure that all is finite, and that stopping it after so many
    chapters, counted over all phases, changes no bit."""
    plan = make_plan(Options(seeds=1, devices=1))
    whole = broken_and_whole(experiment, plan, folder, chapters=chapters)
    metrics = evaluated(experiment, whole, plan.seed_range)
    measured = {name: value["mean"] for name, value in metrics.items()}
    assert all(np.isfinite(value) for value in measured.values())
    final = state.seed_state(state.selected(whole), 0)
    return measured, experiment.figures(final, experiment.data, jax.random.key(0), metrics)
