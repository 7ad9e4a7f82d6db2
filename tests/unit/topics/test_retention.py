"""The source's retention goes from what it was to what is wanted and back, and is left alone if somebody altered it."""

from __future__ import annotations

from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import Altered
from kmigrate.topics.create import Failed
from kmigrate.topics.retention import alter_retention, read_retention, show_retention
from tests.unit.topics.settings_cluster import SettingsCluster

ORDERS = TopicName("orders")
RAISED = {"retention.ms": "-1", "retention.bytes": "-1"}


def test_what_a_topic_has_of_its_own_is_read_apart_from_defaults() -> None:
    source = SettingsCluster({"orders": {"retention.ms": "3600000", "cleanup.policy": "delete"}})
    assert read_retention(source.client, ORDERS) == {"retention.ms": "3600000", "retention.bytes": None}
    assert read_retention(source.client, TopicName("gone")) is None


def test_it_is_raised_and_restored_and_nothing_else_is_touched() -> None:
    source = SettingsCluster({"orders": {"retention.ms": "3600000", "segment.ms": "7"}})
    before = read_retention(source.client, ORDERS)
    assert before is not None
    outcome = alter_retention(source.client, ORDERS, before=before, wanted=RAISED)
    assert isinstance(outcome, Altered)
    assert source.topics["orders"] == {**RAISED, "segment.ms": "7"}
    assert isinstance(alter_retention(source.client, ORDERS, before=before, wanted=RAISED), Altered), "twice is once"
    assert len(source.alterations) == 1
    assert isinstance(alter_retention(source.client, ORDERS, before=RAISED, wanted=before), Altered)
    assert source.topics["orders"] == {"retention.ms": "3600000", "segment.ms": "7"}


def test_what_somebody_else_altered_is_left_as_it_is() -> None:
    source = SettingsCluster({"orders": {"retention.ms": "5"}})
    outcome = alter_retention(source.client, ORDERS, before={**RAISED, "retention.ms": "7"}, wanted=RAISED)
    assert isinstance(outcome, Failed)
    assert "retention.ms=5, retention.bytes by default" in outcome.reason
    assert source.alterations == []


def test_a_default_is_told_as_such() -> None:
    assert (
        show_retention({"retention.ms": None, "retention.bytes": "9"}) == "retention.ms by default, retention.bytes=9"
    )
