"""What is laid out and read by hand is byte for byte what the codec library makes of Kafka's own schemas."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.offsets import ListOffsetsResponse, OffsetForLeaderEpochResponse
from kafka.protocol.metadata.api_versions import ApiVersionsResponse
from kafka.protocol.metadata.metadata import MetadataResponse
from kafka.protocol.producer.transaction import WriteTxnMarkersResponse

from kmigrate.kafka_types import LeaderEpoch, Partition, ProducerId, TopicName, TopicPartition
from kmigrate.wire import calls, gap_calls
from kmigrate.wire.call import Call, HandCall, api_versions

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


A_TOPIC = {
    "error": 0, "name": "a", "topic_id": 7, "is_internal": False, "partitions": [(0, 1, 0, [1, 2]), (5, -1, 3, [])]
}  # fmt: skip


def versions_answer(ranges: dict[int, tuple[int, int]]) -> bytes:
    key = ApiVersionsResponse.ApiVersion
    told = [key(api_key=number, min_version=low, max_version=high) for number, (low, high) in ranges.items()]
    return framed(ApiVersionsResponse(version=0, error_code=0, api_keys=told))


def offsets_answer(offsets: dict[TopicPartition, tuple[int, int, int]]) -> bytes:
    topic = ListOffsetsResponse.ListOffsetsTopicResponse
    part = topic.ListOffsetsPartitionResponse
    topics = [
        topic(
            name=tp.topic,
            partitions=[
                part(partition_index=tp.partition, error_code=error, timestamp=time_ms, offset=offset, leader_epoch=-1)
            ],
        )
        for tp, (error, time_ms, offset) in offsets.items()
    ]
    return framed(ListOffsetsResponse(version=5, throttle_time_ms=0, topics=topics))


def metadata_answer(topics: list[dict[str, Any]], brokers: list[tuple[int, str, int]], cluster: str | None) -> bytes:
    broker_class, topic_class = MetadataResponse.MetadataResponseBroker, MetadataResponse.MetadataResponseTopic
    part_class = topic_class.MetadataResponsePartition
    described = [
        topic_class(
            error_code=each["error"],
            name=each["name"],
            topic_id=UUID(int=each["topic_id"]),
            is_internal=each["is_internal"],
            partitions=[
                part_class(
                    error_code=error,
                    partition_index=number,
                    leader_id=leader,
                    leader_epoch=epoch,
                    replica_nodes=replicas,
                    isr_nodes=replicas[1:],
                    offline_replicas=replicas[:1],
                )
                for number, (error, leader, epoch, replicas) in enumerate(each["partitions"])
            ],
        )
        for each in topics
    ]
    told = [broker_class(node_id=number, host=host, port=port, rack=host or None) for number, host, port in brokers]
    answer = MetadataResponse(
        version=10, throttle_time_ms=0, brokers=told, cluster_id=cluster, controller_id=1, topics=described
    )
    return framed(answer)


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


@given(st.lists(PLACES, max_size=8, unique=True), st.integers(-4, 2**63 - 1), st.integers(0, 1), INTS)
def test_offsets_are_asked_for_as_the_library_does(
    wanted: list[TopicPartition], time_ms: int, isolation_level: int, correlation_id: int
) -> None:
    call = calls.list_offsets(wanted, time_ms, isolation_level)
    assert isinstance(call, HandCall)
    for version in (5, 4, 2):
        arguments = (version, correlation_id, "us")
        assert call.encode(*arguments) == by_library(call).encode(*arguments)


@given(st.dictionaries(PLACES, st.tuples(st.integers(-1, 120), INTS, st.integers(-1, 2**63 - 1)), max_size=8))
def test_offsets_are_read_as_the_library_does(offsets: dict[TopicPartition, tuple[int, int, int]]) -> None:
    call, answer = calls.list_offsets([A0], 0), offsets_answer(offsets)
    assert isinstance(call, HandCall)
    assert call.decode(5, answer) == by_library(call).decode(5, answer)
    assert len(call.decode(5, answer)) == len(offsets)


@given(st.none() | st.lists(NAMES, max_size=5), INTS, st.text(max_size=20))
def test_metadata_is_asked_for_as_the_library_does(
    topics: list[TopicName] | None, correlation_id: int, client_id: str
) -> None:
    call = calls.metadata(topics)
    assert isinstance(call, HandCall)
    for version in (10, 9, 7):
        arguments = (version, correlation_id, client_id)
        assert call.encode(*arguments) == by_library(call).encode(*arguments)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "error": st.integers(-1, 120),
                "name": NAMES,
                "topic_id": st.integers(0, 2**128 - 1),
                "is_internal": st.booleans(),
                "partitions": st.lists(
                    st.tuples(st.integers(-1, 120), INTS, INTS, st.lists(INTS, max_size=4)), max_size=4
                ),
            }
        ),
        max_size=5,
        unique_by=lambda each: each["name"],
    ),
    st.lists(st.tuples(INTS, st.text(max_size=20), INTS), max_size=4),
    st.none() | st.text(max_size=30),
)
def test_metadata_is_read_as_the_library_does(
    topics: list[dict[str, Any]], brokers: list[tuple[int, str, int]], cluster: str | None
) -> None:
    call, answer = calls.metadata(None), metadata_answer(topics, brokers, cluster)
    assert isinstance(call, HandCall)
    assert call.decode(10, answer) == by_library(call).decode(10, answer)
    assert [*call.decode(10, answer).topics] == [each["name"] for each in topics]


@given(st.dictionaries(st.integers(0, 100), st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=60), INTS)
def test_versions_are_asked_for_and_read_as_the_library_does(
    ranges: dict[int, tuple[int, int]], correlation_id: int
) -> None:
    call = api_versions()
    assert isinstance(call, HandCall)
    assert call.encode(0, correlation_id, "us") == by_library(call).encode(0, correlation_id, "us")
    assert call.decode(0, versions_answer(ranges)) == by_library(call).decode(0, versions_answer(ranges)) == (0, ranges)


@pytest.mark.parametrize(
    ("call", "version", "answer"),
    [
        (api_versions(), 0, versions_answer({3: (0, 12), 18: (0, 3)})),
        (calls.list_offsets([A0], 0), 5, offsets_answer({A0: (0, 1, 7)})),
        (calls.metadata([A0.topic]), 10, metadata_answer([A_TOPIC], [(1, "here", 9092)], "cluster")),
        (gap_calls.write_markers({A0: gap_calls.Markers(1, 0)}, ID), 1, markers_answer([(A0, 0)])),
        (calls.offset_for_leader_epoch({A0: LeaderEpoch(0)}), 3, ends_answer({A0: (0, 1, 7)})),
    ],
    ids=["ApiVersions", "ListOffsets", "Metadata", "WriteTxnMarkers", "OffsetForLeaderEpoch"],
)
def test_an_answer_of_another_length_is_no_answer(call: Call[Any], version: int, answer: bytes) -> None:
    assert call.decode(version, answer)
    for end in range(4, len(answer)):
        with pytest.raises((ValueError, IndexError)):
            call.decode(version, answer[:end])
    with pytest.raises(ValueError, match="bytes long"):
        call.decode(version, answer + b"\0")
