"""Requests through the codec library, and the names of errors."""

from __future__ import annotations

import pytest
from kafka.protocol.admin.transactions import DescribeProducersResponse

from kmigrate.kafka_types import Offset, Partition, ProducerId, TopicName, TopicPartition
from kmigrate.wire import calls
from kmigrate.wire.call import error_name


@pytest.mark.parametrize(
    ("code", "name"),
    [(0, "NONE"), (6, "NOT_LEADER_OR_FOLLOWER"), (10, "MESSAGE_TOO_LARGE"), (54, "SECURITY_DISABLED")],
)
def test_an_error_has_the_name_that_kafka_gives_it(code: int, name: str) -> None:
    assert error_name(code) == name


def test_a_call_speaks_the_highest_version_that_both_sides_know() -> None:
    call = calls.list_offsets([TopicPartition(TopicName("orders"), Partition(0))], calls.LATEST)
    assert call.version({call.api_key: (1, 9)}) == call.newest
    assert call.version({call.api_key: (1, 3)}) == 3
    assert call.version({call.api_key: (0, 1)}) is None, "older than what we understand"
    assert call.version({}) is None, "a broker that does not offer it"


def test_a_producer_is_described_with_the_epoch_of_its_last_marker_and_its_open_transaction() -> None:
    topic_class = DescribeProducersResponse.TopicResponse
    part_class = topic_class.PartitionResponse
    told = [
        part_class.ProducerState(
            producer_id=7,
            producer_epoch=0,
            last_sequence=-1,
            last_timestamp=1_000,
            coordinator_epoch=12,
            current_txn_start_offset=40,
        )
    ]
    part = part_class(partition_index=3, error_code=0, error_message=None, active_producers=told)
    answer = DescribeProducersResponse(throttle_time_ms=0, topics=[topic_class(name="orders", partitions=[part])])
    orders = TopicPartition(TopicName("orders"), Partition(3))
    found = calls.describe_producers([orders]).parse(answer)
    assert found == {orders: calls.Producers(0, (calls.ProducerState(ProducerId(7), 0, -1, 1_000, 12, Offset(40)),))}
