"""What a plan asks beside the positions: what this principal may do, and how large partitions are.

Nothing of it is certain to be answered: rights are told only to who may describe, and None stands for "not told".

Sources: DescribeClusterResponse.json (KIP-700), MetadataResponse.json (KIP-430), DescribeLogDirsResponse.json;
AclOperation.java for the codes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from kmigrate.kafka_types import TopicName, TopicPartition
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.call import Call
from kmigrate.wire.calls import by_topic
from kmigrate.wire.library import (
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    MetadataRequest,
    MetadataResponse,
)

_TOLD = (
    AclOperation.READ,
    AclOperation.WRITE,
    AclOperation.CREATE,
    AclOperation.DELETE,
    AclOperation.ALTER,
    AclOperation.DESCRIBE,
    AclOperation.CLUSTER_ACTION,
    AclOperation.DESCRIBE_CONFIGS,
    AclOperation.ALTER_CONFIGS,
    AclOperation.IDEMPOTENT_WRITE,
)
"""What counts of a broker's answer."""
Operations: TypeAlias = frozenset[AclOperation] | None
"""What this principal may do with a resource; None if it was not told. A broker without an authorizer names all."""


def cluster_operations() -> Call[Operations]:
    """What this principal may do with the cluster; empty for one that may not describe it, whatever else it may."""
    return Call(
        what="DescribeCluster",
        request=DescribeClusterRequest,
        response=DescribeClusterResponse,
        oldest=0,
        newest=0,
        build=lambda _version: DescribeClusterRequest(include_cluster_authorized_operations=True),
        parse=lambda answer: None if answer.error_code else _operations(answer.authorized_operations),
    )


def topic_operations(names: Sequence[TopicName]) -> Call[Mapping[TopicName, Operations]]:
    """What this principal may do with topics that exist; creates none."""

    def build(_version: int) -> Any:
        return MetadataRequest(
            topics=[MetadataRequest.MetadataRequestTopic(name=name, topic_id=UUID(int=0)) for name in names],
            allow_auto_topic_creation=False,
            include_topic_authorized_operations=True,
        )

    return Call(
        what="Metadata",
        request=MetadataRequest,
        response=MetadataResponse,
        oldest=8,
        newest=10,
        build=build,
        parse=lambda answer: {
            topic.name: _operations(topic.authorized_operations) for topic in answer.topics if not topic.error_code
        },
    )


def _operations(codes: Collection[int] | None) -> Operations:
    """The library has turned the bit field into codes, and "not told" into None."""
    return None if codes is None else frozenset(operation for operation in _TOLD if operation in codes)


def describe_log_dirs(wanted: Iterable[TopicPartition]) -> Call[Mapping[TopicPartition, int]]:
    """Bytes that the asked broker keeps of each partition; nothing for who may not DESCRIBE the cluster.

    Version 2 tells a refusal only by leaving everything out.
    """
    asked = by_topic(wanted)

    def build(_version: int) -> Any:
        topic_class = DescribeLogDirsRequest.DescribableLogDirTopic
        return DescribeLogDirsRequest(
            topics=[topic_class(topic=name, partitions=list(indexes)) for name, indexes in asked]
        )

    def parse(answer: Any) -> Mapping[TopicPartition, int]:
        return {
            TopicPartition(topic.name, part.partition_index): part.partition_size
            for log_dir in answer.results
            for topic in log_dir.topics
            for part in topic.partitions
            if not part.is_future_key
        }

    return Call(
        what="DescribeLogDirs",
        request=DescribeLogDirsRequest,
        response=DescribeLogDirsResponse,
        oldest=1,
        newest=2,
        build=build,
        parse=parse,
    )
