"""What only a check asks: room on disks, newest timestamps, a controller's clock, and whether topics may be written to.

Nothing here changes a cluster: what looks like a write names a partition that no topic can have, so that nothing but
the right to it is looked at.

Sources: DescribeLogDirsResponse.json (KIP-827), ListOffsetsRequest.json (KIP-734), DescribeQuorumResponse.json
(KIP-836); KafkaApis for the order in which
rights and existence are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.wire.call import Call
from kmigrate.wire.calls import OffsetAnswer, list_offsets
from kmigrate.wire.library import (
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    ProduceRequest,
    ProduceResponse,
)

NO_PARTITION = Partition(2**31 - 1)
"""A partition that no topic has: a request for it is answered with a refusal, and changes nothing."""
MAX_TIMESTAMP = -3
UNKNOWN_BYTES = -1
_METADATA_TOPIC = "__cluster_metadata"


class LogDir(NamedTuple):
    """One disk of a broker: -1 where the broker does not tell."""

    error: int
    path: str
    total_bytes: int
    usable_bytes: int


class LogDirs(NamedTuple):
    """The answer to DescribeLogDirs without partitions."""

    error: int
    dirs: tuple[LogDir, ...]


def describe_disks() -> Call[LogDirs]:
    """The disks of the asked broker; needs DESCRIBE on the cluster. Before 4.0 of the request no sizes are told."""

    def parse(answer: Any) -> LogDirs:
        dirs = tuple(
            LogDir(
                error=each.error_code,
                path=each.log_dir,
                total_bytes=_told(each, "total_bytes"),
                usable_bytes=_told(each, "usable_bytes"),
            )
            for each in answer.results
        )
        return LogDirs(getattr(answer, "error_code", None) or 0, dirs)

    return Call(
        what="DescribeLogDirs",
        request=DescribeLogDirsRequest,
        response=DescribeLogDirsResponse,
        oldest=1,
        newest=4,
        build=lambda _version: DescribeLogDirsRequest(topics=[]),
        parse=parse,
    )


def _told(answer: Any, name: str) -> int:
    value = getattr(answer, name, None)
    return UNKNOWN_BYTES if value is None else int(value)


def newest_timestamps(wanted: Iterable[TopicPartition]) -> Call[Mapping[TopicPartition, OffsetAnswer]]:
    """The record with the largest timestamp of each partition; brokers from 3.0 on."""
    known = list_offsets(wanted, MAX_TIMESTAMP)
    return Call(  # by the library: by hand only an older version is laid out
        what=known.what,
        request=known.request,
        response=known.response,
        oldest=7,
        newest=7,
        build=known.build,
        parse=known.parse,
    )


class ControllerTime(NamedTuple):
    """What the active controller's clock showed when it answered; None where it does not tell."""

    error: int
    at_ms: int | None


def controller_time() -> Call[ControllerTime]:
    """The clock of the active controller; KRaft from 3.3 on, and who may DESCRIBE the cluster.

    For the leader of the quorum its answer names the current time as when it last was caught up.
    """
    wanted = DescribeQuorumRequest.TopicData

    def parse(answer: Any) -> ControllerTime:
        for topic in answer.topics:
            for part in topic.partitions:
                times = [
                    each.last_caught_up_timestamp for each in part.current_voters if each.replica_id == part.leader_id
                ]
                known = [at_ms for at_ms in times if at_ms is not None and at_ms > 0]
                return ControllerTime(answer.error_code or part.error_code, known[0] if known else None)
        return ControllerTime(answer.error_code, None)

    return Call(
        what="DescribeQuorum",
        request=DescribeQuorumRequest,
        response=DescribeQuorumResponse,
        oldest=1,
        newest=1,
        build=lambda _version: DescribeQuorumRequest(
            topics=[wanted(topic_name=_METADATA_TOPIC, partitions=[wanted.PartitionData(partition_index=0)])]
        ),
        parse=parse,
    )


def ask_for_write(topics: Sequence[TopicName]) -> Call[Mapping[TopicName, int]]:
    """Whether topics may be written to, by a request for a partition that cannot exist: nothing is appended.

    TOPIC_AUTHORIZATION_FAILED, or UNKNOWN_TOPIC_OR_PARTITION for who has WRITE.
    """
    data_class = ProduceRequest.TopicProduceData
    return Call(
        what="Produce",
        request=ProduceRequest,
        response=ProduceResponse,
        oldest=8,
        newest=8,
        build=lambda _version: ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=1000,
            topic_data=[
                data_class(name=name, partition_data=[data_class.PartitionProduceData(index=NO_PARTITION, records=b"")])
                for name in topics
            ],
        ),
        parse=lambda answer: {
            topic.name: part.error_code for topic in answer.responses for part in topic.partition_responses
        },
    )
