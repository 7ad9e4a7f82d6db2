"""Requests through the codec library, and the names of errors."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import Partition, TopicName, TopicPartition
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
