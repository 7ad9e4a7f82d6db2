"""A sink tells the copier what a broker would: bases that follow each other, and ends."""

from __future__ import annotations

from collections import defaultdict

from bench.sink import Ends, answer_list_offsets, answer_produce
from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.wire import calls
from kmigrate.wire.produce import AppendAnswer, parse_produce, serialize_produce
from tests.simulation.batches import Record, make_batch

T = TopicName("orders")


def produce(ends: Ends, counts: list[int]) -> list[AppendAnswer]:
    """One batch of so many records for each partition."""
    batches = [make_batch([Record(1, None, b"v")] * count) for count in counts]
    request = b"".join(
        bytes(part)
        for part in serialize_produce(
            correlation_id=7,
            client_id=b"c",
            timeout_ms=1,
            batches={T.encode(): [(index, memoryview(batch)) for index, batch in enumerate(batches)]},
        )
    )
    answer = parse_produce(memoryview(answer_produce(memoryview(request)[4:], ends))[4:])
    assert answer.correlation_id == 7
    return [answer.partitions[T.encode(), index] for index in range(len(counts))]


def test_what_is_acknowledged_lies_behind_what_was_before() -> None:
    ends: Ends = defaultdict(int)
    assert [each.base_offset for each in produce(ends, [3, 1])] == [0, 0]
    assert [each.base_offset for each in produce(ends, [2, 5])] == [3, 1]
    assert not any(each.error for each in produce(ends, [1, 1]))


def test_the_ends_are_those_of_what_was_acknowledged() -> None:
    ends: Ends = defaultdict(int)
    produce(ends, [4])
    places = [TopicPartition(T, Partition(0)), TopicPartition(T, Partition(1))]
    for timestamp_ms, wanted in ((calls.LATEST, [4, 0]), (calls.EARLIEST, [0, 0])):
        call = calls.list_offsets(places, timestamp_ms)
        answer = answer_list_offsets(memoryview(call.encode(5, 9, "c"))[4:], ends)
        found = call.decode(5, memoryview(answer)[4:])
        assert [found[place].offset for place in places] == wanted
