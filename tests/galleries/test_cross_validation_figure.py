"""The figure of a choice: every point where the numbers are, and the choice marked."""

import numpy as np

from seqjax.evaluate.cross_validation import curve
from seqjax.galleries.cross_validation import error_curve

ERRORS = np.asarray([[4.9, 5.1], [2.9, 3.1], [2.75, 3.05]])


def test_the_curve_its_limit_the_choice_and_baselines_are_where_the_numbers_are():
    figure = error_curve("hidden_size", [4, 8, 64], curve(ERRORS), [5.0, 3.5, 3.2], {"last_value": 6.0})
    (axis,) = figure.axes
    lines = {line.get_label(): np.asarray(line.get_ydata(), np.float64) for line in axis.lines}
    np.testing.assert_allclose(lines["test"], [5.0, 3.5, 3.2])
    np.testing.assert_allclose(lines["best and one standard error"], 2.9 + 0.15)
    np.testing.assert_allclose(lines["chosen: 8"], 3.0)
    np.testing.assert_allclose(lines["last value"], 6.0)
    (bars,) = axis.containers
    np.testing.assert_allclose(bars.lines[0].get_ydata(), [5.0, 3.0, 2.9])
    assert axis.get_xscale() == "log"
    assert [text.get_text() for text in axis.get_xticklabels()] == ["4", "8", "64"]
    assert error_curve("beta", [0.0, 1.0], curve(ERRORS[:2]), [1.0, 2.0]).axes[0].get_xscale() == "linear"
