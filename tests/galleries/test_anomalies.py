"""Figures of scores: areas in the legend, thresholds where they are, truth shaded."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from seqjax.galleries.anomalies import EXTREMES, extremes, roc_curves, score_histograms, scored_series

RNG = np.random.default_rng(0)
LABEL = np.arange(60) % 3
ANOMALOUS = LABEL[:, None] != np.arange(3)[None]
SCORES = RNG.normal(size=(60, 3)) + ANOMALOUS


def test_curves_are_named_with_their_areas():
    axis = roc_curves({"deep_svdd": SCORES, "constant": np.zeros((60, 3))}, ANOMALOUS).axes[0]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    area = np.mean([roc_auc_score(truth, own) for truth, own in zip(ANOMALOUS.T, SCORES.T, strict=True)])
    assert names[0].startswith("deep svdd, ")
    assert float(names[0].split(", ")[1]) == pytest.approx(area, abs=0.01)
    assert names[1] == "constant, 0.500"


def test_a_panel_a_column_with_its_threshold():
    figure = score_histograms(SCORES, ANOMALOUS, np.asarray([0.5, 1.0, 1.5]), ["a", "b", "c"])
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c"]
    assert [axis.lines[0].get_xdata()[0] for axis in figure.axes] == [0.5, 1.0, 1.5]
    # scores that are all the same, as of a constant class, are drawn too
    score_histograms(0 * SCORES, ANOMALOUS, np.zeros(3), ["a", "b", "c"])


def test_extremes_are_the_least_and_most_anomalous_of_each_class():
    x = np.arange(60.0)[:, None] / 60 * np.ones(16)
    scores = np.broadcast_to(np.arange(60.0)[:, None], (60, 3)).copy()
    canvas = extremes(x, scores, LABEL, [0, 1, 2]).axes[0].images[0].get_array()
    shown = canvas[1::5, 1::5] * 60  # a pixel of each image
    assert shown.shape == (3, 3 * EXTREMES)
    np.testing.assert_allclose(shown[0], [0, 3, 6, 9, 57, 54, 51, 48, 1, 2, 4, 5], atol=1e-9)


def test_series_above_scores_with_truth_shaded():
    anomalous = np.zeros(50, bool)
    anomalous[[10, 11, 30]] = True
    figure = scored_series(RNG.normal(size=(50, 2)), {"pca": RNG.normal(size=50)}, anomalous, {"pca": 1.5})
    series, scores = figure.axes
    assert len(series.lines) == 2
    assert scores.lines[1].get_ydata()[0] == 1.5
    assert [(p.get_x(), p.get_width()) for p in scores.patches] == [(9.5, 2), (29.5, 1)]
