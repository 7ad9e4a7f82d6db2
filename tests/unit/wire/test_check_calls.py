"""A controller's time is what its quorum says of the leader, in Kafka's own layout of version 1."""

from __future__ import annotations

import struct

import pytest
from kafka.protocol.admin.cluster import DescribeQuorumRequest
from kafka.protocol.consumer import ListOffsetsRequest, ListOffsetsResponse

from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.wire.calls import OffsetAnswer
from kmigrate.wire.check_calls import controller_time, newest_timestamps


def replica(number: int, caught_up_ms: int) -> bytes:
    """Id, log end offset, last fetch, last caught up, tags."""
    return struct.pack(">iqqq", number, 100, -1, caught_up_ms) + b"\0"


def answer(*voters: bytes, leader: int = 7, error: int = 0, part_error: int = 0, has_topic: bool = True) -> bytes:
    """DescribeQuorumResponse v1 by hand, with one observer."""
    head = struct.pack(">i", 5) + b"\0" + struct.pack(">h", error)
    if not has_topic:
        return head + b"\x01\0"
    name = b"__cluster_metadata"
    part = struct.pack(">ihiiq", 0, part_error, leader, 3, 100)
    part += bytes([len(voters) + 1]) + b"".join(voters) + b"\x02" + replica(1, 999) + b"\0"
    return head + b"\x02" + bytes([len(name) + 1]) + name + b"\x02" + part + b"\0" + b"\0"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (answer(replica(6, 1_111), replica(7, 1_792_000_000_123)), (0, 1_792_000_000_123)),
        (answer(replica(6, 1_111)), (0, None)),  # the leader is none of the voters
        (answer(replica(7, -1)), (0, None)),
        (answer(replica(7, -1), part_error=6), (6, None)),
        (answer(error=31, has_topic=False), (31, None)),
    ],
)
def test_the_time_is_that_of_the_leader(told: bytes, expected: tuple[int, int | None]) -> None:
    call = controller_time()
    request = DescribeQuorumRequest.decode(call.encode(1, 5, "us")[4:], version=1, header=True)
    assert [(each.topic_name, [part.partition_index for part in each.partitions]) for each in request.topics] == [
        ("__cluster_metadata", [0])
    ]
    assert tuple(call.decode(1, told)) == expected


def test_the_newest_timestamp_is_asked_in_the_version_that_knows_it() -> None:
    orders = TopicPartition(TopicName("orders"), Partition(3))
    call = newest_timestamps([orders])
    assert call.version({2: (1, 10)}) == 7
    request = ListOffsetsRequest.decode(call.encode(7, 1, "us")[4:], version=7, header=True)
    (topic,) = request.topics
    (part,) = topic.partitions
    assert (topic.name, part.partition_index, part.timestamp) == ("orders", 3, -3)
    topic_class = ListOffsetsResponse.ListOffsetsTopicResponse
    answer = ListOffsetsResponse(
        version=7,
        topics=[
            topic_class(
                name="orders",
                partitions=[
                    topic_class.ListOffsetsPartitionResponse(
                        partition_index=3, error_code=0, timestamp=1_700, offset=9, leader_epoch=1
                    )
                ],
            )
        ],
    )
    answer.with_header(correlation_id=1)
    assert call.decode(7, answer.encode(header=True)) == {orders: OffsetAnswer(0, Offset(9), 1_700)}
