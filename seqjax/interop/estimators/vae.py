"""The variational autoencoder as a transformer and a density."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, no_type_check

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logit
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from seqjax import bounds, train
from seqjax.errors import UsageError, require
from seqjax.interop.estimators.rows import by_rows, checked_codes, checked_rows
from seqjax.interop.estimators.training import Model, trained
from seqjax.models import latent_space
from seqjax.models.mlp import Activation
from seqjax.models.vae import VAE, initial
from seqjax.types import Batch, Key, Params, TrainState

Likelihood = Literal["gaussian", "bernoulli"]


class Functions(NamedTuple):
    """What is trained, and what is done with it: each `(params, batch) -> [B ...]`, `decode` of `batch["code"]`.

    `elbo` takes `(params, epsilon [K Z])` in place of params: the noise of its draws, which all rows share.
    """

    model: Model
    encode: Callable[[Params, Batch], Array]
    decode: Callable[[Params, Batch], Array]
    elbo: Callable[[tuple[Params, Array], Batch], Array]


@functools.cache
def vae_functions(model: VAE) -> Functions:
    """The variational autoencoder of rows `x [B D]` with one layer of latents."""

    def init(key: Key, one: Batch, mean: Float[Array, "D"]) -> Params:
        weights = initial(model, key, np.zeros(model.num_values))["params"]
        bias = logit(jnp.clip(mean, 0.001, 0.999)) if model.likelihood == "bernoulli" else mean
        return {"params": weights | {"p_0": weights["p_0"] | {"mean": weights["p_0"]["mean"] | {"bias": bias}}}}

    def loss(params: Params, batch: Batch, key: Key, state: TrainState) -> tuple[Float[Array, "B"], train.Aux]:
        draws = latent_space.posterior_draws(model, params, batch, key, jnp.zeros(1, jnp.int32))
        log_likelihood, kl = draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1)
        return -bounds.evidence_lower_bound(log_likelihood, kl), train.Aux({})

    def elbo(params: tuple[Params, Array], batch: Batch) -> Float[Array, "B"]:
        weights, epsilon = params
        shared = jnp.broadcast_to(epsilon[None], (batch["x"].shape[0], *epsilon.shape))
        draws = model.apply(weights, batch["x"], (shared,))
        return bounds.evidence_lower_bound(draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1))

    return Functions(
        Model(init, loss),
        lambda params, batch: model.apply(params, batch["x"], method="encode"),
        lambda params, batch: model.apply(params, batch["code"], method="decode"),
        elbo,
    )


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder: `transform` gives the means of the posterior, `score_samples` a bound of the density.

    Features should be of about unit scale: a scaler belongs before it in a pipeline.

    hidden: sizes of the encoder's layers before the latents; the decoder mirrors them.
    latent_size: units of the latents.
    activation: of the hidden layers.
    likelihood: of the features given the latents; "bernoulli" for features in [0, 1].
    stddev: of a Gaussian likelihood: a number, or one learned for all features, "shared".
    steps, batch_size, learning_rate: of Adam, the rate going down to zero by half a cosine.
    num_draws: of the latents, over which `score_samples` averages.
    random_state: an integer for the same weights, batches and draws in every fit.

    Fitted: `params_`, nested dicts of NumPy arrays, as `models.vae.VAE` has them; `epsilon_`, the noise of the draws.
    """

    @no_type_check  # scikit-learn sets what it is given, and `fit` tells what is wrong with it
    def __init__(
        self,
        *,
        hidden: tuple[int, ...] = (128, 64),
        latent_size: int = 10,
        activation: Activation = "tanh",
        likelihood: Likelihood = "gaussian",
        stddev: float | Literal["shared"] = "shared",
        steps: int = 4000,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        num_draws: int = 50,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.latent_size = latent_size
        self.activation = activation
        self.likelihood = likelihood
        self.stddev = stddev
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.num_draws = num_draws
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "VAETransformer":
        """Trains on the rows of X [N D]; labels are not looked at."""
        X = validate_data(self, X, dtype=np.float32)
        require(self.num_draws >= 1, "num_draws", self.num_draws, "at least 1")
        self._check_values(X)
        random = check_random_state(self.random_state)
        self.params_ = trained(
            self._functions().model,
            {"x": X},
            X.mean(axis=0),
            random,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        self.epsilon_ = random.standard_normal((self.num_draws, self.latent_size)).astype(np.float32)
        self._n_features_out = self.latent_size
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The means [N Z] of the latents of the rows of X."""
        return by_rows(self._functions().encode, self.params_, {"x": checked_rows(self, X)})

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The means of the features [N D] given latents X [N Z]; of Bernoulli variables, their probabilities."""
        return by_rows(self._functions().decode, self.params_, {"code": checked_codes(self, X, self.latent_size)})

    def score_samples(self, X: Any) -> np.ndarray:
        """The evidence lower bound of each row's log-density, in nats, by the same draws for all rows and calls."""
        X = checked_rows(self, X)
        self._check_values(X)
        return by_rows(self._functions().elbo, (self.params_, self.epsilon_), {"x": X}).astype(np.float64)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: greater is better, as a search over hyperparameters expects."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """The means of the features [N D] given latents drawn from the prior, without the noise of the likelihood."""
        check_is_fitted(self)
        require(n_samples >= 1, "n_samples", n_samples, "at least 1")
        random = check_random_state(random_state)
        return self.inverse_transform(random.standard_normal((n_samples, self.latent_size)))

    def _functions(self) -> Functions:
        sizes = (tuple(self.hidden),), (self.latent_size,)
        return vae_functions(VAE(self.n_features_in_, *sizes, self.activation, self.likelihood, self.stddev))

    def _check_values(self, X: np.ndarray) -> None:
        if self.likelihood == "bernoulli" and not (X.min() >= 0 and X.max() <= 1):
            raise UsageError(f"X has values from {X.min()} to {X.max()}: expected [0, 1] with likelihood='bernoulli'.")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
