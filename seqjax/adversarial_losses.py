"""What the players of a generative adversarial network pay: one value per example, from logits, never probabilities.

A critic's logit is high for what it takes for real. The Wasserstein critic's is no logit but a score; the name stays.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from seqjax import noise
from seqjax.errors import UsageError
from seqjax.losses import l2_norm, squared_error

Logits = Float[Array, "B"]
Scores = Callable[[Float[Array, "B ..."]], Float[Array, "B"]]


class Objective(NamedTuple):
    """A pair of losses as functions of logits [B], each with one value per example.

    real: what the critic pays for the logits of real rows; fake: for those of generated rows. Its loss is their sum.
    generator: what the generator pays for the logits of the rows it has made.
    """

    real: Callable[[Logits], Logits]
    fake: Callable[[Logits], Logits]
    generator: Callable[[Logits], Logits]


minimax = Objective(
    real=lambda logits: jax.nn.softplus(-logits),
    fake=jax.nn.softplus,
    generator=lambda logits: -jax.nn.softplus(logits),
)
"""`-log D(x) - log(1 - D(G(z)))` against `log(1 - D(G(z)))`, in nats (Goodfellow et al. 2014, equation 1).

At the optimum, where no critic can tell, D = 1/2 and the critic pays 2 log 2.
"""

non_saturating = Objective(
    real=lambda logits: jax.nn.softplus(-logits),
    fake=jax.nn.softplus,
    generator=lambda logits: jax.nn.softplus(-logits),
)
"""The minimax critic against `-log D(G(z))`, whose gradient does not vanish where the critic is sure (section 3)."""

least_squares = Objective(
    real=lambda logits: 0.5 * jnp.square(logits - 1),
    fake=lambda logits: 0.5 * jnp.square(logits),
    generator=lambda logits: 0.5 * jnp.square(logits - 1),
)
"""Targets 1 for real, 0 for generated, and 1 for the generator (Mao et al. 2017, equation 9); 1/4 at the optimum."""

hinge = Objective(
    real=lambda logits: jax.nn.relu(1 - logits),
    fake=lambda logits: jax.nn.relu(1 + logits),
    generator=lambda logits: -logits,
)
"""Margins of 1 on either side (Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17); 2 at the optimum."""

wasserstein = Objective(
    real=lambda scores: -scores,
    fake=lambda scores: scores,
    generator=lambda scores: -scores,
)
"""`D(G(z)) - D(x)` against `-D(G(z))` (Arjovsky, Chintala & Bottou 2017, equations 2 and 3).

Minus the critic's loss bounds the Wasserstein distance from below only while the critic is 1-Lipschitz: clip its
weights, take `gradient_penalty`, or normalise its layers spectrally.
"""


def gradient_penalty(
    critic: Scores,
    real: Float[Array, "B ..."],
    fake: Float[Array, "B ..."],
    key: PRNGKeyArray,
    index: Int[Array, "B"],
) -> Float[Array, "B"]:
    """`(|grad D(x)| - 1)^2` at a point x drawn on the line between a real and a generated row, for each pair.

    The place on the line is drawn from `fold_in(key, index)`, whatever device holds the pair. `critic` must treat rows
    apart: no batch statistics. Where the gradient is exactly zero the penalty is 1 and has no gradient itself.
    A row may have any axes, such as those of a series [B T D]; its norm is over all of them.
    Source: Gulrajani et al. (2017), equation 3; their weight is 10.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import gradient_penalty
        >>> real, fake = jnp.ones((2, 2)), jnp.zeros((2, 2))
        >>> print(gradient_penalty(lambda x: 3 * x[:, 0], real, fake, jax.random.key(0), jnp.arange(2)))  # (3 - 1)^2
        [4. 4.]
    """
    shape = (1,) * (real.ndim - 1)
    share = noise.per_example(lambda k: jax.random.uniform(k, shape, real.dtype), key, index)
    slopes = _slopes(critic, share * real + (1 - share) * fake)
    return jnp.square(l2_norm(slopes) - 1)


def r1_penalty(critic: Scores, real: Float[Array, "B ..."]) -> Float[Array, "B"]:
    """`|grad D(x)|^2 / 2` at each real row, to be weighted by gamma (Mescheder, Geiger & Nowozin 2018, equation 9).

    `critic` must treat rows apart: no batch statistics.
    """
    slopes = _slopes(critic, real)
    return 0.5 * squared_error(slopes, jnp.zeros_like(slopes))


def _slopes(critic: Scores, x: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    # rows do not meet in the critic, so the gradient of the sum holds each row's own
    return jax.grad(lambda x: critic(x).sum())(x)


def packed(rows: Float[Array, "B D"], size: int) -> Float[Array, "P M"]:
    """Groups of `size` rows in a row, side by side: [B / size, size * D] (PacGAN: Lin et al. 2018, section 3).

    A critic of packs sees whether samples differ. Its losses have one value per pack: they depend on which rows meet,
    so the rows of a shard must be a multiple of `size`; raises UsageError where they are not.
    """
    if rows.shape[0] % size:
        raise UsageError(f"{rows.shape[0]} rows cannot be packed by {size}")
    return rows.reshape(-1, size * rows.shape[1])
