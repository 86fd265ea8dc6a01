"""The multi-layer classifier, the supervised network beside the others."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, PyTree
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from seqjax import losses, train
from seqjax.interop.estimators.rows import by_rows, checked_rows
from seqjax.interop.estimators.training import Model, trained
from seqjax.models.mlp import MLP, Activation
from seqjax.types import Batch, Key, Params, TrainState


class Functions(NamedTuple):
    """What is trained, and the logarithms of the classes' probabilities, `(params, batch) -> [B V]`."""

    model: Model
    log_probabilities: Callable[[Params, Batch], Array]


@functools.cache
def classifier_functions(model: MLP) -> Functions:
    """The classes `label [B]` of rows `x [B D]`, by their cross-entropy."""

    def init(key: Key, one: Batch, start: PyTree[Array]) -> Params:
        return model.init(key, one["x"])

    def log_probabilities(params: Params, batch: Batch) -> Float[Array, "B V"]:
        return jax.nn.log_softmax(model.apply(params, batch["x"]))

    def loss(params: Params, batch: Batch, key: Key, state: TrainState) -> tuple[Float[Array, "B"], train.Aux]:
        logits = model.apply(params, batch["x"])
        return losses.categorical_cross_entropy(logits, batch["label"]), train.Aux({})

    return Functions(Model(init, loss), log_probabilities)


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """A multi-layer classifier, trained by the cross-entropy of its classes.

    Features should be of about unit scale: a scaler, or the codes of another estimator, belong before it in a pipeline.

    hidden: sizes of the layers; none makes it a logistic regression without a penalty.
    activation: of the hidden layers.
    steps, batch_size, learning_rate: of Adam, the rate going down to zero by half a cosine.
    random_state: an integer for the same weights and batches in every fit.

    Fitted: `classes_`; `params_`, nested dicts of NumPy arrays, as `models.mlp.MLP` has them.
    """

    @no_type_check  # scikit-learn sets what it is given, and `fit` tells what is wrong with it
    def __init__(
        self,
        *,
        hidden: tuple[int, ...] = (128, 64),
        activation: Activation = "relu",
        steps: int = 1000,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "NetworkClassifier":
        """Trains on the rows of X [N D] and their classes y [N], of whatever type."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, label = np.unique(y, return_inverse=True)
        self.params_ = trained(
            self._functions().model,
            {"x": X, "label": label.astype(np.int32)},
            (),
            self.random_state,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        return self

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms [N K] of the probabilities of the classes, in the order of `classes_`."""
        X = checked_rows(self, X)
        return by_rows(self._functions().log_probabilities, self.params_, {"x": X}).astype(np.float64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities [N K] of the classes, in the order of `classes_`."""
        probabilities = np.exp(self.predict_log_proba(X))
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class [N] of each row."""
        likeliest = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def _functions(self) -> Functions:
        return classifier_functions(MLP((*self.hidden, len(self.classes_)), self.activation))
