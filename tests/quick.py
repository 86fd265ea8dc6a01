"""Compilation without most of XLA's optimisations: most of many tests' time would go into programs that run once."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def quickly_compiled() -> Iterator[None]:
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
