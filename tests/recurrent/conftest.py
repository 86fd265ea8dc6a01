"""Quick compilation for the tests of this folder that hold the algebra."""

import pytest
from quick import quickly_compiled

AS_SHIPPED = ("test_golden", "test_memory")


@pytest.fixture(autouse=True, scope="module")
def quick_compilation(request):
    """Half of these tests' time would go into optimising programs that run once."""
    if request.module.__name__ in AS_SHIPPED:
        yield
        return
    with quickly_compiled():
        yield
