"""Losses and penalties: batched arrays in, one value per example out, summed over the example's own axes, in nats
where they are log-densities. The mean over the batch is taken by the learner, nowhere else.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int


def _sum_per_example(values: Float[Array, "B ..."]) -> Float[Array, "B"]:
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def squared_error(
    predictions: Float[Array, "B ..."], targets: Float[Array, "B ..."], *, mask: Bool[Array, "B ..."] | None = None
) -> Float[Array, "B"]:
    """Summed squared difference of each example.

    mask: the values that count, over the leading axes; neither value nor gradient depends on what the others hold.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import squared_error
        >>> print(squared_error(jnp.asarray([[1.0, 2.0], [0.0, 0.0]]), jnp.asarray([[0.0, 0.0], [3.0, 0.0]])))
        [5. 9.]
    """
    if mask is not None:
        mask = mask.reshape(mask.shape + (1,) * (predictions.ndim - mask.ndim))
        predictions, targets = jnp.where(mask, predictions, 0), jnp.where(mask, targets, 0)
    return _sum_per_example(jnp.square(predictions - targets))


@jax.custom_jvp
def _cross_entropy_with_logits(logits: Array, targets: Array) -> Array:
    return jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_cross_entropy_with_logits.defjvp
def _cross_entropy_with_logits_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # sigmoid(logits) - targets in closed form: one transcendental instead of the three that autodiff would keep,
    # and right at logits = 0, where max and abs have no derivative
    logits, targets = primals
    d_logits, d_targets = tangents
    tangent = (jax.nn.sigmoid(logits) - targets) * d_logits - logits * d_targets
    return _cross_entropy_with_logits(logits, targets), tangent


def bernoulli_cross_entropy(
    logits: Float[Array, "B ..."], targets: Float[Array, "B ..."], *, mask: Bool[Array, "B ..."] | None = None
) -> Float[Array, "B"]:
    """-log p(targets) in nats under independent Bernoulli variables, targets in [0, 1]; finite for finite logits.

    mask: the values that count, over the leading axes; neither value nor gradient depends on what the others hold.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import bernoulli_cross_entropy
        >>> nats = bernoulli_cross_entropy(jnp.zeros((2, 3)), jnp.asarray([[1.0, 0.0, 1.0], [0.5, 0.5, 0.5]]))
        >>> print(nats.round(4))  # 3 log 2
        [2.0794 2.0794]
    """
    if mask is not None:
        mask = mask.reshape(mask.shape + (1,) * (logits.ndim - mask.ndim))
        # here as well as below: 0 * NaN would reach the gradient
        logits, targets = jnp.where(mask, logits, 0), jnp.where(mask, targets, 0)
    values = _cross_entropy_with_logits(logits, targets)
    return _sum_per_example(values if mask is None else jnp.where(mask, values, 0))


def categorical_cross_entropy(
    logits: Float[Array, "B *T V"], targets: Int[Array, "B *T"], *, mask: Bool[Array, "B *T"] | None = None
) -> Float[Array, "B"]:
    """-log p(targets) in nats, targets from 0 to V - 1, summed over the example's steps.

    mask: the steps that count; neither value nor gradient depends on what the others hold.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import categorical_cross_entropy
        >>> logits, targets = jnp.zeros((2, 3, 4)), jnp.asarray([[0, 1, 2], [3, 3, 3]])
        >>> mask = jnp.asarray([[True, True, True], [True, False, False]])
        >>> print(categorical_cross_entropy(logits, targets, mask=mask).round(4))  # 3 log 4 and log 4
        [4.1589 1.3863]
    """
    if mask is not None:
        logits = jnp.where(mask[..., None], logits, 0)
    log_probabilities = jax.nn.log_softmax(logits)
    values = -jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)
    return _sum_per_example(values if mask is None else jnp.where(mask[..., None], values, 0))


def l1_norm(code: Float[Array, "B ..."]) -> Float[Array, "B"]:
    """Sum of absolute values; as a penalty on a code it makes the code sparse."""
    return _sum_per_example(jnp.abs(code))


def l2_norm(code: Float[Array, "B ..."]) -> Float[Array, "B"]:
    """Euclidean norm of each example, with gradient 0 (not NaN) where the code is 0."""
    squared = _sum_per_example(jnp.square(code))
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def contractive_penalty(
    encode: Callable[[Float[Array, "B D"]], Float[Array, "B Z"]], x: Float[Array, "B D"]
) -> Float[Array, "B"]:
    """Squared Frobenius norm of the Jacobian of the code with respect to the input (Rifai et al. 2011, equation 3).

    `encode` must treat examples apart: then one backward pass for each of the Z units gives that unit's row of every
    example's Jacobian at once.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import contractive_penalty
        >>> kernel = jnp.asarray([[1.0, 2.0], [0.0, 3.0]])
        >>> print(contractive_penalty(lambda x: x @ kernel, jnp.ones((2, 2))))
        [14. 14.]
    """
    code, backward = jax.vjp(encode, x)
    units = jnp.eye(code.shape[1], dtype=code.dtype)

    def squared_row_norm(unit: Float[Array, "Z"]) -> Float[Array, "B"]:
        (row,) = backward(jnp.broadcast_to(unit[None, :], code.shape))
        return _sum_per_example(jnp.square(row))

    return jnp.sum(jax.vmap(squared_row_norm)(units), axis=0)
