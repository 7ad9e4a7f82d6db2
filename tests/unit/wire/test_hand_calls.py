"""What is laid out and read by hand is byte for byte what the codec library makes of Kafka's own schemas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.offsets import OffsetForLeaderEpochResponse
from kafka.protocol.producer.transaction import WriteTxnMarkersResponse

from kmigrate.kafka_types import LeaderEpoch, Partition, ProducerId, TopicName, TopicPartition
from kmigrate.wire import calls, gap_calls
from kmigrate.wire.call import Call, HandCall

ID = ProducerId((1 << 62) + 7)
NAMES = st.text(min_size=1, max_size=200).map(TopicName)
PLACES = st.builds(TopicPartition, NAMES, st.integers(0, 2**31 - 1).map(Partition))
INTS = st.integers(-(2**31), 2**31 - 1)
MARKERS = st.builds(gap_calls.Markers, st.integers(1, 5), st.integers(0, 3))
A0 = TopicPartition(TopicName("a"), Partition(0))


def by_library(call: HandCall[Any]) -> Call[Any]:
    """The same call as the library makes it."""
    names = ("what", "request", "response", "oldest", "newest", "build", "parse")
    return Call(**{name: getattr(call, name) for name in names})


def framed(answer: Any) -> bytes:
    answer.with_header(correlation_id=5)
    return bytes(answer.encode(header=True))


def markers_answer(errors: list[tuple[TopicPartition, int]]) -> bytes:
    marker = WriteTxnMarkersResponse.WritableTxnMarkerResult
    topic = marker.WritableTxnMarkerTopicResult
    part = topic.WritableTxnMarkerPartitionResult
    results = [
        marker(
            producer_id=ID,
            topics=[topic(name=tp.topic, partitions=[part(partition_index=tp.partition, error_code=error)])],
        )
        for tp, error in errors
    ]
    return framed(WriteTxnMarkersResponse(version=1, markers=results))


def ends_answer(ends: dict[TopicPartition, tuple[int, int, int]]) -> bytes:
    topic = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult
    part = topic.EpochEndOffset
    topics = [
        topic(
            topic=tp.topic,
            partitions=[part(error_code=error, partition=tp.partition, leader_epoch=epoch, end_offset=end)],
        )
        for tp, (error, epoch, end) in ends.items()
    ]
    return framed(OffsetForLeaderEpochResponse(version=3, throttle_time_ms=0, topics=topics))


@given(st.dictionaries(PLACES, MARKERS, min_size=1, max_size=8), INTS, st.text(max_size=20))
def test_markers_are_asked_for_as_the_library_does(
    wanted: dict[TopicPartition, gap_calls.Markers], correlation_id: int, client_id: str
) -> None:
    call = gap_calls.write_markers(wanted, ID)
    assert isinstance(call, HandCall)
    arguments = (1, correlation_id, client_id)
    assert call.encode(*arguments) == by_library(call).encode(*arguments)


@given(st.dictionaries(PLACES, INTS.map(LeaderEpoch), min_size=1, max_size=8), INTS, st.text(max_size=20))
def test_log_ends_are_asked_for_as_the_library_does(
    wanted: dict[TopicPartition, LeaderEpoch], correlation_id: int, client_id: str
) -> None:
    call = calls.offset_for_leader_epoch(wanted)
    assert isinstance(call, HandCall)
    arguments = (3, correlation_id, client_id)
    assert call.encode(*arguments) == by_library(call).encode(*arguments)


@given(st.lists(st.tuples(PLACES, st.integers(-1, 120)), max_size=8))
def test_answers_to_markers_are_read_as_the_library_does(errors: list[tuple[TopicPartition, int]]) -> None:
    call, answer = gap_calls.write_markers({A0: gap_calls.Markers(1, 0)}, ID), markers_answer(errors)
    assert isinstance(call, HandCall)
    assert call.decode(1, answer) == by_library(call).decode(1, answer)


@given(st.dictionaries(PLACES, st.tuples(st.integers(-1, 120), INTS, st.integers(-1, 2**63 - 1)), max_size=8))
def test_log_ends_are_read_as_the_library_does(ends: dict[TopicPartition, tuple[int, int, int]]) -> None:
    call, answer = calls.offset_for_leader_epoch({A0: LeaderEpoch(0)}), ends_answer(ends)
    assert isinstance(call, HandCall)
    assert call.decode(3, answer) == by_library(call).decode(3, answer)


@pytest.mark.parametrize(
    ("call", "version", "answer"),
    [
        (gap_calls.write_markers({A0: gap_calls.Markers(1, 0)}, ID), 1, markers_answer([(A0, 0)])),
        (calls.offset_for_leader_epoch({A0: LeaderEpoch(0)}), 3, ends_answer({A0: (0, 1, 7)})),
    ],
    ids=["WriteTxnMarkers", "OffsetForLeaderEpoch"],
)
def test_an_answer_of_another_length_is_no_answer(call: Call[Any], version: int, answer: bytes) -> None:
    assert call.decode(version, answer)
    for end in range(4, len(answer)):
        with pytest.raises((ValueError, IndexError)):
            call.decode(version, answer[:end])
    with pytest.raises(ValueError, match="bytes long"):
        call.decode(version, answer + b"\0")
