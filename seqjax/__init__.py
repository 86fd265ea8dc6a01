"""Functional JAX/Flax research code for unsupervised and sequence learning.

The names of `__all__` are stable: what they take and return changes with a new minor version only, and the one before
says so. Each has an example in its docstring, which the tests run. Everything else is importable from its module, and
may move. Names are imported when they are first asked for, so that who takes a loss does not pay for checkpoints and
the command line.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# by name and not by import statements: the hash of an experiment's code follows those, and would hold all of these
PUBLIC = {
    "seqjax.losses": (
        "bernoulli_cross_entropy",
        "categorical_cross_entropy",
        "contractive_penalty",
        "squared_error",
    ),
    "seqjax.densities": ("gaussian_negative_log_likelihood", "kl_to_standard_normal"),
    "seqjax.adversarial_losses": ("gradient_penalty",),
    "seqjax.bounds": ("evidence_lower_bound", "free_bits", "importance_weighted_bound"),
    "seqjax.recurrent": ("elman", "gru", "lstm", "output_head", "sweep", "unroll"),
    "seqjax.models.recurrent": ("RNN",),
    "seqjax.models.sequence": ("SequenceModel",),
    "seqjax.models.autoencoder": ("Autoencoder",),
    "seqjax.models.vae": ("VAE",),
    "seqjax.models.gan": ("Critic", "Generator"),
    "seqjax.types": ("Split",),
    "seqjax.data.batches": ("batch_at",),
    "seqjax.train": ("Aux", "Player", "adversarial", "make_train_step", "minimise"),
    "seqjax.evaluate.cluster_scores": ("clustering_scores", "silhouette"),
    "seqjax.evaluate.anomaly": ("auroc",),
    "seqjax.evaluate.likelihood": ("bits_per_dimension",),
    "seqjax.interop.recurrent": ("from_pytorch", "to_pytorch"),
    "seqjax.interop.export": ("exported", "named_weights", "read_export", "streaming", "write_export"),
    "seqjax.experiment": ("load",),
}
MODULE_OF = {name: module for module, names in PUBLIC.items() for name in names}

__all__ = sorted(MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in MODULE_OF:
        raise AttributeError(f"module 'seqjax' has no attribute {name!r}")
    return getattr(importlib.import_module(MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
