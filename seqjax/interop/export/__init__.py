"""A trained model for programs that know nothing of this project: StableHLO by `jax.export`, weights in safetensors.

The folder that `write_export` makes needs JAX, flatbuffers (in which JAX reads programs) and safetensors alone:

    weights = safetensors.numpy.load_file("folder/weights.safetensors")
    encode = jax.export.deserialize(bytearray(open("folder/encode.jax_export", "rb").read()))
    codes = encode.call(weights, x)

What JAX writes it promises to read for six months, and forward compatibility of three weeks; the weights are plain.
"""

from seqjax.interop.export.folder import Model, read_export, write_export
from seqjax.interop.export.program import PLATFORMS, Program, exported
from seqjax.interop.export.streaming import Streaming, streaming
from seqjax.interop.export.weights import load_named_weights, named_weights, save_named_weights, weights_like

__all__ = [
    "PLATFORMS",
    "Model",
    "Program",
    "Streaming",
    "exported",
    "load_named_weights",
    "named_weights",
    "read_export",
    "save_named_weights",
    "streaming",
    "weights_like",
    "write_export",
]
