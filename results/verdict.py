"""Whether measured values meet the bounds of a row."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from results.row import TIERS, Bound, Row

Receipts = Mapping[str, dict[str, Any] | None]
"""By row name; None for a row that has not been run."""

VERDICTS = {
    "beats": "better than the published number, with the whole interval",
    "within": "inside the row's tolerance by the mean over its seeds, or by each seed where the bound says so",
    "misses": "outside it: see the note below the table",
    "share": "a stated part of the protocol was run: no verdict against the number of the full one, nor a word on"
    " whether anything has been learnt",
    "new": "there is no bound to judge by: nothing was published, or only numbers of longer runs",
    "not run": "no receipt yet, of this row or of the one it is compared with",
}

HEALTHS = {
    "ok": "none of the following; of an experiment without a check of its own it says only that metrics and weights are"
    " finite and that no seed skipped more than half of the steps of a phase",
    "collapsed": "the experiment's own check failed: codes or classes no better than the mean or the majority, a"
    " posterior that has become the prior, clusters lost, or most of the data never generated; no verdict looks at it",
    "saturated": "on some seed the critic of an adversarial experiment is always right; no verdict looks at it",
    "diverged": "a metric or a weight of some seed is not finite, or a seed skipped more than half of the steps of a"
    " phase; a row with bounds misses them then",
}


def meets(value: float, bound: Bound) -> bool:
    """Whether a value lies within the bound. One that is not a number lies within none.

    A value that differs from a limit by rounding alone is taken for the limit: 13.88 is within 13.87 ± 0.01.
    """
    if math.isnan(value):
        return False
    on_limit = any(math.isfinite(limit) and math.isclose(value, limit, rel_tol=1e-12) for limit in bound[1:3])
    return not bound.strict if on_limit else bound.low < value < bound.high


def holds(bound: Bound, metrics: dict[str, Any], *, interval: bool = False) -> bool:
    """For the mean, for each seed where the bound says so, or for both ends of the interval."""
    measure = metrics[bound.metric]
    if bound.each_seed:
        values = measure["per_seed"]
    else:
        half = (measure["ci95"] or 0.0) if interval else 0.0
        values = [measure["mean"] - half, measure["mean"] + half]
    return all(meets(value, bound) for value in values)


def lies_under(row: Row, receipts: Receipts) -> bool:
    """Whether each seed's metric is below that of the same seed of the row that it has to lie under."""
    own, other = (receipts[name] for name in (row.name, row.under))
    seeds, others = (range(r["plan"]["seed"], r["plan"]["seed"] + r["plan"]["seeds"]) for r in (own, other))
    values, limits = (r["metrics"][row.metric]["per_seed"] for r in (own, other))
    return seeds == others and all(value < limit for value, limit in zip(values, limits, strict=True))


def verdict(row: Row, receipts: Receipts) -> str:
    """One of `VERDICTS`. A run that diverged misses whatever its mean says."""
    receipt = receipts.get(row.name)
    if receipt is None or (row.under and receipts.get(row.under) is None):
        return "not run"
    if row.share:
        return "share"
    if not row.passes and not row.under:
        return "new"
    metrics = receipt["metrics"]
    if receipt["health"] == "diverged" or not all(holds(bound, metrics) for bound in row.passes):
        return "misses"
    if row.under and not lies_under(row, receipts):
        return "misses"
    return "beats" if row.beats is not None and holds(row.beats, metrics, interval=True) else "within"


def verdict_counts(rows: Sequence[Row], receipts: Receipts) -> str:
    """A sentence for each tier: `Tier C: 6 beats, 29 within, 0 misses, 64 new.`"""
    sentences = []
    for tier in TIERS:
        counts = Counter(verdict(row, receipts) for row in rows if row.tier == tier)
        # that nothing has missed is said, too
        said = [f"{counts[name]} {name}" for name in VERDICTS if counts[name] or name == "misses"]
        if counts:
            sentences.append(f"Tier {tier}: {', '.join(said)}.")
    return " ".join(sentences)


def condition(bound: Bound) -> str:
    """The bound in words: `at most 3.15`."""
    low, high = (f"{limit:.6g}" for limit in (bound.low, bound.high))
    if math.isinf(bound.low):
        text = f"below {high}" if bound.strict else f"at most {high}"
    elif math.isinf(bound.high):
        text = f"above {low}" if bound.strict else f"at least {low}"
    else:
        text = f"{low} to {high}"
    return f"{text} for each seed" if bound.each_seed else text
