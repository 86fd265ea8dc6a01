"""Shapes of symbols, for the tests of exports alone."""

import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def sizes_may_be_symbols():
    """The size of a symbolic axis is no `int`, which the checks of the other tests would have it be."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
