"""How long the source keeps tombstones is what it told last, and what it never told is not guarded."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from kmigrate.copy.orders import DEFAULT_BATCH_BYTES
from kmigrate.errors import Unreachable
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.cleaning import (
    LATER_SECONDS,
    LOOK_SECONDS,
    Cleaning,
    CleaningSeen,
    CleaningWatch,
    decide_cleaning,
    decide_retention,
    look_at_cleaning,
)
from kmigrate.wire.error_codes import ErrorCode
from tests.unit.topics.settings_cluster import SettingsCluster

ORDERS, PAY = TopicName("orders"), TopicName("pay")
DELETED = {"cleanup.policy": "delete", "delete.retention.ms": "100"}
COMPACTED = {"cleanup.policy": "compact,delete", "delete.retention.ms": "100"}


def test_only_a_compacted_topic_removes_tombstones() -> None:
    assert decide_cleaning(None, DELETED, 5) == Cleaning(None, 5)
    assert decide_cleaning(None, COMPACTED, 5) == Cleaning(100)


def test_a_policy_that_is_switched_counts_from_when_it_was_last_seen_otherwise() -> None:
    free = decide_cleaning(Cleaning(None, 5), DELETED, 9)
    assert free is not None
    assert free.free_ms_if_compacted == -1
    switched = decide_cleaning(free, COMPACTED, 12)
    assert switched == Cleaning(100, 9)
    assert switched.free_ms_if_compacted == 9
    assert decide_cleaning(switched, COMPACTED | {"delete.retention.ms": "7"}, 20) == Cleaning(7, 9)


def test_how_large_a_batch_may_be_is_what_the_topic_says_and_a_change_is_told() -> None:
    limited = decide_cleaning(None, DELETED | {"max.message.bytes": "5000"}, 5)
    assert limited == Cleaning(None, 5, 5000)
    assert decide_cleaning(limited, COMPACTED, 6) == Cleaning(100, 5, DEFAULT_BATCH_BYTES)
    watch = CleaningWatch(SettingsCluster({}).client, CleaningSeen(1, {ORDERS: COMPACTED}))
    assert not watch.adopt(CleaningSeen(2, {ORDERS: COMPACTED}))
    assert watch.adopt(CleaningSeen(3, {ORDERS: COMPACTED | {"max.message.bytes": "5000"}}))


@pytest.mark.parametrize("settings", [None, {}, {"cleanup.policy": "compact"}])
def test_what_is_not_told_leaves_things_as_they_were(settings: Mapping[str, str] | None) -> None:
    assert decide_cleaning(None, settings, 5) is None
    assert decide_cleaning(Cleaning(100, 3), settings, 5) == Cleaning(100, 3)


def test_the_source_is_asked_for_what_it_has() -> None:
    source = SettingsCluster({"orders": {"cleanup.policy": "compact"}, "pay": {}})
    before_ms = time.time_ns() // 1_000_000
    seen = look_at_cleaning(source.client, [ORDERS, PAY, TopicName("gone")])
    assert seen.asked_ms >= before_ms
    assert seen.settings == {
        "orders": {
            "cleanup.policy": "compact",
            "delete.retention.ms": "86400000",
            "max.message.bytes": "1048588",
            "retention.ms": "604800000",
        },
        "pay": {
            "cleanup.policy": "delete",
            "delete.retention.ms": "86400000",
            "max.message.bytes": "1048588",
            "retention.ms": "604800000",
        },
        "gone": None,
    }


class World:
    """A watch over a source; errands are waited for."""

    def __init__(self) -> None:
        self.source = SettingsCluster({"orders": {"cleanup.policy": "compact"}})
        self.asked = 0
        self.source.step = self._count
        self.watch = CleaningWatch(self.source.client, CleaningSeen(1, {ORDERS: COMPACTED}))
        self.fails = False

    def _count(self, what: str) -> None:
        self.asked += what == "describe"
        if self.fails and what == "describe":
            raise Unreachable("no broker answers", side=Side.SOURCE)

    def step(self, now: float, *topics: TopicName) -> bool:
        changed = self.watch.step(topics, now)
        if self.watch._under_way is not None:
            assert self.watch._under_way.wait(10)
            changed |= self.watch.step((), now)
        return changed


def test_topics_are_asked_for_about_every_minute_all_together() -> None:
    world = World()
    assert not world.step(100.0, ORDERS)
    assert world.asked == 0, "it was looked at before the start"
    assert world.step(100.0 + LOOK_SECONDS, ORDERS)
    assert (world.asked, world.watch.get(ORDERS)) == (1, Cleaning(86_400_000))
    assert not world.step(101.0 + LOOK_SECONDS, ORDERS)
    assert not world.step(100.0 + 2 * LOOK_SECONDS, ORDERS)
    assert world.asked == 2


def test_a_new_topic_is_asked_for_soon() -> None:
    world = World()
    assert not world.watch.is_asked(PAY)
    assert world.step(100.0, ORDERS, PAY)
    assert world.watch.is_asked(PAY)
    assert world.watch.get(PAY) == Cleaning(None)
    assert "does not tell cleanup.policy of pay" in world.watch.notices[0]
    world.source.topics["pay"] = {"cleanup.policy": "compact"}
    assert world.step(100.0 + LOOK_SECONDS, ORDERS, PAY)
    assert world.watch.get(PAY) == Cleaning(86_400_000)
    assert world.watch.notices == ()


def test_what_was_told_is_kept_while_the_source_tells_nothing() -> None:
    world = World()
    world.step(100.0, ORDERS)
    world.fails = True
    assert not world.step(100.0 + LOOK_SECONDS, ORDERS)
    world.fails = False
    world.source.errors["orders"] = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    assert not world.step(100.0 + LOOK_SECONDS + LATER_SECONDS, ORDERS)
    assert (world.asked, world.watch.get(ORDERS), world.watch.notices) == (2, Cleaning(100), ())


def test_only_what_deletes_by_time_has_a_retention() -> None:
    week = {"retention.ms": "604800000"}
    assert decide_retention({"cleanup.policy": "delete", **week}) == 604_800_000
    assert decide_retention({"cleanup.policy": "compact,delete", **week}) == 604_800_000
    assert decide_retention({"cleanup.policy": "compact", **week}) is None
    assert decide_retention({"cleanup.policy": "delete", "retention.ms": "-1"}) is None
    assert decide_retention(None) is None
