"""What a pipeline counts: batches by their age, and how long what held it up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.tally import LATENCY_SECONDS, Latencies, Tally, add_up
from kmigrate.kafka_types import TopicName

A, B = TopicName("a"), TopicName("b")


def counted(*ages: int) -> Latencies:
    tally = Tally()
    for age in ages:
        tally.arrived(A, age)
    ((topic, found),) = tally.take()
    assert topic == A
    return found


@given(st.integers(-10, 10**7))
def test_a_batch_is_counted_where_its_age_belongs(age: int) -> None:
    found = counted(age)
    place = found.counts.index(1)
    assert sum(found.counts) == 1
    assert place == len(LATENCY_SECONDS) or age <= LATENCY_SECONDS[place] * 1000
    assert place == 0 or age > LATENCY_SECONDS[place - 1] * 1000
    assert found.sum_ms == max(0, age), "a clock that is behind makes nothing younger than now"


@given(st.lists(st.integers(0, 10**7), min_size=1), st.lists(st.integers(0, 10**7), min_size=1))
def test_counts_add_up(first: list[int], second: list[int]) -> None:
    assert counted(*first).plus(counted(*second)) == counted(*first, *second)


def test_what_was_taken_is_not_told_again() -> None:
    tally = Tally()
    tally.arrived(A, 1)
    tally.arrived(B, 2)
    assert [topic for topic, _ in tally.take()] == [A, B]
    assert tally.take() == ()


def test_reports_that_wait_for_long_name_each_topic_once() -> None:
    waiting = ((A, counted(1)), (B, counted(2)))
    for _ in range(100):
        waiting = add_up((*waiting, (A, counted(1))))
    assert waiting == ((A, counted(*[1] * 101)), (B, counted(2)))
