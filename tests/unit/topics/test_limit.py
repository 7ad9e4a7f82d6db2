"""A limit is raised to what is needed, and never lowered."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import Altered
from kmigrate.topics.limit import RaiseLimit, raise_limit
from tests.unit.topics.settings_cluster import DEFAULTS, SettingsCluster

T = TopicName("orders")
DEFAULT = int(DEFAULTS["max.message.bytes"])


@pytest.mark.parametrize(
    ("own", "wanted", "expected"),
    [
        ({}, DEFAULT + 1, {"max.message.bytes": str(DEFAULT + 1)}),
        ({}, DEFAULT, {}),
        ({"max.message.bytes": "5000", "retention.ms": "1"}, 6000, {"max.message.bytes": "6000", "retention.ms": "1"}),
        ({"max.message.bytes": "5000"}, 5000, {"max.message.bytes": "5000"}),
        ({"max.message.bytes": "5000"}, 10, {"max.message.bytes": "5000"}),
    ],
)
def test_a_limit_is_raised_and_never_lowered(own: dict[str, str], wanted: int, expected: dict[str, str]) -> None:
    cluster = SettingsCluster({T: own})
    for _ in range(2):
        assert isinstance(raise_limit(cluster.client, RaiseLimit(topic=T, bytes=wanted)), Altered)
        assert cluster.topics[T] == expected
    assert len(cluster.alterations) == (expected != own)
