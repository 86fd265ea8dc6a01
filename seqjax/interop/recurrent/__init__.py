"""Weights of recurrent layers to and from PyTorch, Keras, Flax Linen and files.

`like` is what decides the form: the params of `models.RNN` or of one cell, or their shapes alone, as from
`jax.eval_shape(model.init, key, inputs)["params"]`.
"""

from seqjax.interop.recurrent.files import load_weights, save_weights
from seqjax.interop.recurrent.keras import from_keras, to_keras
from seqjax.interop.recurrent.linen import from_flax, to_flax
from seqjax.interop.recurrent.pytorch import from_pytorch, to_pytorch

__all__ = [
    "from_flax",
    "from_keras",
    "from_pytorch",
    "load_weights",
    "save_weights",
    "to_flax",
    "to_keras",
    "to_pytorch",
]
