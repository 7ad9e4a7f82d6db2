"""Raising a target topic's max.message.bytes while it is under hold.

The hold begins with the source topic's limit; where that was lowered after larger batches were written, the topic
still holds them, and only a batch that is refused tells. Restoring the topic takes the raise back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import AlterOutcome, alter_topic
from kmigrate.topics.hold import MAX_MESSAGE_BYTES
from kmigrate.wire.config_calls import Alteration, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseLimit:
    """The effect: this topic is to take batches of so many bytes, or larger ones."""

    topic: TopicName
    bytes: int


def raise_limit(client: ClusterClient, effect: RaiseLimit) -> AlterOutcome:
    """Carries it out on the target; a limit that is as high is left as it is."""
    return alter_topic(client, effect.topic, [MAX_MESSAGE_BYTES], lambda found: plan_raise(found, effect.bytes))


def plan_raise(found: Mapping[str, Setting], wanted_bytes: int) -> tuple[Alteration, ...]:
    """What leads from the limit found to one of at least so many bytes.  (pure)"""
    limit = found.get(MAX_MESSAGE_BYTES)
    if limit is not None and int(limit.value) >= wanted_bytes:
        return ()
    return (Alteration(MAX_MESSAGE_BYTES, str(wanted_bytes)),)
