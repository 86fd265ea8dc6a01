"""Classifiers fitted on the rows whose label is known, of values, of principal components, or of any codes.

The data are as `seqjax.data.few_labels.partly_labelled` makes them. The strength of a logistic regression is chosen on
the validation split, all of whose labels it sees.
"""

import numpy as np
from jaxtyping import Float

from seqjax.evaluate import classification
from seqjax.evaluate.embedding_tasks import labels_of
from seqjax.evaluate.embeddings import Embedded, embedded, principal_components
from seqjax.evaluate.reconstruction import values_of
from seqjax.types import Dataset


def log_probabilities(rows: Embedded) -> Float[np.ndarray, "M K"]:
    """Of the test rows under logistic regression, all rows in units of the training rows' mean and deviation.

    The units are those of all training rows, since they need no label.
    """
    labelled = np.asarray(rows.data.train.fields["labelled"])
    mean, stddev = rows.train.mean(axis=0), rows.train.std(axis=0)
    train, validation, test = ((x - mean) / np.where(stddev > 0, stddev, 1) for x in rows[:3])
    fitted_on = (train[labelled], labels_of(rows.data.train)[labelled])
    return classification.logistic_regression(fitted_on, (validation, labels_of(rows.data.validation)), test)


def classifier_baselines(data: Dataset, code_size: int) -> dict[str, float]:
    """The rows `logistic`, on the values, `pca_logistic`, on so many components, and `majority`: accuracy and nats.

    Components are those of all training rows.
    """
    encoders = {"logistic": values_of, "pca_logistic": principal_components(data.train, code_size)}
    said = {row: log_probabilities(embedded(encoder, data)) for row, encoder in encoders.items()}
    train, test = labels_of(data.train)[data.train.fields["labelled"]], labels_of(data.test)
    said["majority"] = classification.class_shares(train, len(test))
    tables = [classification.measures(row, log_p, test) for row, log_p in said.items()]
    return {name: value for table in tables for name, value in table.items()}
