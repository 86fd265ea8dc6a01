"""Mixtures of equal Gaussians on known means, where what a generator covers and what it drops can be counted.

Source: the ring and the grid of Lin, Khetan, Fanti & Oh, "PacGAN" (2018), after Srivastava et al., "VEEGAN" (2017).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from seqjax.data.synthetic import Task, synthetic_dataset
from seqjax.errors import require
from seqjax.types import Dataset, Key

RING_STDDEV = 0.01
GRID_STDDEV = 0.05


def ring_means(count: int = 8, *, radius: float = 1.0) -> Float[np.ndarray, "K 2"]:
    """`count` means evenly spaced on a circle, the k-th at angle 2 pi k / count."""
    require(count >= 1, "count", count, "at least 1 mean")
    require(radius > 0, "radius", radius, "a positive number")
    angles = 2 * np.pi * np.arange(count) / count
    return (radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def grid_means(side: int = 5, *, spacing: float = 2.0) -> Float[np.ndarray, "K 2"]:
    """`side` by `side` means around the origin, `spacing` apart: by default {-4, -2, 0, 2, 4} squared."""
    require(side >= 1, "side", side, "at least 1 mean a side")
    require(spacing > 0, "spacing", spacing, "a positive number")
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def mixture_point(key: Key, *, means: Float[np.ndarray, "K D"], stddev: float) -> dict[str, Array]:
    """`x [D]`: one of the means, each as likely, plus Gaussian noise; `label []` says which. A task of `synthetic`."""
    require(stddev >= 0, "stddev", stddev, "0 or more")
    label_key, noise_key = jax.random.split(key)
    label = jax.random.randint(label_key, (), 0, len(means))
    noise = jax.random.normal(noise_key, means.shape[1:])
    return {"x": jnp.asarray(means)[label] + stddev * noise, "label": label}


MIXTURES = {"ring": (ring_means(), RING_STDDEV), "grid": (grid_means(), GRID_STDDEV)}
"""Means and standard deviation of the mixtures by the names that `load` knows."""

TRAIN_SIZE = 100_000


def mixture_task(name: str) -> Task:
    """`key -> {"x": [2], "label": []}` of one of `MIXTURES`."""
    means, stddev = MIXTURES[name]
    return functools.partial(mixture_point, means=means, stddev=stddev)


def mixture_dataset(name: str, *, validation_size: int | None = None) -> Dataset:
    """100,000 training samples as in the paper, 2,500 to validate on or `validation_size`, and 2,500 to test on."""
    size = 2500 if validation_size is None else validation_size
    return synthetic_dataset(name, mixture_task(name), train_size=TRAIN_SIZE, validation_size=size, test_size=2500)
