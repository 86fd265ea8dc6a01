import math

import pytest
from fabricated import ROW, receipt

from results.row import at_least, at_most, below, within
from results.verdict import condition, holds, meets, verdict
from seqjax.receipt import summary


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (at_most("m", 3.15), [3.15, -9.0], [3.1500001, math.nan, math.inf]),
        (below("m", 3.0), [2.9999999], [3.0, math.nan]),
        (at_least("m", -1e-6), [-1e-6, 0.0, 1.0], [-1.0001e-6, math.nan, -math.inf]),
        (within("m", 13.87, 0.01), [13.86, 13.87, 13.88], [13.8599, 13.8801, math.nan]),
    ],
)
def test_bounds_hold_up_to_their_edges(bound, inside, outside):
    assert [meets(value, bound) for value in inside] == [True] * len(inside)
    assert [meets(value, bound) for value in outside] == [False] * len(outside)


def judged(row, own):
    return verdict(row, {row.name: own})


def test_each_seed_is_judged_where_the_bound_says_so():
    metrics = {"m": summary([0.001, 0.02, 0.001])}
    assert holds(below("m", 1e-2), metrics)
    assert not holds(below("m", 1e-2, each_seed=True), metrics)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ([2.9, 2.9, 2.9], "beats"),
        ([2.8, 2.9, 3.2], "within"),  # the mean is below 3.0, the interval is not
        ([3.0, 3.0, 3.0], "within"),
        ([3.15, 3.15, 3.15], "within"),
        ([3.16, 3.16, 3.16], "misses"),
        ([2.0, math.nan, 2.0], "misses"),
    ],
)
def test_verdict_at_its_thresholds(own, expected):
    assert judged(ROW, receipt(own)) == expected


def test_verdict_without_number_or_receipt():
    assert judged(ROW, None) == "not run"
    assert judged(ROW._replace(passes=(), beats=None), receipt()) == "new"
    assert judged(ROW._replace(share="10 of 115 epochs"), receipt()) == "share"
    assert judged(ROW, receipt([2.0] * 3, health="diverged")) == "misses"


def test_a_row_that_has_to_lie_under_another_is_compared_seed_by_seed():
    row = ROW._replace(passes=(), beats=None, under="other")

    def judged_beside(own, other):
        return verdict(row, {"toy": receipt(own), "other": other})

    assert judged_beside([1.0, 2.0, 3.0], receipt([1.1, 2.1, 3.1])) == "within"
    assert judged_beside([1.0, 2.0, 3.0], receipt([1.1, 2.0, 9.0])) == "misses"
    assert judged_beside([1.0, 2.0], receipt([1.1, 2.1, 3.1])) == "misses"
    assert judged_beside([1.0, 2.0], receipt([1.1, 2.1], plan={"seed": 1, "seeds": 2})) == "misses"
    assert judged_beside([1.0, 2.0], None) == "not run"
    assert judged_beside([1.0, math.nan], receipt([1.1, 2.1])) == "misses"


def test_bad_baseline_seeds_do_not_make_it_beat():
    worse = ROW._replace(passes=(at_most("own/error", 3.15), at_least("pca/error", 6.0)))
    assert judged(worse, receipt([2.9] * 3)) == "misses"


def test_conditions_in_words():
    assert condition(at_most("m", 3.15)) == "at most 3.15"
    assert condition(within("m", 13.87, 0.01)) == "13.86 to 13.88"
    assert condition(below("m", 0.01, each_seed=True)) == "below 0.01 for each seed"
    assert condition(at_least("m", 7.5)) == "at least 7.5"
