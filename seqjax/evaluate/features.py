"""Features that know no labels, fitted on the training split and fed to networks: scaled, whitened, distances.

They are encoders, as those of `seqjax.evaluate.embeddings`, and so meet its tasks as well. On the host, in float64; of
a traced split in float32.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from seqjax.errors import require
from seqjax.evaluate.clustering import NUM_STARTS, k_means
from seqjax.evaluate.embeddings import Encoder, principal_components, rows_of
from seqjax.evaluate.neighbours import squared_distances
from seqjax.evaluate.reconstruction import fitted_pca, values_of
from seqjax.types import Split


def standardised(train: Split, encoder: Encoder = rows_of) -> Encoder:
    """The encoder's columns, default the values, with mean 0 and deviation 1 in the training rows; constant ones 0."""
    rows = encoder(train)
    mean, stddev = rows.mean(axis=0), rows.std(axis=0)
    # a constant column deviates by what its mean was rounded by
    stddev = np.where(stddev > 1e-10 * np.abs(mean), stddev, np.inf)
    return lambda split: (encoder(split) - mean[None]) / stddev[None]


def whitened(train: Split, size: int, *, floor: float = 0.0) -> Encoder:
    """The first `size` principal components, each over its standard deviation in the training rows.

    floor: what is added to their variances, in mean variances of a value: it keeps the noise of the last ones small
        (Coates, Ng & Lee 2011). Components of no variance are 0.
    """
    require(0 <= floor < np.inf, "floor", floor, "a share of the mean variance, 0 or more")
    encoder = principal_components(train, size)
    rows = encoder(train)
    variances, least = rows.var(axis=0), values_of(train).var(axis=0).mean()
    stddev = np.sqrt(np.where(variances > 1e-12 * variances.max(), variances + floor * least, np.inf))
    return lambda split: encoder(split) / stddev[None]


def centroid_distances(train: Split, num_centroids: int, *, seed: int = 0, num_starts: int = NUM_STARTS) -> Encoder:
    """Euclidean distances of the values to the centroids that k-means finds among those of the training rows."""
    centres = k_means(values_of(train), num_centroids, seed=seed, num_starts=num_starts).centres

    def encoder(split: Split) -> Float[np.ndarray | Array, "N K"]:
        if isinstance(split.fields["x"], jax.core.Tracer):
            differences = rows_of(split)[:, None] - jnp.asarray(centres, jnp.float32)[None]
            return jnp.sqrt(jnp.square(differences).sum(axis=2))
        blocks = [np.sqrt(squared.astype(np.float64)) for _, squared in squared_distances(values_of(split), centres)]
        return np.concatenate(blocks) if blocks else np.zeros((0, num_centroids))

    return encoder


def side_by_side(encoders: Sequence[Encoder]) -> Encoder:
    """The columns of all of them."""

    def encoder(split: Split) -> Float[np.ndarray | Array, "N Z"]:
        columns = [encoder(split) for encoder in encoders]
        return columns[0].__array_namespace__().concatenate(columns, axis=1)

    return encoder


def explained_shares(train: Split) -> Float[np.ndarray, "K"]:
    """The share of the training rows' variance on each principal axis, the greatest first; of constant rows zeros."""
    values = values_of(train)
    variances = fitted_pca(values, min(values.shape)).explained_variance_
    return variances / (variances.sum() or 1)
