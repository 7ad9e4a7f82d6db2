"""Log ends as they were looked at: since when they stand still, which grow, and whether both sides grow alike."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.runner.cutover.history import LAPSE_SECONDS, SHORTEST_SECONDS, History, Rates
from kmigrate.schemes.facts import GROWS_SECONDS

A, B = (TopicPartition(TopicName("orders"), Partition(number)) for number in range(2))


def test_an_end_stands_still_since_it_was_first_seen_where_it_is() -> None:
    history = History()
    assert history.still_since(A) is None
    history.look({A: Offset(5)}, 100.0)
    history.look({A: Offset(5)}, 110.0)
    assert history.still_since(A) == 100.0
    history.look({A: Offset(6)}, 120.0)
    assert history.still_since(A) == 120.0


def test_what_nobody_looked_at_for_a_while_may_have_moved() -> None:
    history = History()
    history.look({A: Offset(5)}, 100.0)
    late = 100.0 + LAPSE_SECONDS + 1
    history.look({A: Offset(5)}, late)
    assert history.still_since(A) == late


def test_only_what_grew_a_moment_ago_grows() -> None:
    history = History()
    history.look({A: Offset(5), B: Offset(5)}, 100.0)
    assert history.growing(101.0) is None, "it was not looked at for long enough"
    history.look({A: Offset(6), B: Offset(4)}, 109.0)
    assert history.growing(100.0 + GROWS_SECONDS) == {A}, "an end that falls does not grow"
    assert history.growing(109.0 + GROWS_SECONDS + 1) == set()


@pytest.mark.parametrize(
    ("source", "target", "alike"),
    [(10_000, 10_000, True), (10_000, 9_600, True), (10_000, 9_000, False), (50, 0, True), (0, 1_000, False)],
)
def test_rates_agree_within_a_share(source: int, target: int, alike: bool) -> None:
    rates = Rates()
    rates.look({Side.SOURCE: 1, Side.TARGET: 1}, 100.0)
    assert rates.agree() is None, "nothing was seen yet"
    rates.look({Side.SOURCE: 1 + source, Side.TARGET: 1 + target}, 100.0 + SHORTEST_SECONDS)
    assert rates.agree() is alike


def test_a_sum_that_falls_begins_anew() -> None:
    rates = Rates()
    rates.look({Side.SOURCE: 100, Side.TARGET: 100}, 100.0)
    rates.look({Side.SOURCE: 10, Side.TARGET: 100}, 120.0)
    assert rates.agree() is None
