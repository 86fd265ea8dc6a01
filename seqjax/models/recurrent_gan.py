"""The two players of a generative adversarial network of series: both are recurrent.

They run by `sweep`, whose hand-written backward pass can be differentiated again: a penalty on the critic's gradient
goes through it.
Source: Esteban, Hyland & Ratsch, "Real-valued (medical) time series generation with recurrent conditional GANs" (2017).
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from seqjax import noise
from seqjax.errors import require
from seqjax.models.mlp import Activation, activation_function
from seqjax.models.recurrent import RNN
from seqjax.recurrent import output_head
from seqjax.recurrent.bptt import Residuals
from seqjax.types import Cell, Key


class StepMoments(NamedTuple):
    """What both players measure in: means and deviations `[T D]` of the values at each step, and of their changes.

    Series that begin nearly alike and then part differ by small amounts early and by large ones late. In units of each
    step's own deviation, and beside their changes from step to step, a critic finds either fault as easily.
    """

    mean: Float[np.ndarray, "T D"]
    stddev: Float[np.ndarray, "T D"]
    mean_change: Float[np.ndarray, "T D"]
    stddev_change: Float[np.ndarray, "T D"]

    def placed(self, z: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Series whose values lie `z` deviations from the means; what never varies keeps its value."""
        return self.mean[None] + self.stddev[None] * z

    def seen(self, x: Float[Array, "B T D"]) -> Float[Array, "B T 2*D"]:
        """Values, then changes from the step before (0 at the first), in deviations from their means."""
        changes = jnp.pad(x[:, 1:] - x[:, :-1], ((0, 0), (1, 0), (0, 0)))
        parts = ((x, self.mean, self.stddev), (changes, self.mean_change, self.stddev_change))
        return jnp.concatenate([(v - m[None]) / jnp.where(s > 0, s, 1)[None] for v, m, s in parts], axis=-1)


def step_moments(series: Float[np.ndarray, "N T D"]) -> StepMoments:
    """Of training series; deviations within rounding of their values count as 0."""
    series = series.astype(np.float64)
    changes = np.diff(series, axis=1, prepend=series[:, :1])
    found = []
    for values in (series, changes):
        mean, stddev = values.mean(axis=0), values.std(axis=0)
        found += [mean, np.where(stddev > 1e-6 * np.abs(series).max(axis=(0, 1)), stddev, 0)]
    return StepMoments(*(values.astype(np.float32) for values in found))


class SeriesGenerator(nn.Module):
    """Series [B T D] from noise [B T Z]: step t is made of the noise up to t alone.

    cell: `hidden_size -> Cell`.
    output: what is done to the readout, `sigmoid` for values in [0, 1], `linear` for those that `StepMoments` places.
    residuals: as of `RNN`; `None` for the plain scan.

    Params: `RNN`'s own under `recurrence`, and `readout` with `kernel [H D]` and `bias [D]`.
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    num_features: int
    num_layers: int = 1
    output: Activation = "sigmoid"
    residuals: Residuals | None = "full"

    @nn.compact
    def __call__(self, z: Float[Array, "B T Z"]) -> Float[Array, "B T D"]:
        rnn = RNN(self.cell, self.hidden_size, self.num_layers, residuals=self.residuals, name="recurrence")
        head = output_head(self.num_features, activation_function(self.output))
        return head.apply(self.param("readout", head.init, self.hidden_size), rnn(z))


class SeriesCritic(nn.Module):
    """Logits [B] from series [B T D], high for those it takes for real: the mean of what it says at every step.

    Series are treated apart. Every step has its own short way to the logit, so that the generator is told about early
    steps as well as about late ones.

    Params: as of `SeriesGenerator`, with `kernel [H 1]` and `bias [1]`.
    """

    cell: Callable[[int], Cell]
    hidden_size: int
    num_layers: int = 1
    residuals: Residuals | None = "full"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B"]:
        rnn = RNN(self.cell, self.hidden_size, self.num_layers, residuals=self.residuals, name="recurrence")
        head = output_head(1)
        return head.apply(self.param("readout", head.init, self.hidden_size), rnn(x))[..., 0].mean(axis=1)


def series_noise(
    key: Key, index: Int[Array, "B"], *, length: int, step_size: int, held_size: int
) -> Float[Array, "B T Z"]:
    """Standard normal inputs of a generator: `step_size` new ones at each step, then `held_size` that stay.

    An example's noise is drawn from its global index. What stays tells series apart, such as by their frequency, and
    need not be remembered; what is new tells their steps apart.
    """
    require(length >= 1, "length", length, "at least 1 step")
    require(min(step_size, held_size) >= 0 < step_size + held_size, "noise sizes", (step_size, held_size), "some noise")

    def drawn(example_key: Key) -> Float[Array, "T Z"]:
        step_key, held_key = jax.random.split(example_key)
        of_steps = jax.random.normal(step_key, (length, step_size))
        held = jax.random.normal(held_key, (1, held_size))
        return jnp.concatenate([of_steps, jnp.broadcast_to(held, (length, held_size))], axis=1)

    return noise.per_example(drawn, key, index)
