"""The variational autoencoder: layers of Gaussian latents under a Bernoulli or a Gaussian likelihood.

Layer 0 is next to the data x. Each layer's latents are drawn from q(z_0 | x), q(z_1 | z_0), ... and generated from the
top down by p(z_l | z_{l+1}), where the top layer's p is the standard normal.
Sources: Kingma & Welling 2014; Burda, Grosse & Salakhutdinov 2016 (several layers); Sohn, Lee & Yan 2015 (condition).
"""

import functools
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from seqjax import losses, noise
from seqjax.densities import LOG_SQRT_2_PI, floored, gaussian_kl_of_values, gaussian_log_density_of_values
from seqjax.errors import require
from seqjax.models.mlp import Activation, activation_function
from seqjax.types import Key, Params

Latents = tuple[Float[Array, "B K _"], ...]  # by layer, from the data up
Condition = Float[Array, "B C"] | None


class Gaussian(NamedTuple):
    """Mean and logarithm of the standard deviation of each value."""

    mean: Array
    log_stddev: Array

    def at(self, epsilon: Array) -> Array:
        """The value that many standard deviations from the mean."""
        return self.mean + jnp.exp(self.log_stddev) * epsilon

    def log_density(self, z: Float[Array, "B K Z"]) -> Float[Array, "B K"]:
        return gaussian_log_density_of_values(z, self.mean, self.log_stddev).sum(axis=-1)


class Draws(NamedTuple):
    """K draws of the latents of each example, and what they cost in nats.

    posteriors: what each layer is drawn from, given the draw of the layer below it; K is 1 in the lowest.
    log_likelihood: log p(x | z_0); log_prior: log p(z); log_posterior: log q(z | x); each `[B K]`, over all layers.
    kl: what each unit of each layer costs: of the top layer in closed form, given the draw of the layer below it; of
        the others as drawn, log q - log p. `[B K Z]`, where K is 1 if the draw does not matter.
    """

    latents: Latents
    posteriors: tuple[Gaussian, ...]
    log_likelihood: Array
    log_prior: Array
    log_posterior: Array
    kl: Latents

    @property
    def log_weights(self) -> Float[Array, "B K"]:
        """log p(x, z) - log q(z | x): the logarithm of an unbiased estimate of p(x)."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    @property
    def kl_of_units(self) -> Float[Array, "B Z"]:
        """`kl` of all layers side by side, its mean over the draws."""
        return jnp.concatenate([kl.mean(axis=1) for kl in self.kl], axis=1)


class Hidden(nn.Module):
    """Dense layers, each with the activation after it, of an input beside which a condition may be read."""

    sizes: tuple[int, ...]
    activation: Activation

    @nn.compact
    def __call__(self, x: Float[Array, "B *K D"], condition: Condition) -> Float[Array, "B *K H"]:
        if condition is not None:
            beside = condition.reshape(condition.shape[:1] + (1,) * (x.ndim - 2) + condition.shape[1:])
            x = jnp.concatenate([x, jnp.broadcast_to(beside, (*x.shape[:-1], condition.shape[1]))], axis=-1)
        for number, size in enumerate(self.sizes):
            x = activation_function(self.activation)(dense(size, f"hidden_{number}")(x))
        return x


class GaussianLayer(nn.Module):
    """A Gaussian whose mean and logarithmic scale are linear in the last hidden layer.

    stddev: "each" value's scale is a function of the input, or one learned scale is "shared", or a number fixes it.
    lowest: learned logarithmic scales stay above it.
    """

    hidden: tuple[int, ...]
    size: int
    activation: Activation
    stddev: float | Literal["shared", "each"] = "each"
    lowest: float | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B *K D"], condition: Condition) -> Gaussian:
        h = Hidden(self.hidden, self.activation, name="below")(x, condition)
        mean = dense(self.size, "mean")(h)
        match self.stddev:
            case "each":
                log_stddev = dense(self.size, "log_stddev")(h)
            case "shared":
                log_stddev = self.param("log_stddev", nn.initializers.zeros, ())
            case fixed:
                return Gaussian(mean, jnp.log(jnp.full((1,) * mean.ndim, fixed, mean.dtype)))
        log_stddev = log_stddev if self.lowest is None else floored(log_stddev, self.lowest)
        return Gaussian(mean, log_stddev.reshape((1,) * (mean.ndim - log_stddev.ndim) + log_stddev.shape))


class BernoulliLayer(nn.Module):
    """Logits that are linear in the last hidden layer."""

    hidden: tuple[int, ...]
    size: int
    activation: Activation

    @nn.compact
    def __call__(self, x: Float[Array, "B *K H"], condition: Condition) -> Float[Array, "B *K D"]:
        return dense(self.size, "mean")(Hidden(self.hidden, self.activation, name="below")(x, condition))


class VAE(nn.Module):
    """`VAE(784, ((200, 200),), (50,))` is 784-200-200-50 and back; `VAE(784, ((200, 200), (100, 100)), (100, 50))` has
    two layers of latents.

    hidden: for each layer of latents, the hidden layers of its q from below; its p has them from above.
    likelihood: of the data given z_0.
    stddev: of a Gaussian likelihood: a number, "shared" (one is learned), or "each" (a function of z_0 for each value);
        learned ones stay above `min_stddev`, without which a constant column of the data has no greatest likelihood.

    A condition `[B C]`, such as a label one-hot, is read by every q and p beside its own input.

    Params: `q_0`, `q_1`, ... and `p_0` (the likelihood), `p_1`, ...; kernels Glorot-uniform, biases 0.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import VAE, evidence_lower_bound
        >>> model, x = VAE(6, hidden=((4,),), latent_sizes=(2,)), jnp.ones((3, 6))
        >>> epsilon = (jax.random.normal(jax.random.key(1), (3, 8, 2)),)  # 8 draws of each example
        >>> params = jax.jit(model.init)(jax.random.key(0), x, epsilon)
        >>> draws = jax.jit(model.apply)(params, x, epsilon)
        >>> bound = evidence_lower_bound(draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1))
        >>> print(bound.shape, bool((bound < 0).all()))
        (3,) True
    """

    num_values: int
    hidden: tuple[tuple[int, ...], ...]
    latent_sizes: tuple[int, ...]
    activation: Activation = "tanh"
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    stddev: float | Literal["shared", "each"] = "shared"
    min_stddev: float = 0.01

    def __post_init__(self) -> None:
        # where it is made, so that what cannot be is told before anything is computed
        sizes = [size for layer in self.hidden for size in layer]
        require(all(size >= 1 for size in sizes), "hidden", self.hidden, "sizes of at least 1")
        require(min(self.latent_sizes, default=0) >= 1, "latent_sizes", self.latent_sizes, "one or more of at least 1")
        require(len(self.hidden) == len(self.latent_sizes), "hidden", self.hidden, f"{len(self.latent_sizes)} of them")
        require(self.likelihood in ("bernoulli", "gaussian"), "likelihood", self.likelihood, "bernoulli or gaussian")
        learned = isinstance(self.stddev, str)
        require(learned or self.stddev > 0, "stddev", self.stddev, "a positive number")
        require(self.min_stddev > 0, "min_stddev", self.min_stddev, "a positive number")
        super().__post_init__()

    def setup(self) -> None:
        layers = list(zip(self.hidden, self.latent_sizes, strict=True))
        self.q = [GaussianLayer(hidden, size, self.activation) for hidden, size in layers]
        bottom = (self.hidden[0][::-1], self.num_values, self.activation)
        if self.likelihood == "bernoulli":
            data_layer = BernoulliLayer(*bottom)
        else:
            data_layer = GaussianLayer(*bottom, self.stddev, math.log(self.min_stddev))
        upper = zip(self.hidden[1:], self.latent_sizes[:-1], strict=True)
        self.p = [data_layer, *(GaussianLayer(hidden[::-1], below, self.activation) for hidden, below in upper)]

    def __call__(
        self,
        x: Float[Array, "B D"],
        epsilon: Latents,
        condition: Condition = None,
        *,
        mask: Bool[Array, "B D"] | None = None,
    ) -> Draws:
        """The draws that lie `epsilon` standard deviations from their means, layer by layer.

        mask: the values whose likelihood counts; what the others hold is read by q nevertheless.
        """
        latents, posteriors = self.draw(x, epsilon, condition)
        priors = [self.p[layer](latents[layer], condition) for layer in range(1, len(latents))]
        log_q = sum(_values_at(q, e).sum(axis=-1) for q, e in zip(posteriors, epsilon, strict=True))
        drawn = (
            _values_at(q, e) - gaussian_log_density_of_values(z, *p)
            for q, e, p, z in zip(posteriors[:-1], epsilon[:-1], priors, latents[:-1], strict=True)
        )
        kl = (*drawn, gaussian_kl_of_values(*posteriors[-1]))
        log_likelihood = self.log_likelihood(x, latents[0], condition, mask=mask)
        return Draws(latents, posteriors, log_likelihood, _log_prior(priors, latents), log_q, kl)

    def draw(
        self, x: Float[Array, "B D"], epsilon: Latents, condition: Condition = None
    ) -> tuple[Latents, tuple[Gaussian, ...]]:
        """The latents of each layer, and the Gaussians they are drawn from, given the draw of the layer below."""
        latents, posteriors, below = [], [], x[:, None, :]
        for q, e in zip(self.q, epsilon, strict=True):
            posteriors.append(q(below, condition))
            below = posteriors[-1].at(e)
            latents.append(below)
        return tuple(latents), tuple(posteriors)

    def log_posterior(self, x: Float[Array, "B D"], latents: Latents, condition: Condition = None) -> Array:
        """log q(z | x) `[B K]` of given latents."""
        below = (x[:, None, :], *latents[:-1])
        return sum(q(b, condition).log_density(z) for q, b, z in zip(self.q, below, latents, strict=True))

    def log_joint(self, x: Float[Array, "B D"], latents: Latents, condition: Condition = None) -> Array:
        """log p(x, z) `[B K]` of given latents."""
        priors = [self.p[layer](latents[layer], condition) for layer in range(1, len(latents))]
        return self.log_likelihood(x, latents[0], condition) + _log_prior(priors, latents)

    def log_likelihood(
        self,
        x: Float[Array, "B D"],
        z: Float[Array, "B K Z"],
        condition: Condition = None,
        *,
        mask: Bool[Array, "B D"] | None = None,
    ) -> Array:
        """log p(x | z_0) `[B K]`, of the values under `mask` if there is one."""
        outputs = self.p[0](z, condition)
        if self.likelihood == "bernoulli":
            nats = functools.partial(losses.bernoulli_cross_entropy, targets=x, mask=mask)
            return -jax.vmap(nats, in_axes=1, out_axes=1)(outputs)
        values = gaussian_log_density_of_values(jnp.broadcast_to(x[:, None, :], outputs.mean.shape), *outputs)
        return (values if mask is None else jnp.where(mask[:, None, :], values, 0)).sum(axis=-1)

    def encode(self, x: Float[Array, "B D"], condition: Condition = None, *, layer: int = 0) -> Float[Array, "B Z"]:
        """The mean of q in that layer, of the means of the layers below it."""
        for q in self.q[: layer + 1]:
            x = q(x, condition).mean
        return x

    def decode(self, z: Float[Array, "B *K Z"], condition: Condition = None, *, layer: int = 0) -> Array:
        """The mean of the data `[B *K D]` (probabilities, if Bernoulli), of the means of the layers in between."""
        for p in self.p[layer:0:-1]:
            z = p(z, condition).mean
        outputs = self.p[0](z, condition)
        return jax.nn.sigmoid(outputs) if self.likelihood == "bernoulli" else outputs.mean

    def generate(self, epsilon: tuple[Float[Array, "B _"], ...], condition: Condition = None) -> Float[Array, "B D"]:
        """The mean of the data given latents drawn from p, `epsilon` standard deviations from their means."""
        z = epsilon[-1]
        for p, e in zip(self.p[:0:-1], epsilon[-2::-1], strict=True):
            z = p(z, condition).at(e)
        return self.decode(z, condition)


def dense(size: int, name: str) -> nn.Dense:
    return nn.Dense(size, kernel_init=nn.initializers.glorot_uniform(), name=name, dot_general=_product_of_rows)


def _product_of_rows(x: Float[Array, "B *K D"], kernel: Float[Array, "D H"], *_: Any, **options: Any) -> Array:
    """`x @ kernel` as one product of two matrices; of three axes, XLA copies the gradients into another order first."""
    rows = lax.dot_general(x.reshape(-1, x.shape[-1]), kernel, (((1,), (0,)), ((), ())), **options)
    return rows.reshape(*x.shape[:-1], kernel.shape[1])


def _values_at(gaussian: Gaussian, epsilon: Array) -> Array:
    """The log-densities `epsilon` standard deviations from the mean, with nothing subtracted and divided again."""
    return -0.5 * jnp.square(epsilon) - gaussian.log_stddev - LOG_SQRT_2_PI


def _log_prior(priors: list[Gaussian], latents: Latents) -> Float[Array, "B K"]:
    top = gaussian_log_density_of_values(latents[-1], 0.0, 0.0).sum(axis=-1)
    return top + sum(p.log_density(z) for p, z in zip(priors, latents[:-1], strict=True))


def standard_noise(
    key: Key, index: Int[Array, "B"], samples: Int[Array, "K"], sizes: tuple[int, ...]
) -> tuple[Float[Array, "B K _"], ...]:
    """Standard normal `epsilon` for each layer: each draw of each example from a key of its own.

    The numbers of draw `samples[k]` of the example with global index `index[b]` are the same in whatever batch, on
    whatever device and with however many other draws they are made.
    """

    def draw(sample: Array) -> Array:
        sample_key = jax.random.fold_in(key, sample)
        return noise.per_example(lambda k: jax.random.normal(k, (sum(sizes),)), sample_key, index)

    drawn = jax.vmap(draw, out_axes=1)(samples)
    ends = [sum(sizes[: layer + 1]) for layer in range(len(sizes))]
    return tuple(drawn[:, :, end - size : end] for size, end in zip(sizes, ends, strict=True))


def initial(model: VAE, key: Key, mean: Float[np.ndarray, "D"], *, num_conditions: int = 0) -> Params:
    """Parameters to start from: the likelihood's mean is that of the training data, whatever the latents say.

    mean: of the training data; as logits, clipped to [.001, .999], where the likelihood is Bernoulli.
    num_conditions: values of the condition, if there is one.
    """
    from scipy.special import logit

    epsilon = tuple(jnp.zeros((1, 1, size)) for size in model.latent_sizes)
    condition = jnp.zeros((1, num_conditions)) if num_conditions else None
    weights = model.init(key, jnp.zeros((1, model.num_values)), epsilon, condition)["params"]
    bias = logit(np.clip(mean, 0.001, 0.999)) if model.likelihood == "bernoulli" else mean
    outputs = weights["p_0"]["mean"] | {"bias": jnp.asarray(bias, weights["p_0"]["mean"]["bias"].dtype)}
    return {"params": weights | {"p_0": weights["p_0"] | {"mean": outputs}}}
