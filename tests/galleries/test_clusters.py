"""Clusters counted by class in the order of their matches; figures of rows, images and ragged series."""

import numpy as np
import pytest

from seqjax.galleries.clusters import cluster_figures, cluster_means, counts
from seqjax.types import Split

RNG = np.random.default_rng(0)


def test_matched_clusters_stand_on_the_diagonal_and_those_left_over_behind():
    labels = np.asarray([5, 5, 5, 2, 2, 2, 2])
    clusters = np.asarray([0, 0, 3, 7, 7, 7, 0])
    np.testing.assert_array_equal(counts(clusters, labels), [[3, 1, 0], [0, 2, 1]])


def test_more_classes_than_clusters():
    found = counts(np.asarray([1, 1, 1, 4, 4]), np.asarray([0, 2, 2, 1, 1]))
    np.testing.assert_array_equal(found, [[0, 1], [2, 0], [0, 2]])


@pytest.mark.parametrize("labelled", [True, False])
def test_figures_of_images(labelled):
    x, clusters = RNG.uniform(size=(30, 16)), np.arange(30) % 3
    split = Split({"x": x} | ({"label": np.arange(30) % 2} if labelled else {}))
    codes = RNG.normal(size=(30, 4))
    figures = cluster_figures({"before": (codes, clusters), "after": (codes, np.zeros(30, int))}, split)
    assert set(figures) == {"embedding_map", "cluster_means"} | ({"cluster_confusion"} if labelled else set())
    assert len(figures["embedding_map"].axes) == (4 if labelled else 2)
    image = figures["cluster_means"].axes[0].images[0].get_array()
    np.testing.assert_allclose(image, x.mean(axis=0).reshape(4, 4))  # all rows, as they are after


def test_means_of_series_leave_out_what_is_past_their_length_or_was_not_observed():
    x = np.asarray([[1.0, 2, 9], [3, 9, 9], [5, 4, 6]])[:, :, None]
    mask = np.ones(x.shape, bool)
    mask[2, 1] = False
    split = Split({"x": x, "length": np.asarray([2, 1, 3]), "mask": mask})
    first, second = cluster_means(np.asarray([0, 0, 1]), split).axes
    np.testing.assert_array_equal(first.lines[0].get_ydata(), [2, 2, np.nan])
    np.testing.assert_array_equal(second.lines[0].get_ydata(), [5, np.nan, 6])
