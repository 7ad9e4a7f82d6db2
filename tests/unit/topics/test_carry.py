"""A target topic behaves as the source's: what it has or inherits there comes along, or is listed with the reason."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kmigrate.topics.carry import Carriage, Carried, at_once, carry_settings, is_same, own_settings
from kmigrate.topics.hold import HELD_KEYS, LONG_MAX
from kmigrate.topics.treatments import AT_END_KEYS, AT_ONCE_KEYS, RULES, Treatment, topic_defaults
from kmigrate.wire.config_calls import Setting

SINGLE, BEFORE, AFTER = (f"message.timestamp.{name}.max.ms" for name in ("difference", "before", "after"))
OPEN, HOUR, DAY = str(LONG_MAX), "3600000", "86400000"
WEEK = "604800000"
NEW = {BEFORE: OPEN, AFTER: HOUR}
"""What topics of 4.x inherit."""
OLD = {SINGLE: OPEN, "message.format.version": "3.0-IV1"}
BOTH = OLD | {BEFORE: OPEN, AFTER: OPEN}


def inherited(settings: Mapping[str, str]) -> dict[str, Setting]:
    return {key: Setting(value, False) for key, value in settings.items()}


def own(settings: Mapping[str, str]) -> dict[str, Setting]:
    return {key: Setting(value, True) for key, value in settings.items()}


def carried(
    source: Mapping[str, Setting], defaults: Mapping[str, str | None] | None, replicas: int | None = None
) -> dict[str, tuple[str, Carriage]]:
    return {each.key: (each.value, each.how) for each in carry_settings(source, defaults, replicas)}


def test_what_the_source_topic_has_of_its_own_is_carried_even_if_the_target_would_inherit_it() -> None:
    assert carried(own({"retention.ms": WEEK}), {"retention.ms": WEEK}) == {"retention.ms": (WEEK, Carriage.OWN)}


@pytest.mark.parametrize(
    ("value", "on_target", "expected"),
    [
        (WEEK, WEEK, {}),
        (WEEK, DAY, {"retention.ms": (WEEK, Carriage.MADE_OWN)}),
        (WEEK, None, {"retention.ms": (WEEK, Carriage.MADE_OWN)}),
    ],
)
def test_what_it_inherits_is_made_the_topics_own_where_the_target_would_inherit_another_value(
    value: str, on_target: str | None, expected: object
) -> None:
    assert carried(inherited({"retention.ms": value}), {"retention.ms": on_target}) == expected


def test_where_the_target_tells_nothing_only_what_the_topic_has_of_its_own_is_carried() -> None:
    source = own({"flush.ms": "7", SINGLE: DAY}) | inherited({"retention.ms": WEEK})
    assert carried(source, None) == {"flush.ms": ("7", Carriage.OWN), SINGLE: (DAY, Carriage.OWN)}


@pytest.mark.parametrize(
    "key",
    [
        "leader.replication.throttled.replicas",
        "remote.storage.enable",
        "message.format.version",
        "confluent.placement.constraints",
        "message.downconversion.enable",  # not known to this target
    ],
)
def test_what_cannot_go_is_listed_if_the_topic_has_it_of_its_own(key: str) -> None:
    defaults = dict.fromkeys(RULES) | {"message.downconversion.enable": None}
    del defaults["message.downconversion.enable"]
    found = carry_settings(own({key: "v"}), defaults, None)
    assert [(each.key, each.value, each.how) for each in found] == [(key, "v", Carriage.LEFT_OUT)]
    assert found[0].reason
    assert own_settings(found) == {}
    assert carry_settings(inherited({key: "v"}), defaults, None) == ()


@pytest.mark.parametrize(
    ("case", "sides", "expected"),
    [
        ("open on both", (inherited(BOTH), BOTH), {}),
        ("open on an old source, an hour on the target", (inherited(OLD), NEW), {AFTER: (OPEN, Carriage.MADE_OWN)}),
        (
            "one of its own for both directions",
            (own({SINGLE: DAY}), NEW),
            {BEFORE: (DAY, Carriage.ADAPTED), AFTER: (DAY, Carriage.ADAPTED)},
        ),
        (
            "the same of 3.6 to 3.9, where each direction is open",
            (inherited(BOTH) | own({SINGLE: DAY}), NEW),
            {BEFORE: (DAY, Carriage.ADAPTED), AFTER: (DAY, Carriage.ADAPTED)},
        ),
        (
            "one of its own for one direction",
            (inherited(BOTH) | own({AFTER: DAY}), NEW),
            {AFTER: (DAY, Carriage.OWN)},
        ),
        (
            "to an old target: the wider one",
            (inherited({BEFORE: WEEK}) | own({AFTER: DAY}), OLD),
            {SINGLE: (WEEK, Carriage.ADAPTED)},
        ),
        ("to an old target: the same", (inherited({BEFORE: OPEN, AFTER: HOUR}), OLD), {}),
        (
            "a limit of the target's brokers for both",
            (inherited(BOTH), BOTH | {SINGLE: DAY}),
            dict.fromkeys((SINGLE, BEFORE, AFTER), (OPEN, Carriage.MADE_OWN)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_timestamp_limits_are_spelled_as_the_target_knows_them(
    case: str, sides: tuple[Mapping[str, Setting], Mapping[str, str]], expected: object
) -> None:
    settings, on_target = sides
    found = carried({key: each for key, each in settings.items() if key != "message.format.version"}, on_target)
    assert found == expected


def test_more_replicas_in_sync_than_there_are_would_refuse_every_write() -> None:
    source = own({"min.insync.replicas": "2"})
    assert carried(source, {"min.insync.replicas": "1"}, 1) == {"min.insync.replicas": ("1", Carriage.ADAPTED)}
    assert carried(source, {"min.insync.replicas": "1"}, 2) == {"min.insync.replicas": ("2", Carriage.OWN)}


def test_a_segment_that_the_target_refuses_becomes_the_smallest_that_it_takes() -> None:
    source, defaults = own({"segment.bytes": "300"}), {"segment.bytes": "1073741824"}
    assert carried(source, defaults) == {"segment.bytes": (str(1 << 20), Carriage.ADAPTED)}
    assert carried(source, defaults | OLD) == {"segment.bytes": ("300", Carriage.OWN)}


def test_only_what_changes_nothing_about_the_copy_is_set_at_once() -> None:
    settings = {"flush.ms": "7", "retention.ms": "5", "segment.ms": "9", "strange": "x"}
    assert at_once(settings) == {"flush.ms": "7"}


def test_every_held_setting_has_its_treatment() -> None:
    assert {key for key, rule in RULES.items() if rule.treatment is Treatment.HELD} == set(HELD_KEYS)
    assert not set(HELD_KEYS) & {*AT_ONCE_KEYS, *AT_END_KEYS}


def test_of_the_names_that_a_broker_has_for_a_setting_the_finest_counts() -> None:
    told = {"log.retention.hours": "168", "log.roll.hours": "2", "log.roll.ms": "5", "log.segment.bytes": "9"}
    assert topic_defaults(told) == {"retention.ms": WEEK, "segment.ms": "5", "segment.bytes": "9"}
    assert topic_defaults({"log.retention.minutes": "-1"}) == {"retention.ms": "-1"}


@pytest.mark.parametrize(
    ("key", "one", "other", "expected"),
    [
        ("cleanup.policy", "compact,delete", "delete, compact", True),
        ("cleanup.policy", "compact", "delete", False),
        ("min.cleanable.dirty.ratio", "0.50", "0.5", True),
        ("preallocate", "False", "false", True),
        ("retention.ms", "1", "2", False),
    ],
)
def test_values_are_compared_by_what_they_mean(key: str, one: str, other: str, expected: bool) -> None:
    assert is_same(key, one, other) is expected


def test_settings_are_listed_in_the_order_of_their_names() -> None:
    found = carry_settings(own({"segment.ms": "1", "flush.ms": "1", "retention.ms": "1"}), None, None)
    assert [each.key for each in found] == ["flush.ms", "retention.ms", "segment.ms"]
    assert isinstance(found[0], Carried)
