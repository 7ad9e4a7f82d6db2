"""Figures: medians with their spread, comparisons round by round, verdicts."""

import math

import pytest

from bench.figures import Compare, Goal, Row, Spread, percentile, ratio, show_number, slope, stands_still


def test_a_spread_is_the_median_with_the_lowest_and_the_highest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert Spread.of([4.0, 2.0]) == (3.0, 2.0, 4.0)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_a_ratio_to_nothing_is_infinite() -> None:
    assert ratio(1.0, 4.0) == 0.25
    assert math.isinf(ratio(1.0, 0.0))


def test_rounds_are_compared_pair_by_pair() -> None:
    row = Row(label="CPU", unit="µs", ours=(1.0, 4.0), theirs=(10.0, 20.0), compare=Compare.RATIO)
    assert row.compared() == (0.1, 0.2)
    row = Row(label="p99", unit="ms", ours=(50.0,), theirs=(20.0,), compare=Compare.DIFFERENCE)
    assert row.compared() == (30.0,)


@pytest.mark.parametrize(
    ("ours", "theirs", "compare", "goal", "verdict"),
    [
        ((1.0, 9.0, 2.0), (), Compare.NOT, Goal(limit=2.0), "reached"),
        ((1.0, 9.0, 3.0), (), Compare.NOT, Goal(limit=2.0), "not reached"),
        ((9.0,), (5.0,), Compare.RATIO, Goal(limit=1.8, at_most=False), "reached"),
        ((9.0,), (6.0,), Compare.RATIO, Goal(limit=1.8, at_most=False), "not reached"),
        ((60.0,), (20.0,), Compare.DIFFERENCE, Goal(limit=40.0), "reached"),
        ((60.0,), (), Compare.RATIO, Goal(limit=40.0), "not measured"),
        ((60.0,), (), Compare.NOT, None, ""),
    ],
)
def test_the_median_of_what_is_compared_decides(
    ours: tuple[float, ...], theirs: tuple[float, ...], compare: Compare, goal: Goal | None, verdict: str
) -> None:
    row = Row(label="x", unit="", ours=ours, theirs=theirs, compare=compare, goal=goal)
    assert row.verdict() == verdict


def test_a_goal_says_what_it_wants() -> None:
    assert str(Goal(limit=1.8, at_most=False)) == "at least 1.80"
    assert str(Goal(limit=1 / 6, words="1/6")) == "at most 1/6"


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.999) == 100.0
    assert percentile(values, 1.0) == 100.0
    assert percentile([7.0], 0.01) == 7.0
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)


def test_the_slope_is_that_of_the_best_line() -> None:
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    assert slope([(1.0, 1.0), (1.0, 9.0)]) == 0.0
    assert slope([]) == 0.0


def test_rates_stand_still_when_the_last_two_are_alike() -> None:
    assert not stands_still([])
    assert not stands_still([100.0])
    assert not stands_still([80.0, 100.0])
    assert not stands_still([100.0, 90.0])
    assert stands_still([10.0, 95.0, 100.0])
    assert stands_still([10.0, 100.0, 95.0])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (138_512.4, "138,512"),
        (100.0, "100"),
        (66.66, "66.7"),
        (2.345, "2.35"),
        (0.1666, "0.167"),
        (-12.34, "-12.3"),
        (0.0, "0.000"),
        (float("inf"), "∞"),
    ],
)
def test_three_digits_are_shown(value: float, shown: str) -> None:
    assert show_number(value) == shown
