"""Clusters of the rows of a split beside those of k-means on the values and on their principal components."""

import jax
import numpy as np
from jaxtyping import Int

from seqjax.evaluate.cluster_scores import cluster_sizes, clustering_scores, silhouette
from seqjax.evaluate.clustering import NUM_STARTS, k_means
from seqjax.evaluate.embedding_tasks import labels_of
from seqjax.evaluate.embeddings import principal_components
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Dataset, Key, Split


def assignment_measures(
    row: str, clusters: Int[np.ndarray, "N"], split: Split, *, prefix: str = ""
) -> dict[str, float]:
    """`row/accuracy`, `row/nmi` and `row/ari` where the split has labels, `row/silhouette`, and the clusters' sizes.

    The silhouette is taken among the values, whatever the clusters were found among, so that methods can be compared.
    prefix: of the first three names, to tell them from a classifier's.
    """
    labels = labels_of(split)
    scores = {} if labels is None else clustering_scores(clusters, labels)
    found = {f"{prefix}{measure}": value for measure, value in scores.items()}
    found |= {"silhouette": silhouette(values_of(split), clusters)} | cluster_sizes(clusters)
    return {f"{row}/{measure}": value for measure, value in found.items()}


def baseline_measures(
    data: Dataset,
    num_clusters: int,
    code_size: int,
    *,
    seed: int,
    num_starts: int = NUM_STARTS,
    prefix: str = "",
) -> dict[str, float]:
    """The rows `kmeans`, on the values, and `pca_kmeans`, on as many components; fitted on training, scored on test."""
    encoders = {"kmeans": values_of, "pca_kmeans": principal_components(data.train, code_size)}
    found = {}
    for row, encoder in encoders.items():
        clustering = k_means(encoder(data.train), num_clusters, seed=seed, num_starts=num_starts)
        found |= assignment_measures(row, clustering.assign(encoder(data.test)), data.test, prefix=prefix)
    return found


def seed_of(key: Key) -> int:
    """A seed for scikit-learn's own generator out of a key: the same for all that is compared under one key."""
    return int(jax.random.bits(jax.random.clone(key)))
