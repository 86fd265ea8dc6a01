"""A small convolutional classifier of grey images, and the features it sees them by."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.errors import UsageError


class ImageClassifier(nn.Module):
    """Convolutions of 3 by 3 with stride 2 and ReLU, then a layer of features with ReLU, then linear logits.

    Images are rows [B D] of squares, D = side * side, side at least 4.

    widths: channels of the convolutions; each halves the side.
    """

    num_classes: int
    widths: tuple[int, ...] = (16, 32)
    num_features: int = 64

    @nn.compact
    def __call__(self, x: Float[Array, "B D"]) -> tuple[Float[Array, "B V"], Float[Array, "B Z"]]:
        """Logits, and the features they are linear in. Raises UsageError for rows that are no squares."""
        side = side_of(x.shape[1])
        x = x.reshape(-1, side, side, 1)
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(patches(x)))
        features = nn.relu(nn.Dense(self.num_features)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes)(features), features


def side_of(num_values: int) -> int:
    """Of a square image. Raises UsageError where the values make none, or one under 4 by 4."""
    side = math.isqrt(num_values)
    if side * side != num_values or side < 4:
        raise UsageError(f"x: found rows of {num_values} values, expected square images of at least 4 by 4.")
    return side


def patches(images: Float[Array, "B Y X C"]) -> Float[Array, "B _ _ _"]:
    """The 3 by 3 neighbourhood of every second pixel, side by side [B Y/2 X/2 9C], zeros around the image.

    With a product after it this is the convolution: within a scan XLA's own takes 7 times as long on a CPU.
    """
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1)
