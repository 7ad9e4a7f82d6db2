"""Rights and sizes: what is asked for is in the request, and what is not told is None."""

from __future__ import annotations

import struct

import pytest
from kafka.protocol.admin.cluster import (
    DescribeClusterRequest,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)
from kafka.protocol.metadata.metadata import MetadataRequest, MetadataResponse

from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.survey_calls import (
    Operations,
    cluster_operations,
    describe_log_dirs,
    topic_operations,
)

A0, A1, B0 = (TopicPartition(TopicName(name), Partition(n)) for name, n in (("a", 0), ("a", 1), ("b", 0)))


def described_cluster(bits: int, error: int = 0) -> bytes:
    """DescribeClusterResponse v0 by hand: correlation id, tags, throttle time, error, no message, id, controller, …"""
    head = struct.pack(">ibih", 5, 0, 0, error) + b"\0" + b"\x02S" + struct.pack(">i", 1) + b"\x01"
    return head + struct.pack(">i", bits) + b"\0"


@pytest.mark.parametrize(
    ("bits", "operations"),
    [
        (-(1 << 31), None),
        (0, frozenset()),
        (1 << 7 | 1 << 8, frozenset({AclOperation.ALTER, AclOperation.DESCRIBE})),
        (1 << 9 | 1 << 30, frozenset({AclOperation.CLUSTER_ACTION})),  # an operation of a later Kafka
    ],
)
def test_the_rights_on_the_cluster_are_read_from_their_bits(bits: int, operations: Operations) -> None:
    call = cluster_operations()
    request = DescribeClusterRequest.decode(call.encode(0, 5, "us")[4:], version=0, header=True)
    assert request.include_cluster_authorized_operations
    assert call.decode(0, described_cluster(bits)) == operations


def test_a_refused_description_tells_nothing() -> None:
    assert cluster_operations().decode(0, described_cluster(1 << 9, error=31)) is None


def test_the_rights_on_topics_leave_out_what_is_not_there() -> None:
    call = topic_operations([TopicName("a"), TopicName("b")])
    request = MetadataRequest.decode(call.encode(10, 5, "us")[4:], version=10, header=True)
    assert [topic.name for topic in request.topics] == ["a", "b"]
    assert request.include_topic_authorized_operations
    assert not request.allow_auto_topic_creation
    topic = MetadataResponse.MetadataResponseTopic
    answer = MetadataResponse(
        version=10,
        topics=[
            topic(name="a", error_code=0, partitions=[], authorized_operations={6, 8}),
            topic(name="b", error_code=3, partitions=[], authorized_operations=None),
            topic(name="c", error_code=0, partitions=[], authorized_operations=None),
        ],
        brokers=[],
    )
    answer.with_header(correlation_id=5)
    assert call.decode(10, answer.encode(header=True)) == {
        "a": {AclOperation.DELETE, AclOperation.DESCRIBE},
        "c": None,
    }


def test_sizes_are_those_of_the_logs_that_serve() -> None:
    call = describe_log_dirs([A0, A1, B0])
    request = DescribeLogDirsRequest.decode(call.encode(2, 5, "us")[4:], version=2, header=True)
    assert [(topic.topic, topic.partitions) for topic in request.topics] == [("a", [0, 1]), ("b", [0])]
    result = DescribeLogDirsResponse.DescribeLogDirsResult
    topic = result.DescribeLogDirsTopic
    part = topic.DescribeLogDirsPartition

    def log(index: int, size: int, *, future: bool = False) -> object:
        return part(partition_index=index, partition_size=size, offset_lag=0, is_future_key=future)

    answer = DescribeLogDirsResponse(
        version=2,
        results=[
            result(error_code=0, log_dir="/1", topics=[topic(name="a", partitions=[log(0, 700)])]),
            result(
                error_code=0,
                log_dir="/2",
                topics=[topic(name="a", partitions=[log(0, 100, future=True), log(1, 0)])],
            ),
        ],
    )
    answer.with_header(correlation_id=5)
    assert call.decode(2, answer.encode(header=True)) == {A0: 700, A1: 0}
