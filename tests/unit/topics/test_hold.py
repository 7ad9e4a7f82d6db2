"""The hold keeps a target topic from changing, refusing or deleting what is copied into it."""

from __future__ import annotations

import pytest

from kmigrate.topics.hold import (
    LONG_MAX,
    TimestampLimits,
    alter_command,
    differences,
    hold_settings,
    timestamp_limits,
)

HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None)


def test_a_new_target_has_two_timestamp_limits_and_an_old_one_has_one() -> None:
    assert timestamp_limits({"log.message.timestamp.after.max.ms": "1", "message.max.bytes": "1"}) is (
        TimestampLimits.SPLIT
    )
    assert timestamp_limits({"message.max.bytes": "1"}) is TimestampLimits.SINGLE
    assert timestamp_limits({}) is None
    old = hold_settings(TimestampLimits.SINGLE, source_max_bytes=None, broker_max_bytes=None)
    assert old["message.timestamp.difference.max.ms"] == str(LONG_MAX)
    assert not any(key.endswith((".before.max.ms", ".after.max.ms")) for key in old)
    assert HOLD["message.timestamp.after.max.ms"] == HOLD["message.timestamp.before.max.ms"] == str(LONG_MAX)


@pytest.mark.parametrize(
    ("source", "broker", "expected"),
    [(None, None, 1_048_588), (10, 20, 1_048_588), (5_000_000, 20, 5_000_000), (10, 5_000_000, 5_000_000)],
)
def test_the_largest_limit_wins(source: int | None, broker: int | None, expected: int) -> None:
    settings = hold_settings(TimestampLimits.SPLIT, source_max_bytes=source, broker_max_bytes=broker)
    assert settings["max.message.bytes"] == str(expected)


def test_a_topic_under_hold_does_not_differ() -> None:
    assert differences(HOLD, HOLD, {}) == ()


@pytest.mark.parametrize(
    ("key", "found", "source", "harmful"),
    [
        ("cleanup.policy", "compact", None, True),
        ("compression.type", "lz4", None, True),
        ("message.timestamp.type", "LogAppendTime", None, True),
        ("max.message.bytes", "1000", "2000", True),
        ("retention.ms", "1000", "-1", True),
        ("retention.ms", "1000", "2000", True),
        ("retention.ms", "2000", "2000", False),
        ("retention.bytes", "1000", None, True),
        ("message.timestamp.after.max.ms", "3600000", None, False),
    ],
)
def test_what_would_change_the_copy_is_harmful(key: str, found: str, source: str | None, harmful: bool) -> None:
    theirs = {} if source is None else {key: source}
    (difference,) = differences({**HOLD, key: found}, HOLD, theirs)
    assert (difference.key, difference.found, difference.harmful) == (key, found, harmful)


def test_a_larger_limit_than_the_sources_is_as_good() -> None:
    found = {**HOLD, "max.message.bytes": "2000"}
    assert differences(found, HOLD, {"max.message.bytes": "2000"}) == ()


def test_the_command_mends_every_difference() -> None:
    changes = differences({**HOLD, "cleanup.policy": "compact", "retention.ms": "5"}, HOLD, {})
    command = alter_command("orders", changes, "t:9092")
    assert "--bootstrap-server t:9092" in command
    assert command.endswith("--entity-name orders --add-config cleanup.policy=delete,retention.ms=-1")
