"""Raises how long the *source* keeps a topic's records, and restores it: beside fences the one write to the source.

Only on an operator's explicit command, and with what was there before on record. Rule: a topic whose settings are
neither what they were before nor what we made of them was altered by somebody else, and is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import AlterOutcome, alter_topic
from kmigrate.topics.create import Failed
from kmigrate.topics.describe import describe_settings
from kmigrate.wire.config_calls import Alteration, Setting

RETENTION_KEYS = ("retention.ms", "retention.bytes")
FOR_EVER = "-1"

Own: TypeAlias = Mapping[str, str | None]
"""What a topic has of its own of the retention keys; None: the broker's default counts."""


def read_retention(client: ClusterClient, topic: TopicName) -> Own | None:
    """What the topic has of its own; None if it is gone, or may not be read."""
    settings = describe_settings(client, [topic], RETENTION_KEYS).get(topic)
    return None if settings is None else own_retention(settings)


def own_retention(found: Mapping[str, Setting]) -> Own:
    """The topic's own values among settings that are in force."""
    return {key: found[key].value if key in found and found[key].is_override else None for key in RETENTION_KEYS}


def alter_retention(client: ClusterClient, topic: TopicName, *, before: Own, wanted: Own) -> AlterOutcome:
    """Takes a topic from what it had to what is wanted; one that has something else is left as it is."""
    strange: list[Own] = []

    def plan(found: Mapping[str, Setting]) -> Sequence[Alteration]:
        have = own_retention(found)
        if have not in (before, wanted):
            strange.append(have)
            return ()
        return [Alteration(key, value) for key, value in wanted.items() if have[key] != value]

    outcome = alter_topic(client, topic, RETENTION_KEYS, plan)
    if strange:
        return Failed(
            f"topic {topic} on the source has {show_retention(strange[0])}: somebody altered it, and it is left so"
        )
    return outcome


def show_retention(own: Own) -> str:
    """`retention.ms=-1, retention.bytes by default`."""
    return ", ".join(f"{key} by default" if value is None else f"{key}={value}" for key, value in own.items())
