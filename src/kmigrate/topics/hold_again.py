"""Puts a topic of the target under hold again, whose hold had ended: a cutover was taken back.

Rule: nothing was deleted meanwhile that the copy needs, as no application was free to write; the intended settings are
kept by the caller before.
"""

from __future__ import annotations

from collections.abc import Mapping

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import AlterOutcome, alter_topic
from kmigrate.topics.hold import (
    HELD_KEYS,
    MAX_MESSAGE_BYTES,
    SPLIT_LIMITS,
    TimestampLimits,
    hold_settings,
)
from kmigrate.wire.config_calls import Alteration, Setting


def hold_again(client: ClusterClient, topic: TopicName) -> AlterOutcome:
    """Carries it out; a topic that is under hold is left as it is."""
    return alter_topic(client, topic, HELD_KEYS, plan_hold)


def plan_hold(found: Mapping[str, Setting]) -> tuple[Alteration, ...]:
    """What leads from the settings found on the target to the hold; a larger limit of batches stays.  (pure)"""
    limits = TimestampLimits.SPLIT if SPLIT_LIMITS[0] in found else TimestampLimits.SINGLE
    wanted = hold_settings(limits, source_max_bytes=None, broker_max_bytes=None)
    alterations = []
    for key, value in wanted.items():
        setting = found.get(key)
        if setting is None or (setting.is_override and setting.value == value):
            continue
        if key == MAX_MESSAGE_BYTES and int(setting.value) >= int(value):
            if setting.is_override:
                continue
            value = setting.value
        alterations.append(Alteration(key, value))
    return tuple(alterations)
