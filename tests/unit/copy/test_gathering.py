"""What waits for company waits a moment, and no longer."""

from __future__ import annotations

import math

from kmigrate.copy.gathering import Gathering


def test_where_nothing_more_is_expected_nothing_is_waited_for() -> None:
    gathering = Gathering(1.0)
    assert gathering.is_over(10.0, more_expected=False)
    assert gathering.take_wait_seconds(10.0) == math.inf


def test_it_is_over_when_the_last_that_was_expected_has_come() -> None:
    gathering = Gathering(1.0)
    assert not gathering.is_over(10.0, more_expected=True)
    assert gathering.take_wait_seconds(10.25) == 0.75
    assert gathering.is_over(10.5, more_expected=False)
    assert gathering.take_wait_seconds(10.5) == math.inf


def test_it_is_over_when_the_time_is_and_the_next_one_begins_anew() -> None:
    gathering = Gathering(1.0)
    assert not gathering.is_over(10.0, more_expected=True)
    assert not gathering.is_over(10.9, more_expected=True)
    assert gathering.is_over(11.0, more_expected=True)
    assert not gathering.is_over(11.1, more_expected=True)
    assert gathering.take_wait_seconds(11.6) == 0.5


def test_a_wait_is_told_once_so_that_what_is_kept_back_elsewhere_wakes_nobody_up() -> None:
    gathering = Gathering(1.0)
    assert not gathering.is_over(10.0, more_expected=True)
    assert gathering.take_wait_seconds(10.5) == 0.5
    assert gathering.take_wait_seconds(10.6) == math.inf
    assert gathering.take_wait_seconds(99.0) == math.inf
