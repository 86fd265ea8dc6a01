"""Strictness for every test: eight CPU devices, shapes checked at run time, rank promotion and warnings are errors."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

install_import_hook("seqjax", "beartype.beartype")
