"""Markers and deletions: what is asked for is in the request, what is answered comes out."""

from __future__ import annotations

from kafka.protocol.admin.topics import DeleteRecordsResponse
from kafka.protocol.producer.transaction import WriteTxnMarkersRequest, WriteTxnMarkersResponse

from kmigrate.kafka_types import Offset, Partition, ProducerId, TopicName, TopicPartition
from kmigrate.wire.gap_calls import LogStart, Markers, delete_records, write_markers

A0, A1, B0 = (TopicPartition(TopicName(name), Partition(n)) for name, n in (("a", 0), ("a", 1), ("b", 0)))
MARKERS = ProducerId((1 << 62) + 7)


def test_every_partition_gets_its_number_of_markers_in_one_request() -> None:
    call = write_markers({A0: Markers(1, 9), A1: Markers(3, 9), B0: Markers(2, 9)}, MARKERS)
    request = WriteTxnMarkersRequest.decode(call.encode(1, 5, "us")[4:], version=1, header=True)
    asked = [
        {(topic.name, index) for topic in marker.topics for index in topic.partition_indexes}
        for marker in request.markers
    ]
    assert asked == [{("a", 0), ("a", 1), ("b", 0)}, {("a", 1), ("b", 0)}, {("a", 1)}]
    assert {(m.producer_id, m.producer_epoch, m.coordinator_epoch) for m in request.markers} == {(MARKERS, 0, 9)}


def test_each_partition_has_its_own_coordinator_epoch() -> None:
    call = write_markers({A0: Markers(1, 9), A1: Markers(2, 4), B0: Markers(2, 9)}, MARKERS)
    request = WriteTxnMarkersRequest.decode(call.encode(1, 5, "us")[4:], version=1, header=True)
    asked = [
        (
            marker.coordinator_epoch,
            {(topic.name, index) for topic in marker.topics for index in topic.partition_indexes},
        )
        for marker in request.markers
    ]
    assert asked == [(4, {("a", 1)}), (4, {("a", 1)}), (9, {("a", 0), ("b", 0)}), (9, {("b", 0)})]


def test_the_first_failure_of_a_partition_is_told() -> None:
    marker = WriteTxnMarkersResponse.WritableTxnMarkerResult
    topic = marker.WritableTxnMarkerTopicResult
    part = topic.WritableTxnMarkerPartitionResult
    answer = WriteTxnMarkersResponse(
        version=1,
        markers=[
            marker(producer_id=MARKERS, topics=[topic(name="a", partitions=[part(partition_index=0, error_code=code)])])
            for code in (0, 52, 6)
        ],
    )
    answer.with_header(correlation_id=5)
    assert write_markers({A0: Markers(3, 9)}, MARKERS).decode(1, answer.encode(header=True)) == {A0: 52}


def test_a_log_start_comes_with_its_error() -> None:
    topic = DeleteRecordsResponse.DeleteRecordsTopicResult
    part = topic.DeleteRecordsPartitionResult
    answer = DeleteRecordsResponse(
        version=2,
        throttle_time_ms=0,
        topics=[
            topic(
                name="a",
                partitions=[
                    part(partition_index=0, low_watermark=70, error_code=0),
                    part(partition_index=1, low_watermark=-1, error_code=44),
                ],
            )
        ],
    )
    answer.with_header(correlation_id=5)
    call = delete_records({A0: Offset(70), A1: Offset(5)}, 1000)
    assert call.decode(2, answer.encode(header=True)) == {A0: LogStart(0, Offset(70)), A1: LogStart(44, Offset(-1))}
