"""Recurrences as pure functions: cells, the plain scan over a sequence, and the same by a hand-written derivative."""

from seqjax.recurrent.elman import elman
from seqjax.recurrent.gates import Gate
from seqjax.recurrent.gru import gru
from seqjax.recurrent.head import Head, output_head
from seqjax.recurrent.layer_norm_lstm import layer_norm_lstm
from seqjax.recurrent.lstm import LSTMCarry, lstm
from seqjax.recurrent.sweep import sweep
from seqjax.recurrent.unroll import unroll

__all__ = ["Gate", "Head", "LSTMCarry", "elman", "gru", "layer_norm_lstm", "lstm", "output_head", "sweep", "unroll"]
