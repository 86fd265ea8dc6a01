"""`--overfit-batch`: every step sees one batch, whose loss has to fall if model, loss and optimiser are sound."""

import math
from collections.abc import Sequence
from typing import Any

from seqjax.errors import UsageError
from seqjax.experiment.progress import say
from seqjax.receipt import summary
from seqjax.types import Experiment, Phase

MARK = {"overfit_batch": True}  # of `config.json` and receipt; those of other runs have no such field
LINES = 20  # of metrics at least, where there are as many steps: the first has to be of the first steps


def overfitting(experiment: Experiment) -> Experiment:
    """The experiment in which no seed stops early: validation gets worse while one batch is learned by heart.

    Raises UsageError where no phase has steps between which a loss can fall.
    """
    if max(phase.steps for phase in experiment.phases) < 2:
        raise UsageError("--overfit-batch: no phase has two steps, for a loss to fall between.\nAsk for more --steps.")
    return experiment._replace(
        phases=tuple(phase._replace(patience=None, finished=None) for phase in experiment.phases)
    )


def log_window(phases: Sequence[Phase]) -> int:
    """Steps of a line of metrics: a divisor of all chapters that gives `LINES` lines of each phase, if there is one."""
    every = math.gcd(*(phase.chapter_steps for phase in phases))
    most = min(max(1, min(phase.steps, phase.chapter_steps) // LINES) for phase in phases if phase.steps > 0)
    return max(size for size in range(1, min(every, most) + 1) if every % size == 0)


def loss_change(rows: Sequence[dict[str, Any]], phases: Sequence[Phase]) -> dict[str, dict[str, Any]]:
    """`PHASE/first_LOSS` and `PHASE/last_LOSS` over the seeds, from the first and the last line of each phase.

    LOSS: `loss`, or those of the players, which have one each.
    """
    found = {}
    for index, phase in enumerate(phases):
        own = [row for row in rows if row["phase"] == index]
        for name in _losses(own):
            for place, row in (("first", own[0]), ("last", own[-1])):
                values = [math.nan if value is None else value for value in row[name]]
                found[f"{phase.name}/{place}_{name}"] = summary(values)
    return found


def told(metrics: dict[str, dict[str, Any]], phases: Sequence[Phase]) -> str:
    """The health of such a run, after saying of each phase whether its loss has fallen: `ok`, or `not falling`."""
    health = "ok"
    for phase in phases:
        names = [key.removeprefix(f"{phase.name}/first_") for key in metrics if key.startswith(f"{phase.name}/first_")]
        changes = {name: [metrics[f"{phase.name}/{place}_{name}"] for place in ("first", "last")] for name in names}
        shown = ", ".join(f"{name} {a['mean']:.5g} -> {b['mean']:.5g}" for name, (a, b) in changes.items())
        if "loss" in changes:
            before, after = (one["per_seed"] for one in changes["loss"])
            fallen = sum(b < a for a, b in zip(before, after, strict=True))
            health = health if fallen == len(before) else "not falling"
            shown += f", falls in {fallen} of {len(before)} seed(s)"
        else:
            shown += " - of players against each other, so none of them has to fall" if names else "no loss is reported"
        say(f"one batch of {phase.batch_size}, phase {phase.name}, {phase.steps} steps: {shown}")
    return health


def _losses(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = list(rows[0]) if rows else []
    return ["loss"] if "loss" in names else [name for name in names if name.endswith("_loss")]
