"""Putting a topic that was there before under hold: the reverse copy's topics are the source's own, and full.

Rule: only after it was recorded what the topic is to become again. Its limit of a batch is never lowered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import AlterOutcome, Plan, alter_topics
from kmigrate.topics.hold import HELD_KEYS, MAX_MESSAGE_BYTES, SPLIT_LIMITS, TimestampLimits, hold_settings
from kmigrate.wire.config_calls import Alteration, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PutHold:
    """The effect: this topic is under hold, and takes batches of so many bytes (None: that is not known)."""

    topic: TopicName
    source_max_bytes: int | None


def put_hold(client: ClusterClient, effect: PutHold) -> AlterOutcome:
    """Carries it out; where it was carried out before, nothing is left to alter."""
    return put_holds(client, [effect])[effect.topic]


def put_holds(client: ClusterClient, effects: Iterable[PutHold]) -> dict[TopicName, AlterOutcome]:
    """The same for many topics, with the same requests for all."""

    def plan_of(effect: PutHold) -> Plan:
        return lambda found: plan_hold(found, effect.source_max_bytes)

    return alter_topics(client, {effect.topic: plan_of(effect) for effect in effects}, HELD_KEYS)


def plan_hold(found: Mapping[str, Setting], source_max_bytes: int | None) -> tuple[Alteration, ...]:
    """What leads from the settings found on the topic to the hold.  (pure)"""
    limits = TimestampLimits.SPLIT if SPLIT_LIMITS[0] in found else TimestampLimits.SINGLE
    has_bytes = int(found[MAX_MESSAGE_BYTES].value) if MAX_MESSAGE_BYTES in found else 0
    most_bytes = max(has_bytes, source_max_bytes or 0)
    wanted = hold_settings(limits, source_max_bytes=most_bytes, broker_max_bytes=None)
    return tuple(
        Alteration(key, value) for key, value in wanted.items() if key not in found or found[key].value != value
    )
