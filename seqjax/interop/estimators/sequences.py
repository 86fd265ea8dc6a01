"""Encoders of series as a transformer."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args, no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PyTree
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from seqjax import train
from seqjax.data.scaling import channel_scale, scaled
from seqjax.data.whole_series import MOST_FRAMES, framed
from seqjax.errors import DataError, require
from seqjax.interop.estimators.rows import by_rows
from seqjax.interop.estimators.training import Fields, Model, trained
from seqjax.models import sequence_encoders
from seqjax.models.sequence import CellName, cell_function
from seqjax.models.sequence_encoders import SequenceEncoder
from seqjax.types import Batch, Key, Params, Split, TrainState

Learner = Literal["recurrent_autoencoder", "autoencoder", "vae", "sequence_vae", "next_step"]


class Functions(NamedTuple):
    """What is trained, and what is done with it: each `(params, batch) -> [B ...]`."""

    model: Model
    encode: Callable[[Params, Batch], Array]
    loss: Callable[[Params, Batch], Array]


@functools.cache
def encoder_of(
    name: Learner, cell: CellName, hidden_size: int, latent_size: int, num_layers: int, bidirectional: bool
) -> SequenceEncoder:
    recurrent = (cell_function(cell), hidden_size, latent_size)
    both = {"num_layers": num_layers, "bidirectional": bidirectional}
    match name:
        case "recurrent_autoencoder":
            return sequence_encoders.recurrent_autoencoder(*recurrent, **both, pooling="mean")
        case "sequence_vae":
            return sequence_encoders.sequence_vae(*recurrent, **both)
        case "next_step":
            return sequence_encoders.next_step(*recurrent[:2], num_layers=num_layers, pooling="mean")
        case "autoencoder":
            return sequence_encoders.mlp_autoencoder((hidden_size,) * num_layers, latent_size)
        case "vae":
            return sequence_encoders.vae((hidden_size,) * num_layers, latent_size)


@functools.cache
def sequence_functions(encoder: SequenceEncoder) -> Functions:
    """An encoder, and its own loss; in training over the mean number of values of the batch's series."""

    def init(key: Key, one: Batch, start: PyTree[Array]) -> Params:
        return encoder.init(key, one | {"index": jnp.zeros(1, jnp.int32)})

    def loss(params: Params, batch: Batch, key: Key, state: TrainState) -> tuple[Float[Array, "B"], train.Aux]:
        mean_values = sequence_encoders.counts(batch).sum(axis=(1, 2)).mean()
        return encoder.loss(params, batch, key)[0] / mean_values, train.Aux({})

    def own_loss(params: Params, batch: Batch) -> Float[Array, "B"]:
        # the same noise for all series, so that a value does not depend on those beside it
        index = jnp.zeros(len(batch["x"]), jnp.int32)
        return encoder.loss(params, batch | {"index": index}, jax.random.key(0))[0]

    return Functions(Model(init, loss, clip_norm=1.0), encoder.encode, own_loss)


class SequenceTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An encoder of series, trained without labels: `transform` gives one code for each series.

    Series are X [N T D], or [N T] of one channel. NaN stands for a value that was not observed; steps of NaN alone at
    the end of a series are none. Channels are standardised as the training series have them.

    learner: what learns the codes, by the names of `experiments.sequence_clustering`; of them autoencoder and vae read
        the padded series as one row.
    cell: of the recurrences.
    hidden_size: units of a layer, in each direction of an encoder; the code of next_step is the recurrence itself.
    latent_size: units of the code, but of next_step.
    num_layers: of each recurrence, or before the code.
    bidirectional: whether encoders read the series in both directions.
    frame: steps that are read at once, as one; `None` for so many that the longest series has 32 of them at most.
    steps, batch_size, learning_rate: of Adam, the rate going down to zero by half a cosine.
    random_state: an integer for the same weights and batches in every fit.

    Fitted: `params_`, nested dicts of NumPy arrays, as the encoders of `models.sequence_encoders` have them; `scale_`,
    mean and standard deviation of each channel; `shape_`, steps and channels; `frame_`.
    """

    @no_type_check  # scikit-learn sets what it is given, and `fit` tells what is wrong with it
    def __init__(
        self,
        *,
        learner: Learner = "recurrent_autoencoder",
        cell: CellName = "gru",
        hidden_size: int = 64,
        latent_size: int = 16,
        num_layers: int = 1,
        bidirectional: bool = True,
        frame: int | None = None,
        steps: int = 1000,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        random_state: Any = None,
    ) -> None:
        self.learner = learner
        self.cell = cell
        self.hidden_size = hidden_size
        self.latent_size = latent_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.frame = frame
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "SequenceTransformer":
        """Trains on the series X; labels are not looked at."""
        for name, known in (("learner", Learner), ("cell", CellName)):
            value = getattr(self, name)
            require(value in get_args(known), name, value, " or ".join(get_args(known)))
        for name in ("hidden_size", "latent_size", "num_layers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        series = series_of(X)
        self.shape_ = series.fields["x"].shape[1:]
        self.frame_ = -(-self.shape_[0] // MOST_FRAMES) if self.frame is None else self.frame
        self.scale_ = channel_scale(series)
        fields = self._framed(series)
        if self.learner == "next_step" and fields["x"].shape[1] < 2:
            raise DataError("X: series of one step, or read at once, have no next one; expected more, or lower frame.")
        self.params_ = trained(
            self._functions().model,
            fields,
            (),
            self.random_state,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        self._n_features_out = self.transform(np.asarray(X)[:1]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The codes [N Z] of series X."""
        return by_rows(self._functions().encode, self.params_, self._checked(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """The negative loss of each series, summed over its values, in units of `scale_`.

        Squared errors of reconstruction or prediction; of vae and sequence_vae nats, by one draw for all series.
        """
        return -by_rows(self._functions().loss, self.params_, self._checked(X)).astype(np.float64)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: greater is better, as a search over hyperparameters expects."""
        return float(np.mean(self.score_samples(X)))

    def _checked(self, X: Any) -> Fields:
        check_is_fitted(self)
        series = series_of(X)
        found = series.fields["x"].shape[1:]
        if found != self.shape_:
            raise DataError(
                f"X: found series of {found[0]} steps and {found[1]} channels, expected {self.shape_[0]} and"
                f" {self.shape_[1]}, as in fit; fill the ends of shorter ones with NaN."
            )
        return self._framed(series)

    def _framed(self, series: Split) -> Fields:
        return framed(scaled(series, self.scale_), self.frame_).fields

    def _functions(self) -> Functions:
        sizes = (self.hidden_size, self.latent_size, self.num_layers, self.bidirectional)
        return sequence_functions(encoder_of(self.learner, self.cell, *sizes))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


def series_of(X: Any) -> Split:
    """X [N T] or [N T D] as series with `length` and `mask`. Raises DataError for a series of nothing."""
    x = check_array(X, dtype=np.float32, allow_nd=True, ensure_all_finite="allow-nan")
    if x.ndim > 3:
        raise DataError(f"X has shape {list(x.shape)}: expected series, X [N T D], or [N T] of one channel.")
    x = x.reshape(*x.shape[:2], -1)
    mask = ~np.isnan(x)
    seen = mask.any(axis=2)
    empty = np.flatnonzero(~seen.any(axis=1))
    if len(empty):
        raise DataError(f"X: series {empty[0]} (counted from 0, {len(empty)} such in all) has no observed value.")
    length = x.shape[1] - seen[:, ::-1].argmax(axis=1)
    return Split({"x": np.where(mask, x, 0), "mask": mask, "length": length.astype(np.int32)})
