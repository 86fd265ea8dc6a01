"""What a critic still sees: how well it tells real rows from generated ones. On the host."""

import numpy as np
from jaxtyping import Float

from seqjax.errors import DataError


def separation(real: Float[np.ndarray, "N"], fake: Float[np.ndarray, "M"]) -> float:
    """The chance that a real row has a higher logit than a generated one, ties counting half: the area under the ROC.

    1/2 where the critic cannot tell, 1 where it always can and a generator that follows it may learn nothing more.
    Logits of any objective will do, since only their order counts. Raises DataError for logits that are not finite.
    """
    from sklearn.metrics import roc_auc_score

    logits = np.concatenate([real, fake])
    if not np.isfinite(logits).all():
        raise DataError(f"{int((~np.isfinite(logits)).sum())} of {len(logits)} logits are not finite.")
    return float(roc_auc_score(np.repeat([1, 0], [len(real), len(fake)]), logits))
