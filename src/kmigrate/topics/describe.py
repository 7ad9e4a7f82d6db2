"""Reads the settings of topics and brokers, and what topics are to become; a limited number in each request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import BrokerRefused, ClusterError
from kmigrate.kafka_types import BrokerId, TopicName
from kmigrate.topics.carry import Defaults
from kmigrate.topics.hold import HELD_KEYS
from kmigrate.topics.intended import INTENDED_KEYS, Intended, intended_for_existing
from kmigrate.topics.treatments import BROKER_DEFAULT_KEYS, topic_defaults
from kmigrate.wire import config_calls
from kmigrate.wire.config_calls import Setting
from kmigrate.wire.error_codes import ErrorCode

BATCH = 100
"""Topics in one admin request."""

_PROBES = 10
"""Topics of which one is enough to tell what all inherit; a user may not be let to see every one."""

T = TypeVar("T")


def in_batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """The items in order, `size` at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def describe_settings(
    client: ClusterClient, topics: Sequence[TopicName], keys: Sequence[str]
) -> dict[TopicName, Mapping[str, Setting]]:
    """The settings of topics, and which are their own; topics that may not be read, or are gone, are left out."""
    found: dict[TopicName, Mapping[str, Setting]] = {}
    for names in in_batches(topics):
        answer = client.any(config_calls.describe_topic_configs(names, keys))
        found.update(
            (TopicName(name), settings) for name, (error, settings) in answer.items() if error == ErrorCode.NONE
        )
    return found


def describe_topics(
    client: ClusterClient, topics: Sequence[TopicName], keys: Sequence[str]
) -> dict[TopicName, Mapping[str, str]]:
    """The values of the settings that are in force; topics that may not be read, or are gone, are left out."""
    found = describe_settings(client, topics, keys)
    return {name: values_of(settings) for name, settings in found.items()}


def describe_intended(
    source: ClusterClient,
    target: ClusterClient,
    topics: Sequence[TopicName],
    *,
    recorded: Mapping[TopicName, Intended],
    untouched: Collection[TopicName],
    defaults: Defaults | None = None,
) -> dict[TopicName, Intended]:
    """What topics that the target has already are to become; `untouched` are those never copied into.

    `defaults` are what topics inherit on the target; None: not told.
    """
    theirs = describe_settings(source, topics, INTENDED_KEYS)
    ours = describe_settings(target, topics, HELD_KEYS)
    return {
        name: intended_for_existing(
            recorded.get(name),
            ours.get(name),
            theirs.get(name),
            untouched=name in untouched,
            defaults=defaults,
        )
        for name in topics
    }


def describe_broker(client: ClusterClient, broker: BrokerId, keys: Sequence[str]) -> Mapping[str, str]:
    """The settings of one broker; empty if they may not be read. Keys it does not know are left out."""
    try:
        answer = client.broker(broker, config_calls.describe_broker_configs(broker, keys))
    except BrokerRefused:
        return {}
    error, settings = answer.get(str(broker), (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, {}))
    return values_of(settings) if error == ErrorCode.NONE else {}


def describe_whole(client: ClusterClient, topics: Sequence[TopicName]) -> dict[TopicName, Mapping[str, Setting]]:
    """All settings of topics, and what they would inherit; topics that may not be read, or are gone, are left out."""
    found: dict[TopicName, Mapping[str, Setting]] = {}
    for names in in_batches(topics):
        answer = client.any(config_calls.describe_topic_defaults(names))
        found.update(
            (TopicName(name), settings) for name, (error, settings) in answer.items() if error == ErrorCode.NONE
        )
    return found


def read_defaults(client: ClusterClient, brokers: Iterable[BrokerId], topics: Sequence[TopicName]) -> Defaults | None:
    """What topics inherit: as a broker tells, else as topics that are there show it; None if nobody does.

    A topic does not always tell what it would inherit in the place of its own: then that is not known.
    """
    for broker in brokers:
        try:
            told = describe_broker(client, broker, BROKER_DEFAULT_KEYS)
        except ClusterError:
            continue  # one broker of many: another one tells the same
        if told:
            return topic_defaults(told)
    found: dict[str, str | None] = {}
    for settings in describe_whole(client, topics[:_PROBES]).values():
        found |= {key: each.inherited for key, each in settings.items() if found.get(key) is None}
    return found or None


def values_of(settings: Mapping[str, Setting]) -> dict[str, str]:
    """The values alone."""
    return {key: setting.value for key, setting in settings.items()}
