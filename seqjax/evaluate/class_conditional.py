"""What a model of images given their class knows of classes: it classifies by Bayes' rule, and draws what is asked."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from seqjax.data.binarised import binarised
from seqjax.errors import DataError
from seqjax.evaluate.density_baselines import PSEUDO_COUNT, BernoulliMixture
from seqjax.evaluate.likelihood import Sampler, importance_log_likelihood, likelihood_measures
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Dataset, Key, Params, Split

NEIGHBOURS = 5
NEIGHBOUR_ROWS = 10_000  # training rows among which neighbours are looked for
DRAWN = 100  # images of each class


class NearestClass(NamedTuple):
    """`classify(images [M D]) -> [M]`, and `asked [M]`, the classes that a model is asked to draw images of."""

    classify: Callable[[Float[np.ndarray, "M D"]], Int[np.ndarray, "M"]]
    asked: Int[np.ndarray, "M"]


def num_classes(data: Dataset) -> int:
    """One more than the greatest label of any split.

    Raises DataError where there are no labels, or negative ones.
    """
    splits = (data.train, data.validation, data.test)
    if any("label" not in split.fields for split in splits):
        raise DataError(f"{data.name}: has no labels, which the model is to be told. Add an array 'label' [N].")
    labels = np.concatenate([np.asarray(split.fields["label"]) for split in splits])
    if labels.min() < 0:
        raise DataError(f"{data.name}: has label {labels.min()}; expected classes numbered 0, 1, 2, ...")
    return int(labels.max()) + 1


def class_log_likelihoods(
    sampler: Sampler, params: Params, split: Split, key: Key, count: int, *, num_samples: int
) -> Float[np.ndarray, "N C"]:
    """log p(x | class) in nats of each row for each of `count` classes, by importance sampling.

    sampler: reads the class from `batch["label"]`. The same draws serve all classes.
    """
    found = []
    for number in range(count):
        asked = Split(split.fields | {"label": np.full(split.num_examples, number, np.int32)})
        found.append(importance_log_likelihood(sampler, params, asked, key, num_samples=num_samples))
    return np.stack(found, axis=1)


def log_class_shares(label: Int[np.ndarray, "N"], count: int) -> Float[np.ndarray, "C"]:
    """log of the share of each class, as if each had been seen `PSEUDO_COUNT` times more."""
    shares = np.bincount(label, minlength=count) + PSEUDO_COUNT
    return np.log(shares / shares.sum())


def accuracy(log_joint: Float[np.ndarray, "N C"], label: Int[np.ndarray, "N"]) -> float:
    """Share of rows whose class has the greatest log p(x, class)."""
    return float((log_joint.argmax(axis=1) == label).mean())


def class_marginals(x: Float[np.ndarray, "N D"], label: Int[np.ndarray, "N"], count: int) -> BernoulliMixture:
    """Each class with the rates of its own rows, each value on its own: the "naive" Bayes classifier.

    A class counts as having `PSEUDO_COUNT` rows of ones and as many of zeros beside its own.
    """
    one_hot = np.eye(count)[label]
    rates = (one_hot.T @ x + PSEUDO_COUNT) / (one_hot.sum(axis=0) + 2 * PSEUDO_COUNT)[:, None]
    logits = np.log(rates) - np.log1p(-rates)
    weights = log_class_shares(label, count)
    return BernoulliMixture(jnp.asarray(weights, jnp.float32), jnp.asarray(logits, jnp.float32))


def class_baselines(data: Dataset, count: int, nearest: NearestClass) -> dict[str, float]:
    """The rows `class_marginal`, a model as `class_marginals` of binary images; `majority`; `real`, the test images.

    nll given the class and accuracy where there is a model, and how `nearest` takes the images.
    """
    label, true = (np.asarray(split.fields["label"]) for split in (data.train, data.test))
    test = values_of(data.test)
    model = class_marginals(values_of(binarised(data, train=True).train), label, count)
    log_joint = np.asarray(model.log_joint(jnp.asarray(test, jnp.float32)), np.float64)
    given = (log_joint - np.asarray(model.log_weights)[None])[np.arange(len(true)), true]
    rates = np.asarray(jax.nn.sigmoid(model.logits))[nearest.asked]
    drawn = (np.random.RandomState(0).uniform(size=rates.shape) < rates).astype(np.float64)
    return likelihood_measures("class_marginal", given, test.shape[1]) | {
        "class_marginal/accuracy": accuracy(log_joint, true),
        "class_marginal/obedience": obedience(nearest, drawn, nearest.asked),
        "majority/accuracy": float((true == np.bincount(label, minlength=count).argmax()).mean()),
        "real/obedience": obedience(nearest, test, true),
    }


def nearest_class(data: Dataset) -> NearestClass:
    """The class of most of an image's five nearest among at most 10,000 training images, all binary.

    `DRAWN` images are asked for of each class that these have.
    """
    from sklearn.neighbors import KNeighborsClassifier

    some = data._replace(train=Split({name: field[:NEIGHBOUR_ROWS] for name, field in data.train.fields.items()}))
    rows, label = values_of(binarised(some, train=True).train), np.asarray(some.train.fields["label"])
    fitted = KNeighborsClassifier(min(NEIGHBOURS, len(rows)), algorithm="brute").fit(rows, label)
    return NearestClass(fitted.predict, np.repeat(np.unique(label), DRAWN).astype(np.int32))


def obedience(nearest: NearestClass, images: Float[np.ndarray, "M D"], label: Int[np.ndarray, "M"]) -> float:
    """Share of binary images that are taken for their label: whether a class is obeyed, not whether images vary."""
    return float((nearest.classify(images) == label).mean())
