"""The table of a run as a figure: a bar for each number that is there."""

import numpy as np

from seqjax.galleries.comparison import comparison


def test_there_is_a_bar_for_each_number_and_none_where_there_is_no_number():
    def one(mean, half):
        return {"mean": mean, "ci95": half}

    metrics = {
        "a/error": one(1.0, 0.25),
        "b_c/error": one(3.0, None),
        "b_c/nmi": one(0.5, 0.0),
        "a/other": one(9.0, 0.0),
    }
    figure = comparison(metrics, ("error", "nmi", "cost"))
    assert [axis.get_title() for axis in figure.axes] == ["error", "nmi"]
    first, second = figure.axes
    assert [text.get_text() for text in first.get_yticklabels()] == ["a", "b c"]
    widths, places = zip(*((bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in first.patches), strict=True)
    np.testing.assert_allclose((widths, places), ((1.0, 3.0), (0, 1)))
    np.testing.assert_allclose([(bar.get_width(), bar.get_y() + 0.35) for bar in second.patches], [(0.5, 1)])
