"""A row of the results table: what is measured, by which command, against which published number."""

import math
import shlex
from typing import Literal, NamedTuple

Mark = Literal["F", "M", "P", "theorem"]
Tier = Literal["C", "G"]


class Reference(NamedTuple):
    """A published value as it is shown, where it stands, and how far it can be trusted (see `MARKS`)."""

    value: str
    source: str
    mark: Mark | None = None


class Bound(NamedTuple):
    """Limits on a metric's mean over seeds, or on each seed's value; `strict` leaves the limits themselves out."""

    metric: str
    low: float = -math.inf
    high: float = math.inf
    strict: bool = False
    each_seed: bool = False


def at_most(metric: str, limit: float) -> Bound:
    return Bound(metric, high=limit)


def below(metric: str, limit: float, *, each_seed: bool = False) -> Bound:
    return Bound(metric, high=limit, strict=True, each_seed=each_seed)


def at_least(metric: str, limit: float, *, each_seed: bool = False) -> Bound:
    return Bound(metric, low=limit, each_seed=each_seed)


def within(metric: str, value: float, tolerance: float) -> Bound:
    return Bound(metric, low=value - tolerance, high=value + tolerance)


class Row(NamedTuple):
    """One line of the table.

    flags: of the experiment's command line, quoted as for a shell.
    metric: `row/measure` of the receipt, the number of the line; unit: what it is in.
    baselines: metrics of the trivial baselines shown beside it.
    passes: all must hold for `within`; none makes the row `new`. beats: holds besides for `beats`.
    under: name of another row; each seed's `metric` has to be below that of the same seed there.
    also: further metrics shown beside the row's own.
    figures: of the run, by name, that are kept beside the receipt and shown below the table.
    tier: see `TIERS`.
    share: the part of the full protocol that the row runs; such a row gets no verdict against the full number.
    explanation: why a row that misses does, in a sentence.
    """

    name: str
    title: str
    experiment: str
    flags: str
    metric: str
    unit: str
    baselines: tuple[str, ...] = ()
    reference: Reference | None = None
    passes: tuple[Bound, ...] = ()
    beats: Bound | None = None
    under: str = ""
    also: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    tier: Tier = "C"
    share: str = ""
    budget: str = ""
    explanation: str = ""

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.flags)

    @property
    def command(self) -> str:
        return shlex.join(["python", "-m", f"experiments.{self.experiment}", *self.arguments])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics the row is about: its own first, then the others that its verdict depends on or that it shows."""
        bounds = (*self.passes, *((self.beats,) if self.beats else ()))
        return tuple(dict.fromkeys([self.metric, *(bound.metric for bound in bounds), *self.also]))


TIERS = {
    "C": "sized for minutes of 2 CPU cores; the column `time` says what it took",
    "G": "sized for minutes of a GPU; a CPU may have run a part of it, which the verdict `share` says, or all of it",
}
MARKS = {
    "F": "read in the named source",
    "M": "quoted from memory, not checked against the source",
    "P": "our own probe, no published number",
    "theorem": "proved in the named source",
}
