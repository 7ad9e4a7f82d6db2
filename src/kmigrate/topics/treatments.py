"""What becomes of each topic-level setting of Kafka: the one table.  (pure)

A setting that is not in this table is never carried over by itself: vendors' settings may place data or switch things
on that the target does not have. It is listed, with the reason.

Reference: org.apache.kafka.common.config.TopicConfig; org.apache.kafka.server.config.ServerTopicConfigSynonyms for the
brokers' names, the first that is set counts.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from kmigrate.topics.hold import SINGLE_LIMIT, SPLIT_LIMITS
from kmigrate.wire.config_calls import in_topic_units


class Treatment(enum.Enum):
    """When the target's topic gets a setting."""

    AT_ONCE = "at once"
    """When it is created; it changes nothing about what is copied."""
    HELD = "held"
    """The hold has a value of its own until the topic is restored."""
    AT_END = "at the end"
    """When the topic is restored: it says how cleaning and rolling works, which must not happen by copy time."""
    LEFT_OUT = "left out"


class Rule(NamedTuple):
    """What becomes of a setting, what brokers call it, and why it is left out."""

    treatment: Treatment
    broker_keys: tuple[str, ...] = ()
    reason: str = ""


_REPLICAS = "it names replicas of the source's brokers"
_TIERED = "tiered storage cannot be taken back: switch it on by hand, where the target has it"
_FORMAT = "it has no effect since Kafka 3.0, and 4.0 does not know it; records keep the format they have"


def _at_once(*broker_keys: str) -> Rule:
    return Rule(Treatment.AT_ONCE, broker_keys)


def _held(*broker_keys: str) -> Rule:
    return Rule(Treatment.HELD, broker_keys)


def _at_end(*broker_keys: str) -> Rule:
    return Rule(Treatment.AT_END, broker_keys)


RULES: Mapping[str, Rule] = {
    "cleanup.policy": _held("log.cleanup.policy"),
    "compression.gzip.level": _at_once("compression.gzip.level"),
    "compression.lz4.level": _at_once("compression.lz4.level"),
    "compression.type": _held("compression.type"),
    "compression.zstd.level": _at_once("compression.zstd.level"),
    "delete.retention.ms": _at_end("log.cleaner.delete.retention.ms"),
    "file.delete.delay.ms": _at_once("log.segment.delete.delay.ms"),
    "flush.messages": _at_once("log.flush.interval.messages"),
    "flush.ms": _at_once("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
    "follower.replication.throttled.replicas": Rule(Treatment.LEFT_OUT, reason=_REPLICAS),
    "index.interval.bytes": _at_once("log.index.interval.bytes"),
    "leader.replication.throttled.replicas": Rule(Treatment.LEFT_OUT, reason=_REPLICAS),
    "local.retention.bytes": Rule(Treatment.LEFT_OUT, reason=_TIERED),
    "local.retention.ms": Rule(Treatment.LEFT_OUT, reason=_TIERED),
    "max.compaction.lag.ms": _at_end("log.cleaner.max.compaction.lag.ms"),
    "max.message.bytes": _held("message.max.bytes"),
    "message.downconversion.enable": _at_once("log.message.downconversion.enable"),
    "message.format.version": Rule(Treatment.LEFT_OUT, ("log.message.format.version",), _FORMAT),
    SPLIT_LIMITS[1]: _held("log.message.timestamp.after.max.ms"),
    SPLIT_LIMITS[0]: _held("log.message.timestamp.before.max.ms"),
    SINGLE_LIMIT: _held("log.message.timestamp.difference.max.ms"),
    "message.timestamp.type": _held("log.message.timestamp.type"),
    "min.cleanable.dirty.ratio": _at_end("log.cleaner.min.cleanable.ratio"),
    "min.compaction.lag.ms": _at_end("log.cleaner.min.compaction.lag.ms"),
    "min.insync.replicas": _at_once("min.insync.replicas"),
    "preallocate": _at_once("log.preallocate"),
    "remote.log.copy.disable": Rule(Treatment.LEFT_OUT, reason=_TIERED),
    "remote.log.delete.on.disable": Rule(Treatment.LEFT_OUT, reason=_TIERED),
    "remote.storage.enable": Rule(Treatment.LEFT_OUT, reason=_TIERED),
    "retention.bytes": _held("log.retention.bytes"),
    "retention.ms": _held("log.retention.ms", "log.retention.minutes", "log.retention.hours"),
    "segment.bytes": _at_end("log.segment.bytes"),
    "segment.index.bytes": _at_end("log.index.size.max.bytes"),
    "segment.jitter.ms": _at_end("log.roll.jitter.ms", "log.roll.jitter.hours"),
    "segment.ms": _at_end("log.roll.ms", "log.roll.hours"),
    "unclean.leader.election.enable": _at_once("unclean.leader.election.enable"),
}
"""Setting → what becomes of it, in the order in which a plan lists them."""


def _keys_of(treatment: Treatment) -> tuple[str, ...]:
    return tuple(key for key, rule in RULES.items() if rule.treatment is treatment)


AT_ONCE_KEYS = _keys_of(Treatment.AT_ONCE)
AT_END_KEYS = _keys_of(Treatment.AT_END)
CARRIED_KEYS = tuple(key for key, rule in RULES.items() if rule.treatment is not Treatment.LEFT_OUT)
"""What the source's topic is asked for, to know what the target's is to become."""
BROKER_DEFAULT_KEYS = tuple(dict.fromkeys(name for rule in RULES.values() for name in rule.broker_keys))
"""What a target broker is asked, to know what its topics inherit."""


def topic_defaults(broker_settings: Mapping[str, str]) -> dict[str, str]:
    """What topics inherit from a broker with these settings; a setting that it does not know is left out."""
    found = {}
    for key, rule in RULES.items():
        for broker_key in rule.broker_keys:
            if broker_key in broker_settings:
                found[key] = in_topic_units(broker_key, broker_settings[broker_key])
                break
    return found
