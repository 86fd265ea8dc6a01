"""Functional JAX/Flax research code for unsupervised and sequence learning."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # lazily: who imports a loss does not pay for checkpoints and the command line
    if name == "load":
        from seqjax.experiment import load

        return load
    raise AttributeError(f"module 'seqjax' has no attribute {name!r}")
