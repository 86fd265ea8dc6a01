"""Strictness for every test: eight CPU devices, shapes checked at run time, rank promotion and warnings are errors."""

import getpass
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# programs that several tests or their processes run are compiled once; an entry that another process is still writing,
# or was killed at, is compiled anew, which pytest and the processes of tests need not hear of
cache = os.path.join(tempfile.gettempdir(), f"seqjax-tests-{getpass.getuser()}")
os.makedirs(cache, mode=0o700, exist_ok=True)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("PYTHONWARNINGS", "ignore:Error reading persistent compilation cache entry:UserWarning")

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402
from quick import quickly_compiled  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

install_import_hook("seqjax", "checked.once")


@pytest.fixture(scope="module")
def quick_compilation():
    """For the modules that ask for it, since their programs run once or for a second."""
    with quickly_compiled():
        yield


MAPS = Path("/proc/self/maps")
MOST_MAPS = 20_000


@pytest.fixture(autouse=True, scope="module")
def few_compiled_programs():
    """Linux lets a process map 65,530 pieces of memory, of which a program takes half a dozen; past that it crashes."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
