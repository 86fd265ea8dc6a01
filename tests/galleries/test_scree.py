import numpy as np

from seqjax.galleries.scree import scree


def test_shares_and_their_sums_are_drawn_and_the_numbers_that_reach_the_marks():
    shares = np.asarray([0.5, 0.3, 0.15, 0.05])
    left, right = scree(shares, kept=2).axes
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], shares)
    np.testing.assert_allclose(right.lines[0].get_ydata(), [0.5, 0.8, 0.95, 1])
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["2 components: 80.0%", "3 for 90%", "4 for 99%"]


def test_constant_data_and_more_kept_than_there_are():
    scree(np.zeros(3), kept=7)
