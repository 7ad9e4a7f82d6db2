"""How old what a group reads next is."""

from __future__ import annotations

import struct

import pytest

from kmigrate.cluster.reader import Fetched
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.records.batch import HEADER, LOG_APPEND_TIME
from kmigrate.runner.group_ages import PLACES, choose, time_of

A0, A1 = (TopicPartition(TopicName("a"), Partition(p)) for p in (0, 1))


def batch(base: int, records: int, first_ms: int, newest_ms: int, *, attributes: int = 0, magic: int = 2) -> bytes:
    return HEADER.pack(
        base, 59, 0, magic, 0, attributes, records - 1, first_ms, newest_ms, -1, -1, -1, records
    ) + bytes(10)


def fetched(*batches: bytes, error: int = 0) -> Fetched:
    return Fetched(A0, error, 100, memoryview(b"".join(batches)), ())


TWO = fetched(batch(10, 5, 1000, 1100), batch(15, 5, 2000, 2100))


@pytest.mark.parametrize(("offset", "expected"), [(10, 1000), (14, 1000), (15, 2000), (19, 2000), (20, None)])
def test_the_batch_that_is_read_next_tells_the_time(offset: int, expected: int | None) -> None:
    assert time_of(TWO, Offset(offset)) == expected


def test_an_append_time_counts_for_all_its_records() -> None:
    assert time_of(fetched(batch(0, 5, 1000, 9000, attributes=LOG_APPEND_TIME)), Offset(2)) == 9000


@pytest.mark.parametrize(
    "answer",
    [
        fetched(),
        fetched(batch(0, 5, 1000, 1100), error=6),
        fetched(batch(0, 5, -1, -1)),
        fetched(batch(0, 5, 1000, 1100, magic=1)),
        fetched(batch(0, 5, 1000, 1100)[:40]),
    ],
)
def test_what_is_not_told_stays_unknown(answer: Fetched) -> None:
    assert time_of(answer, Offset(2)) is None


def test_a_length_that_no_batch_has_ends_the_look() -> None:
    damaged = bytearray(batch(0, 5, 1000, 1100))
    struct.pack_into(">i", damaged, 8, -12)
    assert time_of(fetched(bytes(damaged)), Offset(9)) is None


def test_the_furthest_behind_are_looked_at() -> None:
    places = {(A0, Offset(number)): number for number in range(PLACES)} | {(A1, Offset(7)): 10**6}
    chosen = choose(places)
    assert chosen[0] == (A1, 7)
    assert len(chosen) == PLACES
    assert (A0, 0) not in chosen
