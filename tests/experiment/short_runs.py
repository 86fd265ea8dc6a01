"""Runs of a second, trained twice: once in one go, once stopped and continued."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
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
from seqjax.experiment.session import make_plan, make_session
from seqjax.types import Experiment


@contextmanager
def quickly_compiled() -> Iterator[None]:
    """Most of such tests' time would go into optimising programs that run for a second."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def stopped_and_continued(
    experiment: Experiment, folder: Path, *, chapters: int = 1
) -> tuple[dict[str, float], dict[str, Any]]:
    """Measures and figures of one seed, after making sure that all is finite, and that stopping it after so many
    chapters, counted over all phases, changes no bit."""
    plan = make_plan(Options(seeds=1, devices=1))

    def trained(name, **options):
        (folder / name).mkdir(exist_ok=True)
        session = make_session(experiment, plan, folder / name, **options)
        return train_phases(session, state.restore_or_start(session))

    asked = itertools.count(1)
    with pytest.raises(Interrupted):
        trained("broken", stop_requested=lambda: next(asked) == chapters)
    broken, whole = trained("broken"), trained("whole")
    assert checkpoint.tree_sha256(broken) == checkpoint.tree_sha256(whole)
    assert rundir.read_metrics(folder / "broken") == rundir.read_metrics(folder / "whole")
    metrics = evaluated(experiment, whole, plan.seed_range)
    measured = {name: value["mean"] for name, value in metrics.items()}
    assert all(np.isfinite(value) for value in measured.values())
    final = state.seed_state(state.selected(whole), 0)
    return measured, experiment.figures(final, experiment.data, jax.random.key(0), metrics)
