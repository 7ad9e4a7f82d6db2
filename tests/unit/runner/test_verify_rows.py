"""What is compared of a partition, by what is copied and where both logs are."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.runner.verify_partition import Mode
from kmigrate.runner.verify_rows import Copied, Sight, Wish, decide
from kmigrate.verify.differences import DifferenceKind
from kmigrate.verify.ends import LogEnds

PLACE = TopicPartition(TopicName("orders"), Partition(0))
RECORDS = Wish(mode=Mode.RECORDS)


def ends(start: int, end: int) -> LogEnds:
    return LogEnds(start, end, end, end)


def sight(source: LogEnds, target: LogEnds) -> Sight:
    return Sight(
        partition=PLACE,
        target=PLACE,
        source_id=TopicId("s"),
        target_id=TopicId("t"),
        source_ends=source,
        target_ends=target,
        compacted=False,
        target_cleans=False,
    )


def copied(source: int, target: int, *, handed_over: bool) -> Copied:
    runs = OffsetMap()
    if source != target:
        runs.add(Run(Offset(10), Offset(10 + target - source)))
    return Copied(
        offset_class=OffsetClass.IDENTICAL if source == target else OffsetClass.MAPPED,
        runs=runs,
        ends=Ends(Offset(source), Offset(target)),
        begins=0 if source == target else 10,
        handed_over=handed_over,
    )


def test_while_it_is_copied_the_target_says_how_far() -> None:
    there = sight(ends(0, 100), ends(0, 120))
    row, task = decide(copied(80, 80, handed_over=False), there, RECORDS, None)
    assert row.difference is not None
    assert (row.difference.kind, row.difference.source_offset) == (DifferenceKind.EXTRA, 100)
    assert task is not None
    assert task.end == 100


@pytest.mark.parametrize("target", [100, 90])
def test_what_applications_write_to_a_topic_that_was_handed_over_is_theirs(target: int) -> None:
    there = sight(ends(0, 103), ends(0, 500))
    row, task = decide(copied(100, target, handed_over=True), there, RECORDS, None)
    assert (row.difference, row.position, row.behind) == (None, 100, 3)
    assert task is not None
    assert (task.end, task.ends) == (100, Ends(Offset(100), Offset(target)))


@pytest.mark.parametrize("target", [100, 90])
def test_what_the_target_deleted_since_then_is_compared_no_more(target: int) -> None:
    there = sight(ends(0, 100), ends(40, 500))
    row, task = decide(copied(100, target, handed_over=True), there, RECORDS, None)
    assert row.difference is None
    assert task is not None
    assert task.start == 40 + 100 - target
    everything = sight(ends(0, 100), ends(300, 500))
    assert decide(copied(100, target, handed_over=True), everything, RECORDS, None)[1] is None


def test_a_target_that_lost_what_was_handed_over_is_seen() -> None:
    row, task = decide(copied(100, 100, handed_over=True), sight(ends(0, 100), ends(0, 70)), RECORDS, None)
    assert (row.position, row.behind) == (70, 30)
    assert task is not None
    assert task.end == 70
