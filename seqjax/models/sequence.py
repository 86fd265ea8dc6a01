"""A prediction at every step: stacked recurrent layers under a linear readout."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
from jax import Array
from jaxtyping import Float, Int

from seqjax.models.recurrent import RNN, dropout_masks
from seqjax.recurrent import elman, gru, lstm, output_head
from seqjax.types import Cell, Key, Params

CellName = Literal["rnn", "gru", "lstm"]


def cell_function(name: CellName, *, forget_bias: float = 1.0) -> Callable[[int], Cell]:
    """`hidden_size -> Cell` by the name that configurations use; `rnn` is Elman's with tanh.

    forget_bias: of the LSTM alone.
    """
    return {"rnn": elman, "gru": gru, "lstm": partial(lstm, forget_bias=forget_bias)}[name]


class SequenceModel(nn.Module):
    """`y_t = V h_t + c` for the last of `num_layers` recurrent layers: output t depends on inputs up to t alone.

    cell: `hidden_size -> Cell`.
    dropout: rate at which the outputs of every layer, the last included, are dropped when a call is given a `key`.

    Params: `RNN`'s own under `recurrence`, and `readout` with `kernel [H V]` and `bias [V]`.
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    output_size: int
    num_layers: int = 1
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "B T D"],
        *,
        lengths: Int[Array, " B"] | None = None,
        key: Key | None = None,
        index: Int[Array, " B"] | None = None,
    ) -> Float[Array, "B T V"]:
        """Outputs at every step; what they hold past an example's length is of no meaning.

        key, index: the step's key and each example's global index, for dropout in training.
        """
        rnn = RNN(self.cell, self.hidden_size, self.num_layers, dropout=self.dropout, name="recurrence")
        hs = rnn(xs, seq_lengths=lengths, key=key, index=index)
        if self.dropout and key is not None:
            # the RNN folds in 1 to num_layers - 1 for the masks between its layers
            hs = hs * dropout_masks(jax.random.fold_in(key, self.num_layers), index, hs, self.dropout, False, False)
        head = output_head(self.output_size)
        return head.apply(self.param("readout", head.init, self.hidden_size), hs)


def stacked(cell: Cell, num_layers: int) -> Cell:
    """The layers of an `RNN` as one cell over the RNN's own params, to be looked into step by step; carry `[layer]`."""

    def layers(params: Params) -> list[Params]:
        return [params[f"layer_{layer}_forward"] for layer in range(num_layers)]

    def initial_carry(params: Params, batch_size: int) -> tuple[Any, ...]:
        return tuple(cell.initial_carry(own, batch_size) for own in layers(params))

    def step(params: Params, carry: tuple[Any, ...], x: Float[Array, "B D"]) -> tuple[tuple[Any, ...], Array]:
        carries = []
        for own, before in zip(layers(params), carry, strict=True):
            after, x = cell.step(own, before, x)
            carries.append(after)
        return tuple(carries), x

    def gates(params: Params, carry: tuple[Any, ...], x: Float[Array, "B D"]) -> dict[str, Any]:
        found = {}
        for layer, (own, before) in enumerate(zip(layers(params), carry, strict=True)):
            ending = f"_{layer}" if num_layers > 1 else ""
            found |= {f"{name}{ending}": gate for name, gate in cell.gates(own, before, x).items()}
            x = cell.step(own, before, x)[1]
        return found

    return Cell(None, initial_carry, step, None, gates if cell.gates else None)
