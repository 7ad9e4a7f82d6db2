"""The hold: settings of a target topic for the time of copying.  (pure)

Nothing may be deleted, compacted, recompressed or given another time while records arrive at their offsets; any
timestamp and any batch of the source must fit. Nothing restores the real settings yet: promotion will.

Reference: org.apache.kafka.common.config.TopicConfig; KIP-937 for the two timestamp limits of Kafka 3.6.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import NamedTuple

LONG_MAX = (1 << 63) - 1
MAX_MESSAGE_BYTES = "max.message.bytes"
KAFKA_MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's own default of message.max.bytes."""

BROKER_MAX_MESSAGE_BYTES = "message.max.bytes"
BROKER_AFTER_MAX_MS = "log.message.timestamp.after.max.ms"
BROKER_KEYS = (BROKER_MAX_MESSAGE_BYTES, BROKER_AFTER_MAX_MS)
"""What a target broker is asked, to know which settings its topics have."""

_ALWAYS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
}
_SINGLE_LIMIT = "message.timestamp.difference.max.ms"
_SPLIT_LIMITS = ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms")

SOURCE_KEYS = (MAX_MESSAGE_BYTES, "retention.ms", "retention.bytes")
"""What the source's topic is asked for."""
TARGET_KEYS = (*_ALWAYS, MAX_MESSAGE_BYTES, _SINGLE_LIMIT, *_SPLIT_LIMITS)
"""What an existing target topic is compared by."""


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
    keys = _SPLIT_LIMITS if limits is TimestampLimits.SPLIT else (_SINGLE_LIMIT,)
    largest = max(KAFKA_MAX_MESSAGE_BYTES, source_max_bytes or 0, broker_max_bytes or 0)
    return _ALWAYS | dict.fromkeys(keys, str(LONG_MAX)) | {MAX_MESSAGE_BYTES: str(largest)}


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
            harmful = key in _ALWAYS
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
