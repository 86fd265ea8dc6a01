"""Compiled programs, kept for the processes that come after."""

import hashlib
import os
import platform
import stat
from pathlib import Path

import jax

from seqjax.data.prepared import data_directory

MOST_BYTES = 2**31  # then those go that were used longest ago
LEAST_SECONDS = 0.1  # of compilation; what takes less is not worth the file


def keep_compiled_programs() -> None:
    """Lets JAX keep what it compiles in a directory that this user alone can write to, made for this kind of processor.

    Nothing is changed where JAX's own settings name a directory or forbid it (`JAX_COMPILATION_CACHE_DIR`,
    `JAX_ENABLE_COMPILATION_CACHE=false`), and nothing is kept where no such directory can be made.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    directory = data_directory() / f"compiled-{_processor()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = directory.lstat()
    except OSError:
        return
    # what is in there is run: nobody else may have put it there
    if stat.S_ISDIR(own.st_mode) and own.st_uid == os.getuid() and not own.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def _processor() -> str:
    """A name of what the processor can do: programs made for more than that crash, and homes are shared by machines."""
    text = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        text += "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
