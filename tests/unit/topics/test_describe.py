"""What topics of a cluster inherit is told by a broker, else by topics that are there; unknown stays unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import BrokerRefused, ConnectionLost
from kmigrate.kafka_types import BrokerId, Side, TopicName
from kmigrate.topics.describe import read_defaults
from kmigrate.wire.config_calls import Setting

A, B = TopicName("a"), TopicName("b")


class Cluster:
    """Brokers and topics that tell their settings, or do not."""

    def __init__(self, brokers: Mapping[int, Any], topics: Mapping[str, Mapping[str, Setting]]) -> None:
        self.brokers = brokers
        self.topics = topics

    def broker(self, broker: BrokerId, call: Any) -> Any:
        told = self.brokers[broker]
        if isinstance(told, Exception):
            raise told
        return {str(broker): (0, {key: Setting(value, False) for key, value in told.items()})}

    def any(self, call: Any) -> Any:
        names = [each.resource_name for each in call.build(2).resources]
        return {name: (0, self.topics[name]) if name in self.topics else (29, {}) for name in names}


def defaults(
    brokers: Mapping[int, Any], topics: Mapping[str, Mapping[str, Setting]], names: Sequence[TopicName]
) -> Any:
    return read_defaults(cast(ClusterClient, Cluster(brokers, topics)), [BrokerId(each) for each in brokers], names)


REFUSED = BrokerRefused("DescribeConfigs", code=31, name="CLUSTER_AUTHORIZATION_FAILED", side=Side.TARGET)


def test_a_broker_tells_what_all_topics_inherit() -> None:
    silent = ConnectionLost("gone", side=Side.TARGET)
    assert defaults({1: silent, 2: {"log.retention.hours": "5"}}, {}, []) == {"retention.ms": "18000000"}


def test_where_no_broker_tells_topics_do_as_far_as_they_show_it() -> None:
    topics = {
        "a": {"flush.ms": Setting("7", True, None), "segment.ms": Setting("9", False, "9")},
        "b": {"flush.ms": Setting("5", False, "5"), "segment.ms": Setting("8", True, None)},
    }
    assert defaults({1: REFUSED}, topics, [A, B]) == {"flush.ms": "5", "segment.ms": "9"}
    assert defaults({1: REFUSED}, topics, [A]) == {"flush.ms": None, "segment.ms": "9"}


def test_where_nobody_tells_nothing_is_known() -> None:
    assert defaults({1: REFUSED}, {}, [A]) is None
    assert defaults({1: {}}, {}, []) is None
