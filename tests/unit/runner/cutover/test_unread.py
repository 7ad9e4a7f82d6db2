"""A log that ends with what no consumer sees was read to its end by whoever has read its last record."""

from __future__ import annotations

from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.preflight.bounds import Bounds, Unseen
from kmigrate.runner.cutover.unread import MOST_LOOKS, MOST_OFFSETS, Unread

PLACE = TopicPartition(TopicName("orders"), Partition(0))


def bounds(end: int, start: int = 0) -> dict[TopicPartition, Bounds | Unseen]:
    return {PLACE: Bounds(Offset(start), Offset(end), Offset(end), Offset(end))}


class Log:
    """A log with records at some offsets."""

    def __init__(self, *records: int, is_known: bool = True) -> None:
        self.records, self.is_known = records, is_known
        self.asked: list[tuple[int, int]] = []

    def __call__(self, _partition: TopicPartition, start: Offset, end: Offset) -> bool | None:
        self.asked.append((start, end))
        return any(start <= each < end for each in self.records) if self.is_known else None


def read(log: Log, commit: int, ends: dict[TopicPartition, Bounds | Unseen], *, unread: Unread | None = None) -> int:
    found = (unread or Unread(log)).read_up_to({PLACE: Offset(commit)}, ends, [PLACE])
    return found[PLACE]


def test_nothing_is_left_before_an_end_that_is_a_marker() -> None:
    assert read(Log(8), 9, bounds(10)) == 10


def test_a_record_that_is_left_is_left() -> None:
    assert read(Log(8, 9), 9, bounds(11)) == 9


def test_what_is_not_known_is_left_and_is_looked_at_again() -> None:
    log = Log(is_known=False)
    unread = Unread(log)
    assert read(log, 9, bounds(10), unread=unread) == 9
    log.is_known = True
    assert read(log, 9, bounds(10), unread=unread) == 10


def test_each_stretch_is_read_once() -> None:
    log = Log(8)
    unread = Unread(log)
    for _ in range(3):
        read(log, 9, bounds(10), unread=unread)
    assert log.asked == [(9, 10)]
    assert read(log, 9, bounds(12), unread=unread) == 12
    assert log.asked == [(9, 10), (9, 12)]


def test_a_commit_below_the_log_start_has_read_from_there() -> None:
    log = Log()
    assert read(log, 3, bounds(10, start=9)) == 10
    assert log.asked == [(9, 10)]


def test_only_what_stands_still_and_is_short_is_looked_at() -> None:
    log = Log()
    commits = {PLACE: Offset(9)}
    assert Unread(log).read_up_to(commits, bounds(10), []) == commits
    assert Unread(log).read_up_to(commits, {PLACE: Unseen("no leader")}, [PLACE]) == commits
    assert read(log, 0, bounds(MOST_OFFSETS + 1)) == 0
    assert read(log, 10, bounds(10)) == 10
    assert log.asked == []


def test_a_look_has_a_limit() -> None:
    log = Log()
    unread = Unread(log)
    places = [TopicPartition(TopicName("orders"), Partition(number)) for number in range(MOST_LOOKS + 5)]
    ends: dict[TopicPartition, Bounds | Unseen] = {each: bounds(10)[PLACE] for each in places}
    commits = dict.fromkeys(places, Offset(9))
    assert sorted(unread.read_up_to(commits, ends, places).values()).count(Offset(9)) == 5
    unread.begin()
    assert {*unread.read_up_to(commits, ends, places).values()} == {Offset(10)}
