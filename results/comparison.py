"""Whether a row is better than the best of its baselines, seed by seed."""

from typing import Any

from results.row import Row
from seqjax.receipt import interval_text, summary

HIGHER_IS_BETTER = frozenset(("accuracy", "auroc", "high_quality_percent", "modes", "nmi", "range_auroc"))
# no baselines but limits: data, their source or their noise in the place of a model's, and the model itself
LIMITS = frozenset(("best", "noise/squared_error", "real", "source", "train", "true_sampler"))


def row_of(metric: str) -> str:
    """`pca` of `pca/nmi`."""
    return metric.split("/", 1)[0]


def measure_of(metric: str) -> str:
    """`nmi` of `pca/nmi`."""
    return metric.split("/", 1)[-1]


def against_baselines(row: Row, metrics: dict[str, Any]) -> str:
    """`beats pca by 0.01 ± 0.004`, `ties with` or `loses to`, by the 95 % interval of the differences of the seeds.

    The baseline is the best by its mean of those with the row's own measure; empty where there is none.
    """
    measure = measure_of(row.metric)
    sign = 1 if measure in HIGHER_IS_BETTER else -1
    rivals = [name for name in row.baselines if measure_of(name) == measure and not LIMITS & {name, row_of(name)}]
    if not rivals:
        return ""
    best = max(rivals, key=lambda name: sign * metrics[name]["mean"])
    pairs = zip(metrics[row.metric]["per_seed"], metrics[best]["per_seed"], strict=True)
    gain = summary([sign * (own - other) for own, other in pairs])
    if abs(gain["mean"]) <= (gain["ci95"] or 0.0):
        return f"ties with {row_of(best)} ({interval_text(gain)})"
    word = "beats" if gain["mean"] > 0 else "loses to"
    return f"{word} {row_of(best)} by {interval_text(gain | {'mean': abs(gain['mean'])})}" + (
        "" if gain["n"] > 1 else ", one seed"
    )
