"""Calls that take up offsets without a record, and that move the beginning of a log.

Neither is guarded by a sequence: what was sent may have happened, and is never sent again before the true log end
offset (`calls.offset_for_leader_epoch`) or the log start was read.

Sources: WriteTxnMarkersRequest.json, DeleteRecordsRequest.json; KafkaApis.handleWriteTxnMarkersRequest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kmigrate.kafka_types import Offset, Partition, ProducerId, TopicName, TopicPartition
from kmigrate.wire.call import Call, HandCall, check_end
from kmigrate.wire.calls import by_topic
from kmigrate.wire.library import (
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from kmigrate.wire.varints import read_uvarint, skip_tags, uvarint

_MARKER_HEAD = struct.Struct(">qh?")
"""Producer id, producer epoch, whether it commits."""
_MARKER_ANSWER = struct.Struct(">ih")
"""Partition, error."""


class LogStart(NamedTuple):
    """The answer to DeleteRecords for one partition; `offset` is the log start on all replicas."""

    error: int
    offset: Offset


LogStarts = Mapping[TopicPartition, LogStart]


class Markers(NamedTuple):
    """So many markers for one partition."""

    number: int
    coordinator_epoch: int


def write_markers(
    wanted: Mapping[TopicPartition, Markers], producer_id: ProducerId
) -> Call[Mapping[TopicPartition, int]]:
    """Appends transaction markers to each partition, one offset each; they belong to no transaction.

    Goes to the partitions' leader; needs CLUSTER_ACTION on the cluster, or ALTER from 3.8 on. A lower coordinator epoch
    than the last is refused with TRANSACTION_COORDINATOR_FENCED. The answer is an error code for each partition. **It
    can hide a failure**: of one producer id's markers on a partition only the last one's result is told.
    """

    def build(_version: int) -> Any:
        marker_class = WriteTxnMarkersRequest.WritableTxnMarker
        return WriteTxnMarkersRequest(
            markers=[
                marker_class(
                    producer_id=producer_id,
                    producer_epoch=0,
                    transaction_result=True,
                    topics=[
                        marker_class.WritableTxnMarkerTopic(name=name, partition_indexes=list(indexes))
                        for name, indexes in by_topic(wanting)
                    ],
                    coordinator_epoch=coordinator_epoch,
                )
                for coordinator_epoch, wanting in _rounds(wanted)
            ]
        )

    return HandCall(
        what="WriteTxnMarkers",
        key=27,
        request=WriteTxnMarkersRequest,
        response=WriteTxnMarkersResponse,
        oldest=1,
        newest=1,
        build=build,
        parse=_parse_markers,
        is_flexible=True,
        lay_out=lambda: _lay_out_markers(wanted, producer_id),
        read=_read_markers,
    )


def _lay_out_markers(wanted: Mapping[TopicPartition, Markers], producer_id: ProducerId) -> bytes:
    """One marker's partitions are the same in many markers that follow each other: they are laid out once."""
    head = _MARKER_HEAD.pack(producer_id, 0, True)
    laid_out: list[bytes] = []
    before: tuple[list[TopicPartition], bytes] = ([], b"")
    for coordinator_epoch, wanting in _rounds(wanted):
        if wanting != before[0]:
            topics = by_topic(wanting)
            body = uvarint(len(topics) + 1)
            for name, indexes in topics:
                encoded = name.encode()
                body += uvarint(len(encoded) + 1) + encoded + uvarint(len(indexes) + 1)
                body += struct.pack(f">{len(indexes)}i", *indexes) + b"\0"
            before = wanting, body
        laid_out.append(head + before[1] + coordinator_epoch.to_bytes(4, "big", signed=True) + b"\0")
    return uvarint(len(laid_out) + 1) + b"".join(laid_out) + b"\0"


def _read_markers(body: memoryview) -> Mapping[TopicPartition, int]:
    errors: dict[TopicPartition, int] = {}
    markers, at = read_uvarint(body, 0)
    for _ in range(markers - 1):
        topics, at = read_uvarint(body, at + 8)  # past the producer id
        for _ in range(topics - 1):
            size, at = read_uvarint(body, at)
            name, at = TopicName(str(body[at : at + size - 1], "utf-8")), at + size - 1
            partitions, at = read_uvarint(body, at)
            for _ in range(partitions - 1):
                index, error = _MARKER_ANSWER.unpack_from(body, at)
                at = skip_tags(body, at + _MARKER_ANSWER.size)
                partition = TopicPartition(name, Partition(index))
                errors[partition] = errors.get(partition) or error
            at = skip_tags(body, at)
        at = skip_tags(body, at)
    check_end(body, skip_tags(body, at))
    return errors


def _rounds(wanted: Mapping[TopicPartition, Markers]) -> Iterator[tuple[int, list[TopicPartition]]]:
    """One marker for every partition that still wants one, again and again, for each coordinator epoch."""
    for coordinator_epoch in sorted({markers.coordinator_epoch for markers in wanted.values()}):
        wanting, done = [tp for tp, each in wanted.items() if each.coordinator_epoch == coordinator_epoch], 0
        while wanting := [tp for tp in wanting if wanted[tp].number > done]:
            yield coordinator_epoch, wanting
            done += 1


def _parse_markers(answer: Any) -> Mapping[TopicPartition, int]:
    errors: dict[TopicPartition, int] = {}
    for marker in answer.markers:
        for topic in marker.topics:
            for part in topic.partitions:
                partition = TopicPartition(topic.name, part.partition_index)
                errors[partition] = errors.get(partition) or part.error_code
    return errors


def delete_records(log_starts: Mapping[TopicPartition, Offset], timeout_ms: int) -> Call[LogStarts]:
    """Moves the log start of partitions up to these offsets; goes to their leader, needs DELETE on the topic.

    Refused with POLICY_VIOLATION unless `cleanup.policy` has `delete`. An answer is given when all replicas in sync
    have moved theirs, which a crash may undo: brokers write it down once a minute.
    """

    def build(_version: int) -> Any:
        topic_class = DeleteRecordsRequest.DeleteRecordsTopic
        return DeleteRecordsRequest(
            topics=[
                topic_class(
                    name=name,
                    partitions=[
                        topic_class.DeleteRecordsPartition(
                            partition_index=index, offset=log_starts[TopicPartition(name, index)]
                        )
                        for index in indexes
                    ],
                )
                for name, indexes in by_topic(log_starts)
            ],
            timeout_ms=timeout_ms,
        )

    return Call(
        what="DeleteRecords",
        request=DeleteRecordsRequest,
        response=DeleteRecordsResponse,
        oldest=1,
        newest=2,
        build=build,
        parse=lambda answer: {
            TopicPartition(topic.name, part.partition_index): LogStart(part.error_code, part.low_watermark)
            for topic in answer.topics
            for part in topic.partitions
        },
    )
