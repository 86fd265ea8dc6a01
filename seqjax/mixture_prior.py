"""A mixture of Gaussians as the prior of latents, so that its components are clusters (Jiang et al. 2017, VaDE)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from seqjax.densities import gaussian_kl_of_values, gaussian_log_density_of_values


class MixturePrior(NamedTuple):
    """K components with independent units; `logits [K]` of their weights, up to a constant."""

    logits: Float[Array, "K"]
    means: Float[Array, "K Z"]
    log_stddevs: Float[Array, "K Z"]

    @property
    def log_weights(self) -> Float[Array, "K"]:
        """log p(c)."""
        return jax.nn.log_softmax(self.logits)

    def log_joint(self, z: Float[Array, "B Z"]) -> Float[Array, "B K"]:
        """log p(c, z) of each component c, in nats; their sum outside the logarithm is the density of z."""
        values = gaussian_log_density_of_values(z[:, None, :], self.means[None], self.log_stddevs[None])
        return values.sum(axis=2) + self.log_weights[None, :]

    def log_responsibilities(self, z: Float[Array, "B Z"]) -> Float[Array, "B K"]:
        """log p(c | z): how far each component accounts for z."""
        return jax.nn.log_softmax(self.log_joint(z), axis=1)

    def kl(
        self, mean: Float[Array, "B Z"], log_stddev: Float[Array, "B Z"], log_responsibilities: Float[Array, "B K"]
    ) -> Float[Array, "B"]:
        """KL(q(z | x) q(c | x) || p(z, c)) in nats, of a Gaussian q(z | x) and any q(c | x).

        log_responsibilities: log q(c | x), -inf where it is 0. Jiang et al. have p(c | z) of a draw of q(z | x).
        At least the KL of q(z | x) to the mixture, and so the bound stays one.
        Source: Jiang et al. 2017, equation 12 without its first sum, which is the likelihood.
        """
        of_component = gaussian_kl_of_values(
            mean[:, None, :], log_stddev[:, None, :], self.means[None], self.log_stddevs[None]
        ).sum(axis=2)
        # before anything is done with them: 0 * -inf would be NaN
        some = log_responsibilities > -jnp.inf
        log_q = jnp.where(some, log_responsibilities, 0)
        return jnp.sum(jnp.where(some, jnp.exp(log_q) * (of_component + log_q - self.log_weights[None, :]), 0), axis=1)

    def draw(self, components: Int[Array, "B"], epsilon: Float[Array, "B Z"]) -> Float[Array, "B Z"]:
        """Latents `epsilon` standard deviations from the means of those components."""
        return self.means[components] + jnp.exp(self.log_stddevs[components]) * epsilon
