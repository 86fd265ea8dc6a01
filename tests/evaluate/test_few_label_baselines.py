"""Baselines see the labels they may see: scikit-learn on the same rows, and no change where other labels change."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from seqjax.data.few_labels import partly_labelled
from seqjax.evaluate.few_label_baselines import classifier_baselines
from seqjax.types import Dataset, Split

RNG = np.random.default_rng(0)
CENTRES = 2 * RNG.normal(size=(3, 6))


def split_of(size):
    label = np.arange(size) % 3
    return Split({"x": CENTRES[label] + RNG.normal(size=(size, 6)), "label": label})


DATA = partly_labelled(Dataset("mine", split_of(90), split_of(0), split_of(60), "sha"), 0.2)


def test_scikit_learn_on_the_labelled_rows():
    found = classifier_baselines(DATA, 2)
    x, labels = DATA.train.fields["x"], DATA.train.fields["label"]
    labelled, test = DATA.train.fields["labelled"], DATA.test.fields["label"]
    pca = PCA(2).fit(x)
    for row, rows in {"logistic": lambda x: x, "pca_logistic": pca.transform}.items():
        scaler = StandardScaler().fit(rows(x))
        fitted = LogisticRegression(C=0.01).fit(scaler.transform(rows(x))[labelled], labels[labelled])
        score = fitted.score(scaler.transform(rows(DATA.test.fields["x"])), test)
        assert found[f"{row}/accuracy"] == pytest.approx(score)
    assert found["logistic/accuracy"] > 0.8
    assert found["majority/accuracy"] == pytest.approx(1 / 3)
    assert found["majority/nats"] == pytest.approx(np.log(3))


def test_labels_of_the_other_rows_do_not_matter():
    fields = DATA.train.fields
    shuffled = np.where(fields["labelled"], fields["label"], 2 - fields["label"])
    other = DATA._replace(train=Split(fields | {"label": shuffled}))
    assert classifier_baselines(other, 2) == classifier_baselines(DATA, 2)
