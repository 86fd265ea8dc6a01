"""A mixture of Gaussians as the prior of latents, so that its components are clusters (Jiang et al. 2017, VaDE)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from seqjax.densities import gaussian_kl_of_values, gaussian_log_density_of_values


class MixturePrior(NamedTuple):
    """K components with independent units; `logits [K]` of their weights, up to a constant."""

    logits: Float[Array, "K"]
    means: Float[Array, "K Z"]
    log_stddevs: Float[Array, "K Z"]

    def log_joint(self, z: Float[Array, "B Z"]) -> Float[Array, "B K"]:
        """log p(c, z) in nats, of each component c; over all c they sum to the density of z."""
        values = gaussian_log_density_of_values(z[:, None, :], self.means[None], self.log_stddevs[None])
        return values.sum(axis=2) + jax.nn.log_softmax(self.logits)[None, :]

    def log_responsibilities(self, z: Float[Array, "B Z"]) -> Float[Array, "B K"]:
        """log p(c | z): what a cluster claims of each example."""
        return jax.nn.log_softmax(self.log_joint(z), axis=1)

    def kl(
        self, mean: Float[Array, "B Z"], log_stddev: Float[Array, "B Z"], log_shares: Float[Array, "B K"]
    ) -> Float[Array, "B"]:
        """KL(q(z | x) q(c | x) || p(z, c)) in nats, q(z | x) Gaussian: the latents' own and that of the shares.

        log_shares: log q(c | x), rows that sum to 1 outside the logarithm. Whatever they are, this is at least the KL
        of q(z | x) to the mixture; the paper has p(c | z) of a draw of q.
        Source: Jiang et al. 2017, equation 12 without its first sum, the likelihood.
        """
        own = gaussian_kl_of_values(
            mean[:, None, :], log_stddev[:, None, :], self.means[None], self.log_stddevs[None]
        ).sum(axis=2)
        return jnp.sum(jnp.exp(log_shares) * (own + log_shares - jax.nn.log_softmax(self.logits)[None, :]), axis=1)


def fitted_to_clusters(
    codes: Float[np.ndarray, "N Z"], clusters: Int[np.ndarray, "N"], num_clusters: int, *, min_stddev: float = 1e-2
) -> MixturePrior:
    """The mixture whose components have the share, the mean and the spread of the rows of each cluster.

    min_stddev: of a unit, as a share of the root mean variance of all codes. A cluster without rows starts as all rows
    together, at the weight of one row.
    """
    codes = np.asarray(codes, np.float64)
    least = min_stddev * np.sqrt(codes.var(axis=0).mean()) or min_stddev
    groups = [codes[clusters == number] for number in range(num_clusters)]
    held = [group if len(group) else codes for group in groups]
    parts = (
        np.log([max(len(group), 1) for group in groups]),
        np.stack([group.mean(axis=0) for group in held]),
        np.log(np.maximum([group.std(axis=0) for group in held], least)),
    )
    return MixturePrior(*(jnp.asarray(part, jnp.float32) for part in parts))
