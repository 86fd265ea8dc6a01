"""The multi-layer autoencoder: an encoder to a code, and its mirror image back."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from seqjax.errors import require
from seqjax.models.mlp import Activation, activation_function
from seqjax.types import Params


def starting_at(params: Params, outputs: Float[Array, "D"]) -> Params:
    """The parameters with the biases of the last layer set, so that training starts from a constant output.

    Starting at the mean of the data leaves no early drift that all units must follow: with it and Glorot's weights
    none of 32 rectified code units dies on MNIST, without both up to 6 do.
    """
    weights = params["params"]
    last = f"decoder_bias_{sum(name.startswith('decoder_bias') for name in weights) - 1}"
    return params | {"params": weights | {last: jnp.asarray(outputs, weights[last].dtype)}}


class Autoencoder(nn.Module):
    """`sizes` runs from the input to the code: (784, 1000, 500, 250, 30); the decoder runs back.

    tied: the decoder uses the encoder's kernels transposed, with biases of its own.
    kernel_init: of all kernels.
    active_units: how many of an example's code units stay, the largest (Makhzani & Frey 2013); `None` keeps all.
    Products are taken in `dtype` (`None`: that of input and weights); weights, code and output are at least float32.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from seqjax import Autoencoder
        >>> model, x = Autoencoder((6, 4, 2)), jnp.ones((3, 6))
        >>> params = jax.jit(model.init)(jax.random.key(0), x)
        >>> outputs, code = model.apply(params, x)
        >>> print(outputs.shape, code.shape, model.apply(params, x, method="encode").shape)
        (3, 6) (3, 2) (3, 2)
    """

    sizes: tuple[int, ...]
    activation: Activation = "relu"
    code_activation: Activation = "linear"
    tied: bool = False
    active_units: int | None = None
    dtype: DTypeLike | None = None
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()

    def setup(self) -> None:
        require(
            len(self.sizes) >= 2 and min(self.sizes) >= 1, "layer sizes", self.sizes, "two or more, each at least 1"
        )
        units = self.active_units
        require(
            units is None or 1 <= units <= self.sizes[-1], "active_units", units, f"1 to {self.sizes[-1]}, the code"
        )
        kernel_init, bias_init = self.kernel_init, nn.initializers.zeros_init()
        down = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        up = [(after, before) for before, after in reversed(down)]
        self.encoder_kernels = [self.param(f"encoder_kernel_{i}", kernel_init, shape) for i, shape in enumerate(down)]
        self.encoder_biases = [self.param(f"encoder_bias_{i}", bias_init, (size,)) for i, (_, size) in enumerate(down)]
        self.decoder_biases = [self.param(f"decoder_bias_{i}", bias_init, (size,)) for i, (_, size) in enumerate(up)]
        if self.tied:
            self.decoder_kernels = [kernel.T for kernel in reversed(self.encoder_kernels)]
        else:
            self.decoder_kernels = [self.param(f"decoder_kernel_{i}", kernel_init, shape) for i, shape in enumerate(up)]

    def _layers(
        self, x: Float[Array, "B D"], kernels: Sequence[Array], biases: Sequence[Array], last_activation: Activation
    ) -> Float[Array, "B Z"]:
        for position, (kernel, bias) in enumerate(zip(kernels, biases, strict=True), start=1):
            name = self.activation if position < len(kernels) else last_activation
            x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
            x = activation_function(name)(x @ kernel + bias[None, :])
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def encode(self, x: Float[Array, "B D"]) -> Float[Array, "B Z"]:
        code = self._layers(x, self.encoder_kernels, self.encoder_biases, self.code_activation)
        if self.active_units is None:
            return code
        threshold = jax.lax.top_k(code, self.active_units)[0][:, -1:]
        return jnp.where(code >= threshold, code, 0.0)

    def decode(self, code: Float[Array, "B Z"]) -> Float[Array, "B D"]:
        """The output before its nonlinearity: means of a Gaussian, or logits of Bernoulli variables."""
        return self._layers(code, self.decoder_kernels, self.decoder_biases, "linear")

    def __call__(self, x: Float[Array, "B D"]) -> tuple[Float[Array, "B D"], Float[Array, "B Z"]]:
        code = self.encode(x)
        return self.decode(code), code
