"""The hold: settings of a target topic for the time of copying.  (pure)

Nothing may be deleted, compacted, recompressed or given another time while records arrive at their offsets; any
timestamp and any batch of the source must fit. What the settings are to be afterwards is `intended`'s to know, and
`restore` sets them.

Reference: org.apache.kafka.common.config.TopicConfig; KIP-937 for the two timestamp limits of Kafka 3.6.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import NamedTuple

from kmigrate.wire.config_calls import Setting

LONG_MAX = (1 << 63) - 1
MAX_MESSAGE_BYTES = "max.message.bytes"
KAFKA_MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's own default of message.max.bytes."""

BROKER_MAX_MESSAGE_BYTES = "message.max.bytes"
BROKER_AFTER_MAX_MS = "log.message.timestamp.after.max.ms"
BROKER_KEYS = (BROKER_MAX_MESSAGE_BYTES, BROKER_AFTER_MAX_MS)
"""What a target broker is asked, to know which settings its topics have."""

ALWAYS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
}
"""What the hold sets of every topic; the limits of sizes and timestamps come from the clusters."""
SINGLE_LIMIT = "message.timestamp.difference.max.ms"
SPLIT_LIMITS = ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms")

SOURCE_KEYS = (MAX_MESSAGE_BYTES, "retention.ms", "retention.bytes")
"""What the source's topic is asked for."""
HELD_KEYS = (*ALWAYS, MAX_MESSAGE_BYTES, SINGLE_LIMIT, *SPLIT_LIMITS)
"""What the hold sets, in both spellings: an existing target topic is compared by it."""


class TimestampLimits(enum.Enum):
    """How a broker limits timestamps; a topic with a setting that its broker does not know is refused."""

    SPLIT = "split"
    """One limit for each direction, since Kafka 3.6."""
    SINGLE = "single"
    """One limit for both, up to Kafka 3.9."""


def timestamp_limits(broker_settings: Mapping[str, str]) -> TimestampLimits | None:
    """What a broker's answer to BROKER_KEYS tells; None if it told nothing."""
    if BROKER_AFTER_MAX_MS in broker_settings:
        return TimestampLimits.SPLIT
    return TimestampLimits.SINGLE if broker_settings else None


def hold_settings(
    limits: TimestampLimits, *, source_max_bytes: int | None, broker_max_bytes: int | None
) -> dict[str, str]:
    """The settings of a target topic under hold; None for a limit that could not be read."""
    keys = SPLIT_LIMITS if limits is TimestampLimits.SPLIT else (SINGLE_LIMIT,)
    largest = max(KAFKA_MAX_MESSAGE_BYTES, source_max_bytes or 0, broker_max_bytes or 0)
    return ALWAYS | dict.fromkeys(keys, str(LONG_MAX)) | {MAX_MESSAGE_BYTES: str(largest)}


def wears_hold(found: Mapping[str, Setting]) -> bool:
    """Whether a topic has the whole hold, each setting of its own: only a topic made under hold looks so."""
    own = {key: setting.value for key, setting in found.items() if setting.is_override}
    limits = (SINGLE_LIMIT,), SPLIT_LIMITS
    return (
        MAX_MESSAGE_BYTES in own
        and all(own.get(key) == value for key, value in ALWAYS.items())
        and any(all(own.get(key) == str(LONG_MAX) for key in keys) for keys in limits)
    )


class Difference(NamedTuple):
    """A setting of an existing topic that is not as the hold wants it; `harmful`: the copy would not be equal."""

    key: str
    found: str
    wanted: str
    harmful: bool


def differences(
    found: Mapping[str, str], wanted: Mapping[str, str], source: Mapping[str, str]
) -> tuple[Difference, ...]:
    """How an existing target topic differs from the hold. Settings that were not told are taken as right."""
    result = []
    for key, value in wanted.items():
        have = found.get(key)
        if have is None or have == value:
            continue
        if key == MAX_MESSAGE_BYTES:
            if int(have) >= int(source.get(key, KAFKA_MAX_MESSAGE_BYTES)):
                continue
            harmful = True
        elif key.startswith("retention."):
            harmful = _deletes_sooner(have, source.get(key))
        else:
            harmful = key in ALWAYS
        result.append(Difference(key, have, value, harmful))
    return tuple(result)


def _deletes_sooner(target: str, source: str | None) -> bool:
    """Whether the target would delete records that the source still keeps; a source that told nothing may."""
    if int(target) < 0:
        return False
    return source is None or int(source) < 0 or int(target) < int(source)


def alter_command(topic: str, changes: Collection[Difference], bootstrap: str) -> str:
    """The command line that puts an existing topic under hold."""
    settings = ",".join(f"{change.key}={change.wanted}" for change in changes)
    return (
        f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics"
        f" --entity-name {topic} --add-config {settings}"
    )
