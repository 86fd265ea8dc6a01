"""A prediction at every step: stacked recurrent layers under a linear readout."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from seqjax.errors import UsageError, require
from seqjax.models.recurrent import RNN, Carries, dropout_masks
from seqjax.recurrent import elman, gru, lstm, output_head
from seqjax.recurrent.weights import identity, orthogonal
from seqjax.types import Cell, Key, Params

CellName = Literal["rnn", "gru", "lstm"]


def cell_function(name: CellName, *, forget_bias: float = 1.0, identity_start: bool = False) -> Callable[[int], Cell]:
    """`hidden_size -> Cell` by the name that configurations use; `rnn` is Elman's with tanh.

    forget_bias: of the LSTM alone.
    identity_start: recurrent kernels start as identities and input kernels orthogonal (Cooijmans et al. 2017), instead
        of orthogonal and Glorot uniform.
    """
    cell = {"rnn": elman, "gru": gru, "lstm": partial(lstm, forget_bias=forget_bias)}[name]
    return partial(cell, input_init=orthogonal, recurrent_init=identity) if identity_start else cell


class SequenceModel(nn.Module):
    """`y_t = V h_t + c` for the last of `num_layers` recurrent layers: output t depends on inputs up to t alone.

    cell: `hidden_size -> Cell`.
    dropout: rate at which the outputs of every layer, the last included, are dropped when a call is given a `key`.
    input_dropout: the same for the inputs.

    Params: `RNN`'s own under `recurrence`, and `readout` with `kernel [H V]` and `bias [V]`; H is P
    where the cell projects to P.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import SequenceModel, gru
        >>> model, xs = SequenceModel(gru, hidden_size=5, output_size=7), jnp.ones((2, 4, 3))
        >>> params = jax.jit(model.init)(jax.random.key(0), xs)
        >>> carry, ys = model.apply(params, xs, return_carry=True)
        >>> print(ys.shape)
        (2, 4, 7)
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    output_size: int
    num_layers: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "B T D"],
        *,
        lengths: Int[Array, " B"] | None = None,
        initial_carry: Carries | None = None,
        return_carry: bool = False,
        key: Key | None = None,
        index: Int[Array, " B"] | None = None,
    ) -> Any:
        """Outputs `[B T V]` at every step, or `(carries, outputs)`; those past an example's length have no meaning.

        initial_carry, return_carry: as of `RNN`, for sequences that are read part by part.
        key, index: the step's key and each example's global index, for dropout in training.

        Raises `UsageError` as `RNN`.
        """
        require(0 <= self.input_dropout < 1, "input_dropout", self.input_dropout, "a rate from 0 to below 1")
        if key is not None and self.input_dropout and index is None:
            raise UsageError("index: found None, expected the global index [B] of each example, with key and dropout")

        def dropped(values: Array, rate: float, number: int) -> Array:
            # the RNN itself folds in 1 to num_layers - 1, for the masks between its layers
            return values * dropout_masks(jax.random.fold_in(key, number), index, values, rate, False, False)

        if self.input_dropout and key is not None:
            xs = dropped(xs, self.input_dropout, 0)
        rnn = RNN(self.cell, self.hidden_size, self.num_layers, dropout=self.dropout, name="recurrence")
        carries, hs = rnn(xs, initial_carry=initial_carry, seq_lengths=lengths, return_carry=True, key=key, index=index)
        if self.dropout and key is not None:
            hs = dropped(hs, self.dropout, self.num_layers)
        head = output_head(self.output_size)
        outputs = head.apply(self.param("readout", head.init, hs.shape[-1]), hs)
        return (carries, outputs) if return_carry else outputs


def with_time_scales(params: Params, key: Key, longest: int) -> Params:
    """The params of a `SequenceModel` with gates that start out keeping for 1 to `longest` steps, unit by unit.

    The bias of what keeps is log u, u uniform in [1, longest - 1]; an LSTM's input gates take -log u, so that what they
    add up to in that time stays small. An Elman network has no gates and is left as it is.
    Source: Tallec & Ollivier, "Can recurrent neural networks warp time?" (2018), "chrono initialisation".
    """
    layers = dict(params["params"]["recurrence"])
    for number, (name, layer) in enumerate(sorted(layers.items())):
        hidden_size = layer["projection" if "projection" in layer else "recurrent_kernel"].shape[0]
        num_blocks = layer["bias"].shape[0] // hidden_size
        scales = jax.random.uniform(
            jax.random.fold_in(key, number), (hidden_size,), minval=1, maxval=max(2, longest - 1)
        )
        keep = jnp.log(scales)
        bias = layer["bias"].reshape(num_blocks, hidden_size)
        match num_blocks:
            case 4:  # i, f, g, o
                bias = bias.at[0].set(-keep).at[1].set(keep)
            case 3:  # r, z, n
                bias = bias.at[1].set(keep)
        layers[name] = layer | {"bias": bias.reshape(-1)}
    return params | {"params": params["params"] | {"recurrence": layers}}


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
