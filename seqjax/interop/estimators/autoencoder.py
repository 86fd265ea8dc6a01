"""The multi-layer autoencoder as a transformer."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logit
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from seqjax import losses, train
from seqjax.errors import UsageError
from seqjax.interop.estimators.rows import by_rows, checked_codes, checked_rows
from seqjax.interop.estimators.training import Model, trained
from seqjax.models.autoencoder import Autoencoder, starting_at
from seqjax.models.mlp import Activation
from seqjax.types import Batch, Key, Params, TrainState

Output = Literal["linear", "sigmoid"]


class Functions(NamedTuple):
    """What is trained, and what is done with it: each `(params, batch) -> [B ...]`, `decode` of `batch["code"]`."""

    model: Model
    encode: Callable[[Params, Batch], Array]
    decode: Callable[[Params, Batch], Array]
    squared_error: Callable[[Params, Batch], Array]


@functools.cache
def autoencoder_functions(model: Autoencoder, output: Output) -> Functions:
    """The autoencoder of rows `x [B D]` by their squared error."""

    def predictions(outputs: Float[Array, "B D"]) -> Float[Array, "B D"]:
        return jax.nn.sigmoid(outputs) if output == "sigmoid" else outputs

    def init(key: Key, one: Batch, mean: Float[Array, "D"]) -> Params:
        bias = logit(jnp.clip(mean, 0.001, 0.999)) if output == "sigmoid" else mean
        return starting_at(model.init(key, one["x"]), bias)

    def squared_error(params: Params, batch: Batch) -> Float[Array, "B"]:
        return losses.squared_error(predictions(model.apply(params, batch["x"])[0]), batch["x"])

    def loss(params: Params, batch: Batch, key: Key, state: TrainState) -> tuple[Float[Array, "B"], train.Aux]:
        return squared_error(params, batch), train.Aux({})

    return Functions(
        Model(init, loss),
        lambda params, batch: model.apply(params, batch["x"], method="encode"),
        lambda params, batch: predictions(model.apply(params, batch["code"], method="decode")),
        squared_error,
    )


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A deep autoencoder, trained by squared error: `transform` gives the codes, as PCA gives its components.

    Features should be of about unit scale: a scaler belongs before it in a pipeline.

    hidden: sizes of the encoder's layers before the code; the decoder mirrors them.
    code_size: units of the code.
    activation: of the hidden layers; the code is linear.
    output: of the reconstruction; "sigmoid" for features in [0, 1].
    steps, batch_size, learning_rate: of Adam, the rate going down to zero by half a cosine.
    random_state: an integer for the same weights and batches in every fit.

    Fitted: `params_`, nested dicts of NumPy arrays, as `models.autoencoder.Autoencoder` has them.
    """

    @no_type_check  # scikit-learn sets what it is given, and `fit` tells what is wrong with it
    def __init__(
        self,
        *,
        hidden: tuple[int, ...] = (128, 64),
        code_size: int = 10,
        activation: Activation = "elu",
        output: Output = "linear",
        steps: int = 2000,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.code_size = code_size
        self.activation = activation
        self.output = output
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "AutoencoderTransformer":
        """Trains on the rows of X [N D]; labels are not looked at."""
        X = validate_data(self, X, dtype=np.float32)
        if self.output == "sigmoid" and not (X.min() >= 0 and X.max() <= 1):
            raise UsageError(f"X has values from {X.min()} to {X.max()}: expected [0, 1] with output='sigmoid'.")
        self.params_ = trained(
            self._functions().model,
            {"x": X},
            X.mean(axis=0),
            self.random_state,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        self._n_features_out = self.code_size
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The codes [N Z] of the rows of X."""
        return by_rows(self._functions().encode, self.params_, {"x": checked_rows(self, X)})

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The reconstructions [N D] of codes X [N Z]."""
        return by_rows(self._functions().decode, self.params_, {"code": checked_codes(self, X, self.code_size)})

    def score_samples(self, X: Any) -> np.ndarray:
        """The negative squared error of each row's reconstruction, summed over its features."""
        errors = by_rows(self._functions().squared_error, self.params_, {"x": checked_rows(self, X)})
        return -errors.astype(np.float64)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: greater is better, as a search over hyperparameters expects."""
        return float(np.mean(self.score_samples(X)))

    def _functions(self) -> Functions:
        sizes = (self.n_features_in_, *self.hidden, self.code_size)
        return autoencoder_functions(Autoencoder(sizes, self.activation), self.output)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
