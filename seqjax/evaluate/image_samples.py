"""Generated images beside real ones, and beside samplers that learn little: the rows of a table.

Distances and shares are taken on the features of the project's own classifier, between one half of the test split and
as many images of each row; the other half is the row `real`, the floor that no generator can be expected to pass.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from seqjax.errors import DataError
from seqjax.evaluate import generation, neighbours
from seqjax.evaluate.feature_distances import halves
from seqjax.evaluate.feature_network import FeatureNetwork, feature_network, num_classes
from seqjax.evaluate.reconstruction import values_of
from seqjax.models.image_classifier import side_of
from seqjax.types import Dataset, Key

RECIPE_KEY = 0  # of the network, of the halves and of the directions: one for all runs, so that they can be compared


class ImageJudge(NamedTuple):
    """What images are measured with: the network, the half of the test split they are held against, and all pixels."""

    network: FeatureNetwork
    reference: Float[np.ndarray, "N D"]
    train: Float[np.ndarray, "M D"]
    held_out: Float[np.ndarray, "N D"]

    def classes(self, images: Float[np.ndarray, "N D"]) -> Int[np.ndarray, "N"]:
        """The class that the network takes each image for."""
        return self.network.logits(images.astype(np.float32)).argmax(axis=1)

    def measures(self, row: str, images: Float[np.ndarray, "N D"]) -> dict[str, float]:
        """Distances and shares of `generation.measures` on features; copies of training images, on pixels; and
        `class_kl`, the KL divergence in nats of the classes seen among the images from those among the reference.
        """
        features, reference = (self.network.features(x.astype(np.float32)) for x in (images, self.reference))
        found = generation.measures(row, features, reference, jax.random.key(RECIPE_KEY))
        found |= neighbours.measures(row, neighbours.copying(images, self.train, self.held_out))
        return found | {f"{row}/class_kl": class_divergence(self.classes(images), self.classes(self.reference))}


def check_measurable(data: Dataset) -> None:
    """Raises DataError or UsageError for data that `image_judge` and its measures would refuse, before any training.

    They need labels from 0 up, square images, some test rows, and test rows that are not training rows.
    """
    num_classes(data.train)
    side_of(math.prod(data.train.fields["x"].shape[1:]))
    least = 2 * (max(generation.PRECISION_NEIGHBOURS, generation.DENSITY_NEIGHBOURS) + 1)
    if data.test.num_examples < least:
        raise DataError(
            f"{data.name}: has {data.test.num_examples} test rows, by which images are measured; expected at least"
            f" {least}."
        )
    known = {row.tobytes() for row in data.train.fields["x"]}
    copies = sum(row.tobytes() in known for row in data.test.fields["x"])
    if 2 * copies >= data.test.num_examples:
        raise DataError(
            f"{data.name}: {copies} of {data.test.num_examples} test rows are training rows, beside which no image is"
            " seen to be a copy; expected rows that are new."
        )


def image_judge(data: Dataset) -> ImageJudge:
    """Trains the network on the training split and parts the test split; raises DataError as `feature_network` does."""
    key = jax.random.key(RECIPE_KEY)
    reference, held_out = halves(values_of(data.test), key)
    return ImageJudge(feature_network(data.train, jax.random.clone(key)), reference, values_of(data.train), held_out)


def trivial_samples(data: Dataset, count: int, key: Key) -> dict[str, Float[np.ndarray, "N D"]]:
    """Images by name of the sampler.

    real: of the test split's other half. train: training images, which are all copies. gaussian: with the mean and
    covariance of the training images, clipped to [0, 1]. pixels: each pixel drawn from its own values, apart from all
    others.
    """
    x = values_of(data.train)
    rng = np.random.default_rng(np.asarray(jax.random.bits(key, (4,))))
    values, vectors = np.linalg.eigh(np.cov(x.T))
    noise = rng.normal(size=(count, x.shape[1])) * np.sqrt(np.maximum(values, 0))
    return {
        "real": halves(values_of(data.test), jax.random.key(RECIPE_KEY))[1][:count],
        "train": x[rng.choice(len(x), count, replace=len(x) < count)],
        "gaussian": np.clip(x.mean(axis=0) + noise @ vectors.T, 0, 1),
        "pixels": np.take_along_axis(x, rng.integers(len(x), size=(count, x.shape[1])), axis=0),
    }


def class_divergence(found: Int[np.ndarray, "N"], expected: Int[np.ndarray, "M"]) -> float:
    """KL divergence in nats of the classes `found` from those `expected`, each class counted once more than seen.

    Without that a class that is expected nowhere would cost infinitely much.
    """
    size = 1 + max(found.max(), expected.max())
    shares = [(np.bincount(labels, minlength=size) + 1) / (len(labels) + size) for labels in (found, expected)]
    return float(np.sum(shares[0] * np.log(shares[0] / shares[1])))
