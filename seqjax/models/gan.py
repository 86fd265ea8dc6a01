"""The two players of a generative adversarial network as multi-layer perceptrons.

Beside their parameters they may keep statistics, Flax collections that no gradient moves: running averages of batch
normalisation, and the power-iteration vectors of spectral normalisation. They live in `state.extra`, an entry for each
player, and are passed along by `outputs_and_statistics`.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PyTree

from seqjax import noise
from seqjax.errors import require
from seqjax.models.mlp import Activation, activation_function
from seqjax.types import Key, Params

Statistics = dict[str, PyTree[Array]]
Conditioning = Literal["concat", "projection"]


class Generator(nn.Module):
    """Rows [B D] from latent vectors [B Z].

    sizes: of the layers, the last being D; (128, 784) is the generator 100-128-784 for Z = 100.
    output: what is done to the last layer, `sigmoid` for values in [0, 1].
    batch_norm: normalise each hidden layer over the batch before its activation (Ioffe & Szegedy 2015), with averages
        of decay 0.95 for use outside training. Rows then depend on the batch they are made in.
    num_classes: 0, or how many labels there are to be told which class to make.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import Generator
        >>> model, z = Generator((8, 6), output="sigmoid"), jnp.zeros((3, 2))
        >>> print(model.apply(model.init(jax.random.key(0), z), z)[0])
        [0.5 0.5 0.5 0.5 0.5 0.5]
    """

    sizes: tuple[int, ...]
    activation: Activation = "relu"
    output: Activation = "linear"
    batch_norm: bool = False
    num_classes: int = 0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "B Z"],
        label: Int[Array, "B"] | None = None,
        *,
        training: bool = False,
        axis_name: str | None = None,
    ) -> Float[Array, "B D"]:
        """training: use the statistics of this batch, over all devices of `axis_name`, and update the averages."""
        require(len(self.sizes) >= 1 and min(self.sizes) >= 1, "generator sizes", self.sizes, "one or more, from 1 on")
        x = _with_label(z, label, self.num_classes)
        for size in self.sizes[:-1]:
            # the shift of the normalisation is the bias
            x = nn.Dense(size, use_bias=not self.batch_norm, kernel_init=self.kernel_init)(x)
            if self.batch_norm:
                x = nn.BatchNorm(
                    use_running_average=not training,
                    momentum=0.95,
                    epsilon=1e-4,
                    axis_name=axis_name,
                    # E[x^2] - E[x]^2 loses all digits where the mean is large against the spread
                    use_fast_variance=False,
                )(x)
            x = activation_function(self.activation)(x)
        return activation_function(self.output)(nn.Dense(self.sizes[-1], kernel_init=self.kernel_init)(x))


class SpectralDense(nn.Module):
    """`x W / sigma(W) + b`, sigma(W) the largest singular value by power iteration (Miyato et al. 2018, algorithm 1).

    The first right singular vector is kept as the statistic `spectral/u`. Gradients see sigma as `v^T W u` with u and v
    fixed, which is its derivative.
    """

    size: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "B D"], *, training: bool = False) -> Float[Array, "B H"]:
        """training: make one more power iteration, and keep its result."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[1], self.size))
        # a power iteration may begin with any vector but one orthogonal to the answer
        kept = self.variable("spectral", "u", lambda: jnp.full(self.size, self.size**-0.5))
        fixed = jax.lax.stop_gradient(kernel)
        v = _unit(fixed @ kept.value)
        u = _unit(v @ fixed) if training else kept.value
        if training:
            kept.value = u
        outputs = x @ kernel / jnp.maximum(v @ kernel @ u, 1e-12)
        if self.use_bias:
            outputs = outputs + self.param("bias", nn.initializers.zeros_init(), (self.size,))[None, :]
        return outputs


def _unit(vector: Float[Array, "D"]) -> Float[Array, "D"]:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)


class Critic(nn.Module):
    """Logits [B] from rows [B D], high for those it takes for real. Rows are treated apart.

    hidden: sizes of the hidden layers; (128,) is the critic 784-128-1.
    pieces: units of a maxout layer take the largest of so many linear functions (Goodfellow et al. 2013); with 1 the
        hidden layers have the activation instead.
    spectral_norm: divide each weight matrix by its largest singular value, found by one power iteration a training
        step (Miyato et al. 2018, algorithm 1), so that with a 1-Lipschitz activation the critic is 1-Lipschitz too.
    num_classes: 0, or how many labels there are; `conditioning` on them as further inputs, or by the inner product of
        the last hidden layer with the class's own vector (Miyato & Koyama 2018, equation 4).

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import Critic
        >>> model, x = Critic((8,)), jnp.zeros((3, 6))
        >>> print(model.apply(model.init(jax.random.key(0), x), x))
        [0. 0. 0.]
    """

    hidden: tuple[int, ...]
    activation: Activation = "leaky_relu"
    pieces: int = 1
    spectral_norm: bool = False
    num_classes: int = 0
    conditioning: Conditioning = "projection"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(
        self, x: Float[Array, "B D"], label: Int[Array, "B"] | None = None, *, training: bool = False
    ) -> Float[Array, "B"]:
        """training: make one power iteration before the weights are normalised; its vectors are new statistics."""
        require(all(size >= 1 for size in self.hidden), "critic hidden", self.hidden, "sizes of at least 1")
        require(self.pieces >= 1, "pieces", self.pieces, "at least 1")

        def linear(h: Array, size: int, *, use_bias: bool = True) -> Array:
            if self.spectral_norm:
                return SpectralDense(size, use_bias, self.kernel_init)(h, training=training)
            return nn.Dense(size, use_bias, kernel_init=self.kernel_init)(h)

        h = _with_label(x, label, self.num_classes if self.conditioning == "concat" else 0)
        for size in self.hidden:
            if self.pieces > 1:
                h = _largest(linear(h, size * self.pieces).reshape(h.shape[0], size, self.pieces))
            else:
                h = activation_function(self.activation)(linear(h, size))
        logits = linear(h, 1)[:, 0]
        if self.num_classes and self.conditioning == "projection":
            classes = jax.nn.one_hot(label, self.num_classes, dtype=h.dtype)
            logits = logits + jnp.sum(h * linear(classes, h.shape[1], use_bias=False), axis=1)
        return logits


def _largest(values: Float[Array, "B H K"]) -> Float[Array, "B H"]:
    # not max(): its derivative looks for the value that equals the maximum, and is 0/0 where a compiler rounds the
    # two copies differently, as XLA has been seen to do after a spectral normalisation
    chosen = jax.nn.one_hot(jnp.argmax(jax.lax.stop_gradient(values), axis=-1), values.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(chosen, values, 0), axis=-1)


def _with_label(x: Float[Array, "B D"], label: Int[Array, "B"] | None, num_classes: int) -> Float[Array, "B M"]:
    if num_classes == 0:
        return x
    return jnp.concatenate([x, jax.nn.one_hot(label, num_classes, dtype=x.dtype)], axis=1)


def initial_parameters(model: nn.Module, key: Key, *inputs: Array) -> Params:
    """The parameters alone, `{"params": ...}`."""
    return {"params": model.init(key, *inputs)["params"]}


def initial_statistics(model: nn.Module, *inputs: Array) -> Statistics:
    """The collections beside the parameters as they begin, the same for every run; empty where a model has none."""
    # the key makes parameters alone, which are dropped
    variables = jax.jit(model.init)(jax.random.key(0), *inputs)
    return {name: collection for name, collection in variables.items() if name != "params"}


def outputs_and_statistics(
    model: nn.Module, params: Params, statistics: Statistics, *inputs: Array, **options: Any
) -> tuple[Array, Statistics]:
    """What the model makes of its inputs in training, and the statistics that follow."""
    outputs, updated = model.apply(
        {**params, **statistics}, *inputs, training=True, mutable=list(statistics), **options
    )
    return outputs, dict(updated)


def latent_vectors(key: Key, index: Int[Array, "B"], size: int) -> Float[Array, "B Z"]:
    """Standard normal vectors, that of each example drawn from its global index."""
    return noise.per_example(lambda k: jax.random.normal(k, (size,)), key, index)
