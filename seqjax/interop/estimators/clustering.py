"""Clusters of codes."""

from typing import Any, no_type_check

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from seqjax.errors import DataError, require
from seqjax.evaluate.clustering import k_means
from seqjax.interop.estimators.autoencoder import AutoencoderTransformer
from seqjax.interop.estimators.training import fitted_copy


class DeepClustering(ClusterMixin, BaseEstimator):
    """An encoder, trained on the data, and k-means on its codes.

    encoder: a transformer of whatever it takes as data, of which a copy is fitted; `None` for an autoencoder with its
        defaults. Where it has no `random_state` of its own, it gets one from that of the clustering.
    n_clusters: how many are looked for. n_init: starts of k-means, of which the least sum of squares is kept.
    random_state: an integer for the same clusters in every fit.

    Fitted: `encoder_`; `cluster_centers_` [K Z], among codes; `labels_` [N], the clusters of the training rows.
    """

    @no_type_check  # scikit-learn sets what it is given, and `fit` tells what is wrong with it
    def __init__(self, encoder: Any = None, *, n_clusters: int = 8, n_init: int = 10, random_state: Any = None) -> None:
        self.encoder = encoder
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "DeepClustering":
        """Trains the encoder, and finds the clusters; labels are not looked at."""
        require(self.n_clusters >= 1, "n_clusters", self.n_clusters, "at least 1")
        random = check_random_state(self.random_state)
        encoder = AutoencoderTransformer() if self.encoder is None else self.encoder
        self.encoder_ = fitted_copy(encoder, X, random)
        codes = self._codes(X)
        if len(codes) < self.n_clusters:
            raise DataError(f"n_samples={len(codes)}: expected at least n_clusters={self.n_clusters}.")
        found = k_means(codes, self.n_clusters, seed=int(random.randint(2**31 - 1)), num_starts=self.n_init)
        self.cluster_centers_ = found.centres
        self.labels_ = pairwise_distances_argmin(codes, self.cluster_centers_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The cluster [N], 0 to K - 1, whose centre is nearest to each row's code."""
        check_is_fitted(self)
        return pairwise_distances_argmin(self._codes(X), self.cluster_centers_)

    def _codes(self, X: Any) -> np.ndarray:
        return np.asarray(self.encoder_.transform(X), np.float64)

    @property
    def n_features_in_(self) -> int:
        return self.encoder_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        return self.encoder_.feature_names_in_
