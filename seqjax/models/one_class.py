"""What has seen normal examples alone, and says of any example how far it is from them.

Three scorers: an autoencoder's error, a VAE's bound of the likelihood, and the distance to a centre (Deep SVDD: Ruff et
al., "Deep one-class classification", 2018).
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from seqjax import bounds, losses
from seqjax.models.autoencoder import Autoencoder, starting_at
from seqjax.models.latent_space import flat, posterior_draws
from seqjax.models.mlp import activation_function
from seqjax.models.vae import VAE
from seqjax.types import Batch, Key, Params

Terms = dict[str, Float[Array, "B"]]
NEAR_ZERO = 0.1  # within which a centre's coordinates are pushed away to it
DRAWS = 10  # of a VAE's latents, for an example's score


class Scorer(NamedTuple):
    """Pure functions of a batch whose `x` is `[B ...]`.

    init: `(key, mean [D]) -> params`, the mean being that of the examples to learn from.
    loss: `(params, batch, key) -> (values [B], terms)`.
    score: `(params, batch, key) -> [B]`, the greater, the less normal; of each example alone.
    """

    init: Callable[[Key, Float[Array, "D"]], Params]
    loss: Callable[[Params, Batch, Key], tuple[Float[Array, "B"], Terms]]
    score: Callable[[Params, Batch, Key], Float[Array, "B"]]


def autoencoder_scorer(model: Autoencoder) -> Scorer:
    """Summed squared error of the reconstruction, in training as in scores."""

    def init(key: Key, mean: Float[Array, "D"]) -> Params:
        return starting_at(model.init(key, mean[None]), mean)

    def score(params: Params, batch: Batch, key: Key) -> Float[Array, "B"]:
        x = flat(batch["x"])
        return losses.squared_error(model.apply(params, x)[0], x)

    return Scorer(init, lambda *inputs: (score(*inputs), {}), score)


def vae_scorer(model: VAE) -> Scorer:
    """The negative evidence lower bound in nats: of one draw in training, the mean of `DRAWS` in scores.

    Under a Bernoulli likelihood intensities count as they are, as the mean over images drawn from them would.
    """

    def init(key: Key, mean: Float[Array, "D"]) -> Params:
        epsilon = tuple(jnp.zeros((1, 1, size)) for size in model.latent_sizes)
        weights = model.init(key, mean[None], epsilon)["params"]
        bernoulli = model.likelihood == "bernoulli"
        bias = jax.scipy.special.logit(jnp.clip(mean, 0.001, 0.999)) if bernoulli else mean
        return {"params": weights | {"p_0": weights["p_0"] | {"mean": weights["p_0"]["mean"] | {"bias": bias}}}}

    def terms(params: Params, batch: Batch, key: Key, count: int) -> Terms:
        draws = posterior_draws(model, params, batch, key, jnp.arange(count))
        return {"reconstruction": -draws.log_likelihood.mean(axis=1), "kl": draws.kl_of_units.sum(axis=1)}

    def bound(found: Terms) -> Float[Array, "B"]:
        return -bounds.evidence_lower_bound(-found["reconstruction"], found["kl"])

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Float[Array, "B"], Terms]:
        found = terms(params, batch, key, 1)
        return bound(found), found

    return Scorer(init, loss, lambda params, batch, key: bound(terms(params, batch, key, DRAWS)))


class Unbiased(nn.Module):
    """Dense layers without biases, `leaky_relu` between them and none after the last: zeros come out as zeros.

    With biases, or with units that saturate, a network could send every example to one point whatever it is
    (Ruff et al. 2018, propositions 2 and 3).
    """

    sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B Z"]:
        for position, size in enumerate(self.sizes):
            if position > 0:
                x = activation_function("leaky_relu")(x)
            x = nn.Dense(size, use_bias=False, kernel_init=nn.initializers.glorot_uniform())(x)
        return x


class DeepSVDD(NamedTuple):
    """Both phases, and what is decided between them and on the way.

    pretraining: the encoder and its mirror image as an autoencoder; params `encoder`, `decoder`.
    one_class: params `encoder`, `centre [Z]` and `squared_radius []`, of which the encoder alone is trained; scores
        are squared distances to the centre.
    outputs: `(params, batch) -> [B Z]`, the encoder's, of either phase.
    """

    pretraining: Scorer
    one_class: Scorer
    outputs: Callable[[Params, Batch], Float[Array, "B Z"]]


def deep_svdd(
    num_values: int, hidden: tuple[int, ...], code_size: int, *, weight_decay: float, outliers: float | None = None
) -> DeepSVDD:
    """Ruff et al. 2018, equation 4: squared distance to the centre + weight_decay / 2 * squared weights.

    outliers: equation 3 instead, a ball of the given radius with a soft boundary; see `soft_boundary`.
    """
    encoder, decoder = Unbiased((*hidden, code_size)), Unbiased((*hidden[::-1], num_values))

    def outputs(params: Params, batch: Batch) -> Float[Array, "B Z"]:
        return encoder.apply(params["encoder"], flat(batch["x"]))

    def penalty(params: Params) -> Float[Array, ""]:
        return 0.5 * weight_decay * sum(jnp.square(kernel).sum() for kernel in jax.tree.leaves(params))

    def init_both(key: Key, mean: Float[Array, "D"]) -> Params:
        encoder_key, decoder_key = jax.random.split(key)
        code = jnp.zeros((1, code_size), mean.dtype)
        return {"encoder": encoder.init(encoder_key, mean[None]), "decoder": decoder.init(decoder_key, code)}

    def error(params: Params, batch: Batch, key: Key) -> Float[Array, "B"]:
        return losses.squared_error(decoder.apply(params["decoder"], outputs(params, batch)), flat(batch["x"]))

    def pretraining_loss(params: Params, batch: Batch, key: Key) -> tuple[Float[Array, "B"], Terms]:
        reconstruction = error(params, batch, key)
        return reconstruction + penalty(params), {"reconstruction": reconstruction}

    def init_ball(key: Key, mean: Float[Array, "D"]) -> Params:
        start = {"encoder": encoder.init(key, mean[None])}
        return start | {"centre": jnp.zeros(code_size, mean.dtype), "squared_radius": jnp.zeros((), mean.dtype)}

    def distance(params: Params, batch: Batch, key: Key) -> Float[Array, "B"]:
        found = outputs(params, batch)
        return losses.squared_error(found, jnp.broadcast_to(lax.stop_gradient(params["centre"]), found.shape))

    def ball_loss(params: Params, batch: Batch, key: Key) -> tuple[Float[Array, "B"], Terms]:
        distances = distance(params, batch, key)
        values = distances
        if outliers is not None:
            values = soft_boundary(distances, lax.stop_gradient(params["squared_radius"]), outliers=outliers)
        return values + penalty(params["encoder"]), {"distance": distances}

    return DeepSVDD(Scorer(init_both, pretraining_loss, error), Scorer(init_ball, ball_loss, distance), outputs)


def soft_boundary(
    distances: Float[Array, "B"], squared_radius: Float[Array, ""], *, outliers: float
) -> Float[Array, "B"]:
    """R^2 + max(0, distance - R^2) / outliers: a ball that about so large a share of the examples may lie outside of.

    distances: squared. Source: Ruff et al. 2018, equation 3.
    """
    return squared_radius + jnp.maximum(distances - squared_radius, 0) / outliers


def centre_of(outputs: Float[Array, "N Z"], valid: Bool[Array, "N"]) -> Float[Array, "Z"]:
    """The mean of the valid rows, coordinates nearer to 0 than `NEAR_ZERO` put there, with their sign.

    Where the centre is 0, weights of 0 would be a solution (Ruff et al. 2018, proposition 1).
    """
    mean = jnp.where(valid[:, None], outputs, 0).sum(axis=0) / valid.sum()
    away = jnp.where(mean < 0, -NEAR_ZERO, NEAR_ZERO)
    return jnp.where(jnp.abs(mean) < NEAR_ZERO, away, mean)


def squared_radius_of(distances: Float[Array, "N"], valid: Bool[Array, "N"], *, outliers: float) -> Float[Array, ""]:
    """The squared distance that the share `outliers` of the valid rows lies beyond: what minimises the mean of
    `soft_boundary`.
    """
    return jnp.nanquantile(jnp.where(valid, distances, jnp.nan), 1 - outliers)
