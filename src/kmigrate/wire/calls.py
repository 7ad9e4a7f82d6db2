"""What is asked of a cluster, one function an API: each returns a `Call` whose answer is a plain value.

Sources: Kafka's message schemas (clients/src/main/resources/common/message) for the versions named here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from kmigrate.kafka_types import (
    NO_TOPIC_ID,
    BrokerAddress,
    LeaderEpoch,
    Offset,
    Partition,
    ProducerId,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.wire.call import Call, HandCall, check_end
from kmigrate.wire.library import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DescribeProducersRequest,
    DescribeProducersResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    MetadataRequest,
    MetadataResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from kmigrate.wire.metadata import VERSION, lay_out_metadata, read_metadata
from kmigrate.wire.metadata import ClusterMetadata as ClusterMetadata
from kmigrate.wire.metadata import PartitionMetadata as PartitionMetadata
from kmigrate.wire.metadata import TopicMetadata as TopicMetadata

LATEST = -1
EARLIEST = -2
READ_UNCOMMITTED = 0
READ_COMMITTED = 1

_EPOCHS_HEAD = struct.Struct(">ii")
"""Replica id, or how long to wait because of a quota; number of topics."""
_OFFSETS_HEAD = struct.Struct(">ibi")
"""Replica id, isolation level, number of topics."""
_OFFSET_ASKED = struct.Struct(">iiq")
_OFFSET_ANSWER = struct.Struct(">ihqqi")
_EPOCH_ASKED = struct.Struct(">iii")
_EPOCH_END = struct.Struct(">hiiq")


class OffsetAnswer(NamedTuple):
    """The answer to ListOffsets for one partition."""

    error: int
    offset: Offset
    timestamp_ms: int


class EpochEnd(NamedTuple):
    """The end of a leader epoch: with the leader's current epoch, the true log end offset."""

    error: int
    leader_epoch: LeaderEpoch
    end_offset: Offset


class ProducerState(NamedTuple):
    """What a partition's leader remembers of one producer id.

    `last_sequence` is -1 where it knows markers of the id only, `coordinator_epoch` where it knows none: that is the
    epoch of the last one. `current_txn_start_offset` is the first offset of its open transaction, -1 without one.
    """

    producer_id: ProducerId
    producer_epoch: int
    last_sequence: int
    last_timestamp_ms: int
    coordinator_epoch: int = -1
    current_txn_start_offset: Offset = Offset(-1)


class Producers(NamedTuple):
    """The answer to DescribeProducers for one partition."""

    error: int
    states: tuple[ProducerState, ...]


class TopicOutcome(NamedTuple):
    """What became of one topic in an admin request."""

    error: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """A topic to be created."""

    name: TopicName
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


def metadata(topics: Sequence[TopicName] | None) -> Call[ClusterMetadata]:
    """Brokers, and the given topics (None: all of them); creates nothing."""

    def build(version: int) -> Any:
        wanted = None
        if topics is not None:
            wanted = [MetadataRequest.MetadataRequestTopic(name=name, topic_id=UUID(int=0)) for name in topics]
        return MetadataRequest(topics=wanted, allow_auto_topic_creation=False)

    return HandCall(
        what="Metadata",
        request=MetadataRequest,
        response=MetadataResponse,
        key=3,
        oldest=7,
        newest=VERSION,
        build=build,
        parse=_parse_metadata,
        is_flexible=True,
        lay_out=lambda: lay_out_metadata(topics),
        read=read_metadata,
    )


def _parse_metadata(answer: Any) -> ClusterMetadata:
    topics = {}
    for topic in answer.topics:
        partitions = {
            part.partition_index: PartitionMetadata(
                error=part.error_code,
                leader=part.leader_id,
                leader_epoch=part.leader_epoch,
                replicas=tuple(part.replica_nodes),
            )
            for part in topic.partitions
        }
        topics[topic.name] = TopicMetadata(
            error=topic.error_code,
            topic_id=_topic_id(getattr(topic, "topic_id", None)),
            is_internal=topic.is_internal,
            partitions=partitions,
        )
    return ClusterMetadata(
        cluster_id=answer.cluster_id or "",
        controller=answer.controller_id,
        brokers={b.node_id: BrokerAddress(b.node_id, b.host, b.port) for b in answer.brokers},
        topics=topics,
    )


def _topic_id(value: UUID | None) -> TopicId:
    return NO_TOPIC_ID if value is None else TopicId(value.hex)


def list_offsets(
    wanted: Iterable[TopicPartition], timestamp_ms: int, isolation_level: int = READ_UNCOMMITTED
) -> Call[Mapping[TopicPartition, OffsetAnswer]]:
    """Log start (EARLIEST), high watermark (LATEST) or last stable offset (LATEST, READ_COMMITTED); or by time.

    LATEST tells a client the high watermark, never the log end offset: see `offset_for_leader_epoch`.
    """
    asked = by_topic(wanted)

    def build(_version: int) -> Any:
        topic_class = ListOffsetsRequest.ListOffsetsTopic
        return ListOffsetsRequest(
            replica_id=-1,
            isolation_level=isolation_level,
            topics=[
                topic_class(
                    name=name,
                    partitions=[
                        topic_class.ListOffsetsPartition(
                            partition_index=index, current_leader_epoch=-1, timestamp=timestamp_ms
                        )
                        for index in indexes
                    ],
                )
                for name, indexes in asked
            ],
        )

    def parse(answer: Any) -> Mapping[TopicPartition, OffsetAnswer]:
        return {
            TopicPartition(topic.name, part.partition_index): OffsetAnswer(part.error_code, part.offset, part.timestamp)
            for topic in answer.topics
            for part in topic.partitions
        }

    return HandCall(
        what="ListOffsets",
        request=ListOffsetsRequest,
        response=ListOffsetsResponse,
        key=2,
        oldest=2,
        newest=5,
        build=build,
        parse=parse,
        is_flexible=False,
        lay_out=lambda: _lay_out_list_offsets(asked, timestamp_ms, isolation_level),
        read=_read_offsets,
    )


def _lay_out_list_offsets(
    asked: Sequence[tuple[TopicName, list[Partition]]], timestamp_ms: int, isolation_level: int
) -> bytes:
    body = bytearray(_OFFSETS_HEAD.pack(-1, isolation_level, len(asked)))
    for name, indexes in asked:
        encoded = name.encode()
        body += len(encoded).to_bytes(2, "big") + encoded + len(indexes).to_bytes(4, "big")
        for index in indexes:
            body += _OFFSET_ASKED.pack(index, -1, timestamp_ms)
    return bytes(body)


def _read_offsets(body: memoryview) -> Mapping[TopicPartition, OffsetAnswer]:
    offsets: dict[TopicPartition, OffsetAnswer] = {}
    _throttle_ms, topics = _EPOCHS_HEAD.unpack_from(body, 0)
    at = _EPOCHS_HEAD.size
    for _ in range(topics):
        name, partitions, at = _read_topic_head(body, at)
        for _ in range(partitions):
            index, error, time_ms, offset, _epoch = _OFFSET_ANSWER.unpack_from(body, at)
            at += _OFFSET_ANSWER.size
            offsets[TopicPartition(name, Partition(index))] = OffsetAnswer(error, Offset(offset), time_ms)
    check_end(body, at)
    return offsets


def _read_topic_head(body: memoryview, at: int) -> tuple[TopicName, int, int]:
    """A topic's name, how many partitions follow, and where they begin."""
    size = int.from_bytes(body[at : at + 2], "big")
    name, at = TopicName(str(body[at + 2 : at + 2 + size], "utf-8")), at + 2 + size
    return name, int.from_bytes(body[at : at + 4], "big"), at + 4


def offset_for_leader_epoch(
    wanted: Mapping[TopicPartition, LeaderEpoch],
) -> Call[Mapping[TopicPartition, EpochEnd]]:
    """The true log end offset of partitions whose leader's current epoch is given.

    A stale epoch is answered with FENCED_LEADER_EPOCH, one the broker does not know yet with UNKNOWN_LEADER_EPOCH.
    """
    asked = by_topic(wanted)

    def build(_version: int) -> Any:
        topic_class = OffsetForLeaderEpochRequest.OffsetForLeaderTopic
        return OffsetForLeaderEpochRequest(
            replica_id=-1,
            topics=[
                topic_class(
                    topic=name,
                    partitions=[
                        topic_class.OffsetForLeaderPartition(
                            partition=index,
                            current_leader_epoch=wanted[TopicPartition(name, index)],
                            leader_epoch=wanted[TopicPartition(name, index)],
                        )
                        for index in indexes
                    ],
                )
                for name, indexes in asked
            ],
        )

    def parse(answer: Any) -> Mapping[TopicPartition, EpochEnd]:
        return {
            TopicPartition(topic.topic, part.partition): EpochEnd(part.error_code, part.leader_epoch, part.end_offset)
            for topic in answer.topics
            for part in topic.partitions
        }

    return HandCall(
        what="OffsetForLeaderEpoch",
        key=23,
        request=OffsetForLeaderEpochRequest,
        response=OffsetForLeaderEpochResponse,
        oldest=3,
        newest=3,
        build=build,
        parse=parse,
        is_flexible=False,
        lay_out=lambda: _lay_out_epochs(asked, wanted),
        read=_read_epoch_ends,
    )


def _lay_out_epochs(
    asked: Sequence[tuple[TopicName, list[Partition]]], wanted: Mapping[TopicPartition, LeaderEpoch]
) -> bytes:
    body = _EPOCHS_HEAD.pack(-1, len(asked))
    for name, indexes in asked:
        encoded = name.encode()
        body += len(encoded).to_bytes(2, "big") + encoded + len(indexes).to_bytes(4, "big")
        for index in indexes:
            epoch = wanted[TopicPartition(name, index)]
            body += _EPOCH_ASKED.pack(index, epoch, epoch)
    return body


def _read_epoch_ends(body: memoryview) -> Mapping[TopicPartition, EpochEnd]:
    ends: dict[TopicPartition, EpochEnd] = {}
    _throttle_ms, topics = _EPOCHS_HEAD.unpack_from(body, 0)
    at = _EPOCHS_HEAD.size
    for _ in range(topics):
        name, partitions, at = _read_topic_head(body, at)
        for _ in range(partitions):
            error, index, epoch, end = _EPOCH_END.unpack_from(body, at)
            at += _EPOCH_END.size
            ends[TopicPartition(name, Partition(index))] = EpochEnd(error, LeaderEpoch(epoch), Offset(end))
    check_end(body, at)
    return ends


def describe_producers(wanted: Iterable[TopicPartition]) -> Call[Mapping[TopicPartition, Producers]]:
    """The producer ids that partitions' leaders remember (KIP-664; needs READ on the topic)."""
    asked = by_topic(wanted)

    def build(_version: int) -> Any:
        return DescribeProducersRequest(
            topics=[
                DescribeProducersRequest.TopicRequest(name=name, partition_indexes=list(indexes))
                for name, indexes in asked
            ]
        )

    def parse(answer: Any) -> Mapping[TopicPartition, Producers]:
        return {
            TopicPartition(topic.name, part.partition_index): Producers(
                part.error_code,
                tuple(
                    ProducerState(
                        s.producer_id,
                        s.producer_epoch,
                        s.last_sequence,
                        s.last_timestamp,
                        s.coordinator_epoch,
                        s.current_txn_start_offset,
                    )
                    for s in part.active_producers
                ),
            )
            for topic in answer.topics
            for part in topic.partitions
        }

    return Call(
        what="DescribeProducers",
        request=DescribeProducersRequest,
        response=DescribeProducersResponse,
        oldest=0,
        newest=0,
        build=build,
        parse=parse,
    )


def create_topics(
    topics: Sequence[NewTopic], timeout_ms: int, *, validate_only: bool = False
) -> Call[Mapping[TopicName, TopicOutcome]]:
    """Creates topics; the outcome of each stands for itself. Goes to the controller.

    With `validate_only` nothing is created: the outcomes are those that it would have.
    """

    def build(_version: int) -> Any:
        topic_class = CreateTopicsRequest.CreatableTopic
        return CreateTopicsRequest(
            topics=[
                topic_class(
                    name=topic.name,
                    num_partitions=topic.partitions,
                    replication_factor=topic.replication_factor,
                    assignments=[],
                    configs=[
                        topic_class.CreatableTopicConfig(name=key, value=value) for key, value in topic.configs.items()
                    ],
                )
                for topic in topics
            ],
            timeout_ms=timeout_ms,
            validate_only=validate_only,
        )

    return Call(
        what="CreateTopics",
        request=CreateTopicsRequest,
        response=CreateTopicsResponse,
        oldest=2,
        newest=5,
        build=build,
        parse=lambda answer: {t.name: TopicOutcome(t.error_code, t.error_message or "") for t in answer.topics},
    )


def create_partitions(
    counts: Mapping[TopicName, int], timeout_ms: int, *, validate_only: bool = False
) -> Call[Mapping[TopicName, TopicOutcome]]:
    """Raises topics to the given partition counts, or with `validate_only` none. Goes to the controller."""

    def build(_version: int) -> Any:
        return CreatePartitionsRequest(
            topics=[
                CreatePartitionsRequest.CreatePartitionsTopic(name=name, count=count, assignments=None)
                for name, count in counts.items()
            ],
            timeout_ms=timeout_ms,
            validate_only=validate_only,
        )

    return Call(
        what="CreatePartitions",
        request=CreatePartitionsRequest,
        response=CreatePartitionsResponse,
        oldest=0,
        newest=2,
        build=build,
        parse=lambda answer: {t.name: TopicOutcome(t.error_code, t.error_message or "") for t in answer.results},
    )


def delete_topics(names: Sequence[TopicName], timeout_ms: int) -> Call[Mapping[TopicName, TopicOutcome]]:
    """Deletes topics. Goes to the controller."""
    return Call(
        what="DeleteTopics",
        request=DeleteTopicsRequest,
        response=DeleteTopicsResponse,
        oldest=1,
        newest=5,
        build=lambda _version: DeleteTopicsRequest(topic_names=list(names), timeout_ms=timeout_ms),
        parse=lambda answer: {
            t.name: TopicOutcome(t.error_code, getattr(t, "error_message", None) or "") for t in answer.responses
        },
    )


def by_topic(wanted: Iterable[TopicPartition]) -> list[tuple[TopicName, list[Partition]]]:
    """Partitions as requests list them."""
    ordered = sorted(wanted)
    return [(name, [tp.partition for tp in group]) for name, group in groupby(ordered, key=lambda tp: tp.topic)]
