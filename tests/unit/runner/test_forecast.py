"""Data is lost when it grows as old as the retention: at the rate at which it does, or never."""

from __future__ import annotations

import pytest

from kmigrate.runner.forecast import WINDOW_MS, Age, Ages

HOUR_MS = 3_600_000


def after(*ages: tuple[int, float]) -> Ages:
    first, *others = (Age(at_seconds * 1000, age) for at_seconds, age in ages)
    seen = Ages.beginning(first)
    for age in others:
        seen = seen.then(age)
    return seen


@pytest.mark.parametrize(
    ("ages", "loss"),
    [
        (((0, 100.0), (20, 120.0)), 3480.0),
        (((0, 100.0), (20, 110.0)), 6980.0),
        (((0, 100.0), (20, 100.0)), None),
        (((0, 5000.0), (20, 4000.0)), None),
        (((0, 3590.0), (20, 3610.0)), 0.0),
        (((0, 100.0), (5, 105.0)), None),
        (((0, 100.0),), None),
    ],
    ids=["stands still", "falls behind", "keeps", "catches up", "too late", "too early to tell", "first seen"],
)
def test_what_is_behind_is_lost_when_its_age_meets_the_retention(
    ages: tuple[tuple[int, float], ...], loss: float | None
) -> None:
    assert after(*ages).loss_seconds(HOUR_MS) == loss


def test_a_topic_that_keeps_everything_loses_nothing() -> None:
    assert after((0, 100.0), (20, 120.0)).loss_seconds(None) is None


def test_only_the_last_minute_counts() -> None:
    seen = after(*((second, 1000.0 - second) for second in range(0, 100, 10)))
    assert seen.loss_seconds(HOUR_MS) is None
    for second in range(100, 170, 10):
        seen = seen.then(Age(second * 1000, 900.0 + second - 100))
    assert seen.newest.at_ms - seen.oldest.at_ms <= 2 * WINDOW_MS
    assert seen.loss_seconds(HOUR_MS) == 3600 - 960
