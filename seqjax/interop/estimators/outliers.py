"""Outliers: rows that a model, trained on mostly ordinary ones, scores low."""

from typing import Any, no_type_check

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from seqjax.errors import require
from seqjax.interop.estimators.autoencoder import AutoencoderTransformer
from seqjax.interop.estimators.training import fitted_copy


class DeepOutlierDetector(OutlierMixin, BaseEstimator):
    """A model with `score_samples`, trained on the data, and a threshold between ordinary rows and outliers.

    scorer: an estimator of whatever it takes as data, of which a copy is fitted; `None` for an autoencoder with its
        defaults, whose score is the negative reconstruction error. That of a variational one is its bound in nats.
    contamination: share of the training rows that lie below the threshold, above 0 and at most 0.5.
    random_state: an integer for the same weights in every fit, where `scorer` has no `random_state` of its own.

    Fitted: `scorer_`; `offset_`, the threshold on `score_samples`.
    """

    @no_type_check  # scikit-learn sets what it is given, and `fit` tells what is wrong with it
    def __init__(self, scorer: Any = None, *, contamination: float = 0.1, random_state: Any = None) -> None:
        self.scorer = scorer
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "DeepOutlierDetector":
        """Trains the scorer, and takes the threshold from its scores of X; labels are not looked at."""
        expected = "a share above 0 and at most 0.5"
        require(0 < self.contamination <= 0.5, "contamination", self.contamination, expected)
        scorer = AutoencoderTransformer() if self.scorer is None else self.scorer
        self.scorer_ = fitted_copy(scorer, X, check_random_state(self.random_state))
        self.offset_ = float(np.quantile(self.score_samples(X), self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """The scores [N] of the scorer: the lower, the less ordinary."""
        check_is_fitted(self)
        return np.asarray(self.scorer_.score_samples(X), np.float64)

    def decision_function(self, X: Any) -> np.ndarray:
        """How far above the threshold each row's score is; negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for ordinary rows, -1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    @property
    def n_features_in_(self) -> int:
        return self.scorer_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        return self.scorer_.feature_names_in_
