"""One class of a labelled data set is normal, all others are not; or each in turn, side by side in one batch."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Int

from seqjax.data.batches import intensities, row_indices
from seqjax.errors import DataError
from seqjax.types import Batch, Dataset, Key, Split


def normal_classes(data: Dataset, normal_class: int | None) -> tuple[int, ...]:
    """The classes that are to be normal in turn: the one asked for, or all of the training split.

    Raises DataError where there are no labels, where one of the classes has no training, validation or test example,
    and where the test examples are all of one class, so that there is nothing to be told apart.
    """
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    for split in splits.values():
        if "label" not in split.fields:
            raise DataError(f"{data.name}: has no labels, which say what is normal. Add an array 'label' [N].")
    labels = {name: np.asarray(split.fields["label"]) for name, split in splits.items()}
    found = tuple(int(number) for number in np.unique(labels["training"]))
    classes = found if normal_class is None else (normal_class,)
    for name, label in labels.items():
        missing = sorted(set(classes) - {int(number) for number in np.unique(label)})
        if missing:
            everywhere = sorted(
                set.intersection(*({int(number) for number in np.unique(own)} for own in labels.values()))
            )
            others = f"Choose --normal-class among {', '.join(map(str, everywhere))}, or keep" if everywhere else "Keep"
            raise DataError(
                f"{data.name}: class {missing[0]} has no {name} example; expected some of each normal class.\n"
                f"{others} more rows for validation."
            )
    if len(np.unique(labels["test"])) == 1:
        raise DataError(
            f"{data.name}: all test examples are of class {labels['test'][0]}; expected other classes as anomalies."
        )
    return classes


def rows_by_class(split: Split, classes: Sequence[int]) -> list[Int[np.ndarray, "_"]]:
    """The rows of each class, in the split's order."""
    label = np.asarray(split.fields["label"])
    return [np.flatnonzero(label == number).astype(np.int32) for number in classes]


def side_by_side(rows: Sequence[Int[np.ndarray, "_"]]) -> tuple[Int[np.ndarray, "M C"], Bool[np.ndarray, "M C"]]:
    """The rows as columns, shorter ones filled up with their first row, and which of the places are not filled up."""
    longest = max(map(len, rows))
    columns = [np.concatenate([own, np.full(longest - len(own), own[0], np.int32)]) for own in rows]
    valid = np.arange(longest)[:, None] < np.asarray([len(own) for own in rows])[None, :]
    return np.stack(columns, axis=1), valid


def gathered(split: Split, rows: Int[jax.Array, "B C"]) -> Batch:
    """The rows' `x [B C ...]`, as batches hold it, and `index [B C]`."""
    x = jnp.asarray(split.fields["x"]).at[rows.reshape(-1)].get(mode="promise_in_bounds")
    return {"x": intensities(x).reshape(*rows.shape, *x.shape[1:]), "index": rows}


def class_batch_at(classes: Sequence[int], rows: Sequence[Int[np.ndarray, "_"]]) -> Callable[..., Batch]:
    """A `Phase.batch_at` whose example number b holds a row of each class: `x [B C ...]`, `index [B C]`.

    A class has epochs of its own, each of which visits all its rows once, in the order it has without the others.
    """

    def batch_at(
        split: Split,
        key: Key,
        step: Int[ArrayLike, ""],
        *,
        batch_size: int,
        shard: Int[ArrayLike, ""] = 0,
        num_shards: int = 1,
    ) -> Batch:
        def chosen(number: int, own: np.ndarray) -> jax.Array:
            places = row_indices(
                jax.random.fold_in(key, number),
                step,
                batch_size=batch_size,
                num_examples=len(own),
                shard=shard,
                num_shards=num_shards,
            )
            return jnp.asarray(own)[places]

        return gathered(split, jnp.stack([chosen(*own) for own in zip(classes, rows, strict=True)], axis=1))

    return batch_at
