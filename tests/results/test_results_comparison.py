import pytest
from fabricated import ROW, receipt

from results.comparison import against_baselines
from results.rows import ROWS
from seqjax.receipt import summary


def compared(own, others, metric="own/error"):
    measure = metric.split("/")[1]
    row = ROW._replace(metric=metric, baselines=tuple(f"{name}/{measure}" for name in others))
    metrics = {metric: summary(own)} | {f"{name}/{measure}": summary(values) for name, values in others.items()}
    return against_baselines(row, metrics)


def test_the_best_baseline_is_the_one_compared_with():
    others = {"pca": [5.0, 5.0, 5.0], "mean": [9.0, 9.0, 9.0]}
    assert compared([3.0, 3.1, 3.2], others) == "beats pca by 1.90 ± 0.25"
    assert compared([5.5, 5.6, 5.7], others) == "loses to pca by 0.60 ± 0.25"


def test_where_more_is_better_the_highest_is_the_best():
    others = {"pca": [0.5, 0.5], "mean": [0.9, 0.9]}
    assert compared([0.8, 0.8], others, "own/accuracy") == "loses to mean by 0.1"
    assert compared([1.0, 1.0], others, "own/accuracy") == "beats mean by 0.1"


def test_an_interval_that_holds_zero_is_a_tie():
    assert compared([4.0, 6.0, 4.6], {"pca": [5.0, 5.0, 5.0]}) == "ties with pca (0.1 ± 2.5)"


def test_seeds_are_compared_with_their_own_baselines():
    assert compared([1.0, 5.0, 3.0], {"pca": [1.5, 5.5, 3.5]}) == "beats pca by 0.5"


def test_one_seed_has_no_interval_and_says_so():
    assert compared([4.0], {"pca": [5.0]}) == "beats pca by 1, one seed"


def test_limits_and_other_measures_are_no_rivals():
    assert compared([4.0, 4.0], {"true_sampler": [1.0, 1.0], "pca": [5.0, 5.0]}) == "beats pca by 1"
    row = ROW._replace(baselines=("pca/nmi",))
    assert against_baselines(row, {"own/error": summary([1.0]), "pca/nmi": summary([1.0])}) == ""


def test_every_measure_of_the_rows_has_the_right_direction():
    from results.comparison import HIGHER_IS_BETTER, measure_of

    lower = {
        "cross_entropy", "discriminative_score", "frechet_distance", "future_squared_error", "nats_a_character",
        "nats_a_frame", "nats_a_step", "negative_elbo", "nll", "reverse_kl", "squared_error", "test_error", "test_gap",
    }  # fmt: skip
    assert {measure_of(row.metric) for row in ROWS} <= lower | HIGHER_IS_BETTER


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_made_up_row_beats_its_baseline(seeds):
    assert against_baselines(ROW, receipt([3.0] * seeds)["metrics"]).startswith("beats pca by 2")
