"""Lower bounds of a log-likelihood from draws of an approximate posterior: one value per example, in nats.

The symbols are those of the papers: x is seen, z drawn from q(z | x), and w = p(x, z) / q(z | x) is a draw's weight.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, PyTree

from seqjax.errors import require


def evidence_lower_bound(
    log_likelihood: Float[Array, "B"], kl: Float[Array, "B"], *, beta: Float[Array, ""] | float = 1.0
) -> Float[Array, "B"]:
    """E_q log p(x | z) - beta KL(q(z | x) || p(z)) from its two terms, as drawn or in closed form.

    A bound of log p(x) for `beta` of 1 and more. Source: Kingma & Welling 2014, equation 3; Higgins et al. 2017 for
    `beta`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import evidence_lower_bound
        >>> print(evidence_lower_bound(jnp.asarray([-3.0, -2.0]), jnp.asarray([1.0, 0.5]), beta=2.0))
        [-5. -3.]
    """
    return log_likelihood - beta * kl


def free_bits(
    kl: Float[Array, "B Z"], *, nats: float, over: Literal["example", "batch"] = "example", axis_name: str | None = None
) -> Float[Array, "B"]:
    """The KL summed over latent units, each of which costs at least `nats`, so that it has nothing to gain below.

    over: "example" takes the greater of the two for each unit of each example, a value that belongs to the example
        alone. "batch" is Kingma et al. 2016, equation 15: a unit counts as it is where its mean over the batch is above
        `nats`, and as `nats` for every example where it is not. The mean over the examples of both is at least
        `nats * Z`; that of "batch" is the lesser one. "batch" depends on which examples share a batch, and on devices
        that share one it needs their `axis_name`, without which each looks at its own share.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import free_bits
        >>> print(free_bits(jnp.asarray([[0.1, 2.0], [0.7, 0.0]]), nats=0.5))
        [2.5 1.2]
    """
    require(nats >= 0, "free_bits", nats, "nats, 0 or more")
    if over == "example":
        return jnp.maximum(kl, nats).sum(axis=1)
    mean = kl.mean(axis=0, keepdims=True)
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
    return jnp.where(mean > nats, kl, nats).sum(axis=1)


def importance_weighted_bound(log_weights: Float[Array, "B K"]) -> Float[Array, "B"]:
    """log of the mean of K weights: between the evidence lower bound, which K = 1 is, and log p(x).

    Source: Burda, Grosse & Salakhutdinov 2016, equation 8. Its gradient weighs each draw by its share of the weights.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import importance_weighted_bound
        >>> print(importance_weighted_bound(jnp.log(jnp.asarray([[1.0, 3.0], [2.0, 2.0]]))).round(4))  # log 2
        [0.6931 0.6931]
    """
    return jax.nn.logsumexp(log_weights, axis=1) - math.log(log_weights.shape[1])


@jax.custom_vjp
def doubly_reparameterised(
    latents: PyTree[Float[Array, "B K ..."]], slack: Float[Array, "B K"]
) -> tuple[PyTree[Float[Array, "B K ..."]], Float[Array, "B K"]]:
    """Both arguments as they are, with another gradient: that of Tucker et al. 2019, equation 8, for the encoder.

        latents, slack = doubly_reparameterised(latents, jnp.zeros((B, K)))
        log_weights = log p(x, latents) - log q(latents | x, parameters stopped) + slack

    In the gradient of `importance_weighted_bound(log_weights)` a draw counts by its share of the weights; what comes
    back to `latents` is multiplied by that share once more. Together with the stopped parameters in log q this has the
    expectation of the plain gradient at a variance that does not grow with K. The shares are read off the gradient
    that comes back to `slack`, so that no second pass is needed; they are right whatever each example's bound is
    multiplied by. The gradient to a decoder is the plain one.
    """
    return latents, slack


def _doubly_reparameterised_forward(latents: PyTree, slack: Array) -> tuple[tuple[PyTree, Array], None]:
    return (latents, slack), None


def _doubly_reparameterised_backward(_: None, cotangents: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
    d_latents, d_slack = cotangents
    total = d_slack.sum(axis=1, keepdims=True)
    shares = jnp.where(total == 0, 0, d_slack / jnp.where(total == 0, 1, total))
    scaled = jax.tree.map(lambda d: d * shares.reshape(shares.shape + (1,) * (d.ndim - 2)), d_latents)
    return scaled, jnp.zeros_like(d_slack)


doubly_reparameterised.defvjp(_doubly_reparameterised_forward, _doubly_reparameterised_backward)
