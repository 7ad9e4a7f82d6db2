"""Reads the settings of topics and brokers, a limited number in each request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import BrokerRefused
from kmigrate.kafka_types import BrokerId, TopicName
from kmigrate.wire import calls
from kmigrate.wire.error_codes import ErrorCode

BATCH = 100
"""Topics in one admin request."""

T = TypeVar("T")


def in_batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """The items in order, `size` at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def describe_topics(
    client: ClusterClient, topics: Sequence[TopicName], keys: Sequence[str]
) -> dict[TopicName, Mapping[str, str]]:
    """The settings of topics; those that may not be read, or are gone, are left out."""
    found: dict[TopicName, Mapping[str, str]] = {}
    for names in in_batches(topics):
        answer = client.any(calls.describe_topic_configs(names, keys))
        found.update(
            (TopicName(name), settings) for name, (error, settings) in answer.items() if error == ErrorCode.NONE
        )
    return found


def describe_broker(client: ClusterClient, broker: BrokerId, keys: Sequence[str]) -> Mapping[str, str]:
    """The settings of one broker; empty if they may not be read. Keys it does not know are left out."""
    try:
        answer = client.broker(broker, calls.describe_broker_configs(broker, keys))
    except BrokerRefused:
        return {}
    error, settings = answer.get(str(broker), (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, {}))
    return settings if error == ErrorCode.NONE else {}
