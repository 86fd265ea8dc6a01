"""How series that a model made differ from real ones, by networks that are trained to tell them, and to predict.

Source: Yoon, Jarrett & van der Schaar, "Time-series generative adversarial networks" (2019), section 5, with the sizes,
losses and optimiser of the published code. Networks start as this project's do, which differs from that code's.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int

from seqjax import losses
from seqjax.data.batches import row_indices
from seqjax.errors import DataError, require
from seqjax.evaluate.judge import fitted
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.spectra import check_series, spectral_distances
from seqjax.models.sequence import SequenceModel
from seqjax.recurrent import gru
from seqjax.types import Batch, Key, Params, Split

LEARNING_RATE = 1e-3  # of Adam


def discriminative_scores(
    real_train: Float[np.ndarray, "N T D"],
    real_test: Float[np.ndarray, "M T D"],
    generated: Float[np.ndarray, "K T D"],
    key: Key,
    *,
    hidden_size: int | None = None,
    steps: int = 2000,
    batch_size: int = 128,
    repeats: int = 5,
) -> Float[np.ndarray, "R"]:
    """|accuracy - 1/2| of a GRU that tells real series from generated ones, once for each of `repeats` trainings.

    0 where it cannot tell, 1/2 where it always can. Generated series are parted, in a random order, like the real ones
    into training and test rows; accuracy is the mean of the two shares told rightly. Each step sees `batch_size` series
    of either kind.

    hidden_size: units of the GRU; by default D // 2, at least 1, as published. So small a network misses much: a
        larger one, of 32 units, belongs beside it.

    Raises DataError for values that are not finite, shapes that differ, and fewer than two generated series.
    """
    check_series(real_train=real_train, real_test=real_test, generated=generated)
    require(hidden_size is None or hidden_size >= 1, "hidden_size", hidden_size, "at least 1")
    _check_options(steps, batch_size, repeats)
    if len(generated) < 2:
        raise DataError(f"generated: found {len(generated)} series, expected at least 2, to train on and to test on.")
    order_key, train_key = jax.random.split(key)
    shuffled = generated[np.asarray(jax.random.permutation(order_key, len(generated)))]
    share = len(real_test) / (len(real_train) + len(real_test))
    num_test = min(max(1, round(share * len(generated))), len(generated) - 1)
    scores = _discriminative_scores(
        (jnp.asarray(real_train), jnp.asarray(shuffled[num_test:])),
        (jnp.asarray(real_test), jnp.asarray(shuffled[:num_test])),
        jax.random.split(train_key, repeats),
        hidden_size=hidden_size or max(1, real_train.shape[2] // 2),
        steps=steps,
        batch_size=batch_size,
    )
    return np.asarray(scores)


def predictive_scores(
    real_test: Float[np.ndarray, "M T D"],
    generated: Float[np.ndarray, "K T D"],
    key: Key,
    *,
    hidden_size: int | None = None,
    steps: int = 5000,
    batch_size: int = 128,
    repeats: int = 5,
) -> Float[np.ndarray, "R"]:
    """Mean absolute error on real series of a GRU that was trained on generated ones, once for each of `repeats`.

    It predicts the last feature at each next step from the other features so far, through a sigmoid; units are those of
    that feature, which has to lie in [0, 1] or near. Its own past is not shown to it, as published.

    hidden_size: units of the GRU; by default D // 2, at least 1.

    Raises DataError for values that are not finite or far outside [0, 1], shapes that differ, and fewer than two
    features or two steps.
    """
    check_series(real_test=real_test, generated=generated)
    require(hidden_size is None or hidden_size >= 1, "hidden_size", hidden_size, "at least 1")
    _check_options(steps, batch_size, repeats)
    if real_test.shape[1] < 2 or real_test.shape[2] < 2:
        raise DataError(
            f"real_test: found shape {list(real_test.shape)}, expected at least two steps and two features: the last is"
            " predicted from the others, one step ahead."
        )
    low, high = real_test[..., -1].min(), real_test[..., -1].max()
    # test rows may leave the range of the training rows by which they were scaled
    if low < -0.25 or high > 1.25:
        raise DataError(f"real_test: its last feature runs from {low:g} to {high:g}, expected [0, 1] or near.")
    scores = _predictive_scores(
        jnp.asarray(real_test),
        jnp.asarray(generated),
        jax.random.split(key, repeats),
        hidden_size=hidden_size or max(1, real_test.shape[2] // 2),
        steps=steps,
        batch_size=batch_size,
    )
    return np.asarray(scores)


def measures(
    row: str,
    real_train: Float[np.ndarray, "N T D"],
    real_test: Float[np.ndarray, "M T D"],
    generated: Float[np.ndarray, "K T D"],
    key: Key,
    *,
    discriminative_steps: int = 2000,
    predictive_steps: int = 5000,
    repeats: int = 5,
) -> dict[str, float]:
    """A table row: the scores' means over `repeats`, the stronger discriminator's, the mean spectral distance.

    Spread over repeats says how well a score is known for one generator; spread over generators is for the run's seeds.
    Real series that were not trained on, in place of generated ones, give the floor.
    """
    series = (real_train, real_test, generated)
    tell_key, strong_key, predict_key = jax.random.split(key, 3)
    options = {"steps": discriminative_steps, "repeats": repeats}
    predictive = predictive_scores(real_test, generated, predict_key, steps=predictive_steps, repeats=repeats)
    strong = discriminative_scores(*series, strong_key, hidden_size=32, **options)
    return {
        f"{row}/discriminative_score": float(discriminative_scores(*series, tell_key, **options).mean()),
        f"{row}/discriminative_score_gru32": float(strong.mean()),
        f"{row}/predictive_score": float(predictive.mean()),
        f"{row}/spectral_distance": float(spectral_distances(generated, real_test).mean()),
    }


@functools.partial(jax.jit, static_argnames=("hidden_size", "steps", "batch_size"))
def _discriminative_scores(
    train: tuple[Array, Array], test: tuple[Array, Array], keys: Array, *, hidden_size: int, steps: int, batch_size: int
) -> Float[Array, "R"]:
    model = SequenceModel(gru, hidden_size, 1)

    def logits(params: Params, x: Float[Array, "B T D"]) -> Float[Array, "B"]:
        return model.apply(params, x)[:, -1, 0]

    def batch_at(source: tuple[Array, Array], key: Key, step: Array) -> Batch:
        real, made = (
            series[_rows_at(jax.random.fold_in(key, kind), step, len(series), batch_size)]
            for kind, series in enumerate(source)
        )
        label = jnp.concatenate([jnp.ones(len(real)), jnp.zeros(len(made))])
        return {"x": jnp.concatenate([real, made]), "label": label}

    def loss(params: Params, batch: Batch) -> Float[Array, "B"]:
        # each kind counts one half, also where one has fewer series than a batch
        weight = jnp.where(batch["label"] == 1, 1 / batch["label"].sum(), 1 / (1 - batch["label"]).sum())
        costs = losses.bernoulli_cross_entropy(logits(params, batch["x"])[:, None], batch["label"][:, None])
        return costs * weight * len(weight) / 2

    def init(key: Key) -> Params:
        return model.init(key, train[0][:1])

    params = fitted(loss, init, batch_at, train, keys, steps=steps, optimizer=optax.adam(LEARNING_RATE))

    def score(params: Params) -> Float[Array, ""]:
        called_real = [per_example(lambda b: logits(params, b["x"]) > 0, Split({"x": series})) for series in test]
        return jnp.abs(called_real[0].mean() - called_real[1].mean()) / 2

    return jax.lax.map(score, params)


@functools.partial(jax.jit, static_argnames=("hidden_size", "steps", "batch_size"))
def _predictive_scores(
    real: Array, generated: Array, keys: Array, *, hidden_size: int, steps: int, batch_size: int
) -> Float[Array, "R"]:
    model = SequenceModel(gru, hidden_size, 1)

    def errors(params: Params, x: Float[Array, "B T D"]) -> Float[Array, "B"]:
        predictions = jax.nn.sigmoid(model.apply(params, x[:, :-1, :-1])[..., 0])
        return jnp.abs(predictions - x[:, 1:, -1]).mean(axis=1)

    params = fitted(
        lambda params, batch: errors(params, batch["x"]),
        lambda key: model.init(key, generated[:1, :-1, :-1]),
        lambda source, key, step: {"x": source[_rows_at(key, step, len(source), batch_size)]},
        generated,
        keys,
        steps=steps,
        optimizer=optax.adam(LEARNING_RATE),
    )
    split = Split({"x": real})
    return jax.lax.map(lambda params: per_example(lambda b: errors(params, b["x"]), split).mean(), params)


def _rows_at(key: Key, step: Int[Array, ""], num_examples: int, batch_size: int) -> Int[Array, "B"]:
    return row_indices(key, step, batch_size=min(batch_size, num_examples), num_examples=num_examples)


def _check_options(steps: int, batch_size: int, repeats: int) -> None:
    require(steps >= 1, "steps", steps, "at least 1")
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    require(repeats >= 1, "repeats", repeats, "at least 1")
