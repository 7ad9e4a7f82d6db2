"""Behind the last words of those who copied only what they wrote counts as copied."""

from __future__ import annotations

import pytest

from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, Partition, ProducerId, TopicName, TopicPartition
from kmigrate.runner.cutover.strangers import search
from tests.simulation.batches import Record, make_batch

PLACE = TopicPartition(TopicName("orders"), Partition(0))
OURS, MARKERS, APPLICATION = 1 << 62, (1 << 62) + 7, 5


def batch(base: int, count: int, producer_id: int) -> bytes:
    return make_batch([Record(1, b"k", b"v")] * count, base_offset=base, producer_id=producer_id)


def found(batches: list[bytes], start: int = 10, end: int = 16) -> Offset | None:
    def fetch(_partition: TopicPartition, at: Offset, _size: int) -> memoryview:
        behind = [each for each in batches if int.from_bytes(each[:8], "big") + each[60] > at]
        return memoryview(b"".join(behind[:1]))

    ours = {ProducerId(OURS), ProducerId(MARKERS)}
    return search(fetch, ours, PLACE, Offset(start), Offset(end))


def test_what_the_copy_wrote_is_no_stranger_s() -> None:
    assert found([batch(8, 4, OURS), batch(12, 1, MARKERS), batch(13, 3, OURS), batch(16, 2, APPLICATION)]) is None


def test_a_record_of_an_application_is() -> None:
    assert found([batch(10, 2, OURS), batch(12, 1, APPLICATION), batch(13, 3, OURS)]) == 12


def test_what_does_not_come_is_not_known() -> None:
    with pytest.raises(ClusterError, match="nothing comes at orders-0@12"):
        found([batch(10, 2, OURS)])
