"""Restoring a topic leaves nothing of the hold, in one request, and is over when the target shows it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import Altered
from kmigrate.topics.create import Failed, Later
from kmigrate.topics.hold import LONG_MAX, TimestampLimits, hold_settings
from kmigrate.topics.restore import RestoreHold, plan_restore, restore_hold
from kmigrate.wire.config_calls import Setting
from tests.unit.topics.settings_cluster import BOTH_DEFAULTS, DEFAULTS, OLD_DEFAULTS, SettingsCluster

T = TopicName("orders")
HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None)
OLD_HOLD = hold_settings(TimestampLimits.SINGLE, source_max_bytes=None, broker_max_bytes=None)
COMPACTED = {"cleanup.policy": "compact", "max.message.bytes": "2000", "min.compaction.lag.ms": "77", "segment.ms": "5"}
SINGLE, BEFORE, AFTER = (f"message.timestamp.{name}.max.ms" for name in ("difference", "before", "after"))


def found(own: Mapping[str, str], defaults: Mapping[str, str] = DEFAULTS) -> dict[str, Setting]:
    return {key: Setting(own.get(key, value), key in own) for key, value in defaults.items()}


def after(
    own: Mapping[str, str], intended: Mapping[str, str], defaults: Mapping[str, str] = DEFAULTS
) -> dict[str, str]:
    """What the topic has of its own once the plan is carried out."""
    altered: dict[str, str | None] = {**own, **dict(plan_restore(found(own, defaults), intended))}
    return {key: value for key, value in altered.items() if value is not None}


def test_nothing_of_the_hold_is_left() -> None:
    assert after(HOLD, {}) == {}
    assert after(OLD_HOLD, {}, OLD_DEFAULTS) == {}
    assert after(HOLD, COMPACTED) == COMPACTED


def test_what_is_as_it_should_be_is_left_alone() -> None:
    assert plan_restore(found(COMPACTED), COMPACTED) == ()
    assert plan_restore(found({}), {}) == ()
    changes = plan_restore(found({**HOLD, "cleanup.policy": "compact"}), COMPACTED)
    assert "cleanup.policy" not in dict(changes)


def test_a_value_that_equals_the_default_becomes_the_topics_own() -> None:
    intended = {"retention.ms": DEFAULTS["retention.ms"]}
    assert after({}, intended) == intended


def test_how_the_cleaner_works_is_set_only_where_nobody_else_set_it() -> None:
    assert after({**HOLD, "segment.ms": "9"}, COMPACTED) == COMPACTED | {"segment.ms": "9"}
    assert after({**HOLD, "segment.bytes": "14"}, {}) == {"segment.bytes": "14"}


@pytest.mark.parametrize(
    ("intended", "defaults", "expected"),
    [
        ({SINGLE: "5"}, DEFAULTS, {BEFORE: "5", AFTER: "5"}),
        ({SINGLE: "5", AFTER: "7"}, DEFAULTS, {BEFORE: "5", AFTER: "7"}),
        ({BEFORE: "3"}, DEFAULTS, {BEFORE: "3"}),
        ({SINGLE: "5"}, OLD_DEFAULTS, {SINGLE: "5"}),
        ({BEFORE: "30", AFTER: "7"}, OLD_DEFAULTS, {SINGLE: "30"}),
        ({BEFORE: "30", SINGLE: "200"}, OLD_DEFAULTS, {SINGLE: "200"}),
        ({BEFORE: "30"}, OLD_DEFAULTS, {}),
        ({SINGLE: "5"}, BOTH_DEFAULTS, {SINGLE: "5"}),
        ({BEFORE: "3", AFTER: "4"}, BOTH_DEFAULTS, {BEFORE: "3", AFTER: "4"}),
    ],
)
def test_timestamp_limits_are_spelled_as_the_target_knows_them(
    intended: dict[str, str], defaults: Mapping[str, str], expected: dict[str, str]
) -> None:
    hold = OLD_HOLD if defaults is OLD_DEFAULTS else HOLD
    assert after(hold, intended, defaults) == expected


def test_a_hold_in_the_old_spelling_is_taken_off_a_broker_that_was_upgraded() -> None:
    assert after({**OLD_HOLD, AFTER: str(LONG_MAX)}, {BEFORE: "3"}, BOTH_DEFAULTS) == {BEFORE: "3"}


def test_a_topic_is_restored_in_one_request_and_a_second_time_changes_nothing() -> None:
    cluster = SettingsCluster({T: HOLD, "other": HOLD})
    effect = RestoreHold(topic=T, settings=COMPACTED)
    outcome = restore_hold(cluster.client, effect)
    assert isinstance(outcome, Altered)
    assert dict(outcome.alterations)["retention.ms"] is None
    assert cluster.topics == {T: COMPACTED, "other": HOLD}
    again = restore_hold(cluster.client, effect)
    assert isinstance(again, Altered)
    assert again.alterations == ()
    assert len(cluster.alterations) == 1


def test_it_is_over_only_when_the_target_shows_it() -> None:
    cluster = SettingsCluster({T: HOLD}, lag=1)
    effect = RestoreHold(topic=T, settings={})
    assert isinstance(restore_hold(cluster.client, effect), Later)
    assert isinstance(restore_hold(cluster.client, effect), Altered)
    assert cluster.topics == {T: {}}


def test_a_refusal_names_what_was_asked_for_and_alters_nothing() -> None:
    cluster = SettingsCluster({T: HOLD})
    cluster.refused = {"segment.ms"}
    outcome = restore_hold(cluster.client, RestoreHold(topic=T, settings=COMPACTED))
    assert isinstance(outcome, Failed)
    assert "bad value" in outcome.reason
    assert "segment.ms=5" in outcome.reason
    assert "retention.ms to the default" in outcome.reason
    assert cluster.topics == {T: HOLD}


@pytest.mark.parametrize(("error", "outcome"), [(7, Later), (29, Failed), (3, Failed)])
def test_a_topic_that_cannot_be_described_is_not_altered(error: int, outcome: type[object]) -> None:
    cluster = SettingsCluster({T: HOLD})
    cluster.errors[T] = error
    assert isinstance(restore_hold(cluster.client, RestoreHold(topic=T, settings={})), outcome)
    assert cluster.alterations == []
