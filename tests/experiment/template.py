"""A small run of the experiment: better than trivial, and the same bits when it is stopped and continued."""

import dataclasses

from quick import quickly_compiled
from short_runs import stopped_and_continued

from experiments import _template as experiment


def test_stopped_and_continued_ends_as_unbroken_and_better_than_trivial(tmp_path):
    small = dataclasses.replace(experiment.Config(), **experiment.SMOKE)
    with quickly_compiled():
        metrics, figures = stopped_and_continued(experiment.build(small), tmp_path)
    assert metrics[f"{experiment.ROW}/squared_error"] < 0.8 * metrics["mean/squared_error"]
    assert set(figures) == {"reconstructions", "code_map", "error_against_code_size"}
