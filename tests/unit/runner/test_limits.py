"""Limits are raised once for each topic and size, away from the loop, and a refusal is kept until somebody answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.copy.orders import Limit
from kmigrate.errors import ConnectionLost
from kmigrate.kafka_types import Partition, Side, TopicName, TopicPartition
from kmigrate.runner.effects import RAISE_LIMIT, Effects
from kmigrate.runner.limits import LATER_SECONDS, Limits
from kmigrate.state.store import Store
from kmigrate.topics.intended import Intended, Origin
from kmigrate.wire.error_codes import ErrorCode
from tests.unit.copy.fake_worker import position
from tests.unit.topics.settings_cluster import SettingsCluster

ORDERS, PAY = TopicName("orders"), TopicName("pay")
LARGE = 5_000_000


class World:
    """A target with two topics under hold; errands are waited for."""

    def __init__(self, folder: Path) -> None:
        self.target = SettingsCluster({"orders": {}, "pay": {}})
        self.may_write = True
        self.store = Store.open(folder)
        self.store.record_intended({name: Intended(origin=Origin.SOURCE, settings={}) for name in (ORDERS, PAY)})
        self.limits = self.begin()

    def begin(self) -> Limits:
        effects = Effects(self.store, SettingsCluster({}).client, self.target.client, lambda: self.may_write)
        return Limits(effects, self.store.effects())

    def wish(self, topic: TopicName, wanted_bytes: int, partition: int = 0) -> None:
        place = TopicPartition(topic, Partition(partition))
        self.limits.on_progress(position(place, 0)._replace(limit_wish_bytes=wanted_bytes))

    def step(self, now: float = 100.0) -> bool:
        changed = self.limits.step(now)
        while self.limits._under_way is not None:
            assert self.limits._under_way[1].wait(10)
            changed |= self.limits.step(now)
        return changed

    def effects(self) -> list[tuple[str, int, bool]]:
        return [(each.topic, each.payload["bytes"], each.is_done) for each in self.store.effects()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_the_largest_wish_of_a_topic_is_carried_out_once(world: World) -> None:
    assert not world.step()
    for partition in range(3):
        world.wish(ORDERS, LARGE - partition, partition)
    world.wish(PAY, 7_000_000)
    assert world.step()
    assert world.effects() == [("orders", LARGE, True), ("pay", 7_000_000, True)]
    assert world.target.topics["orders"] == {"max.message.bytes": str(LARGE)}
    assert (world.limits.get(ORDERS), world.limits.get(PAY)) == (Limit(LARGE), Limit(7_000_000))
    world.wish(ORDERS, LARGE)
    assert not world.step()
    world.wish(ORDERS, LARGE + 1)
    assert world.step()
    assert world.limits.get(ORDERS) == Limit(LARGE + 1)


def test_a_refusal_is_kept_until_somebody_answers(world: World) -> None:
    world.target.refused = {"max.message.bytes"}
    world.wish(ORDERS, LARGE)
    assert world.step()
    limit = world.limits.get(ORDERS)
    assert (limit.raised_bytes, limit.refused_bytes) == (0, LARGE)
    assert "INVALID_CONFIG (40): bad value" in limit.why
    world.wish(ORDERS, LARGE)
    assert not world.step()
    world.target.refused = set()
    world.limits.forget(ORDERS)
    assert world.limits.get(ORDERS) == Limit()
    world.wish(ORDERS, LARGE)
    assert world.step()
    assert world.limits.get(ORDERS) == Limit(LARGE)


def test_a_smaller_size_than_the_refused_one_is_asked_for(world: World) -> None:
    world.target.refused = {"max.message.bytes"}
    world.wish(ORDERS, LARGE)
    world.step()
    world.target.refused = set()
    world.wish(ORDERS, LARGE - 1)
    assert world.step()
    limit = world.limits.get(ORDERS)
    assert (limit.raised_bytes, limit.refused_bytes) == (LARGE - 1, LARGE)


def test_what_cannot_be_done_now_is_tried_again(world: World) -> None:
    def fail(what: str) -> None:
        if what == "alter":
            raise ConnectionLost("it is down", side=Side.TARGET)

    world.target.step = fail
    world.wish(ORDERS, LARGE)
    assert not world.step(100.0)
    assert world.effects() == [("orders", LARGE, False)]
    world.target.step = lambda _what: None
    assert not world.step(100.0 + LATER_SECONDS / 2)
    world.may_write = False
    assert not world.step(101.0 + LATER_SECONDS)
    world.may_write = True
    assert world.step(102.0 + 2 * LATER_SECONDS)
    assert world.effects() == [("orders", LARGE, True)], "one effect all the time"


def test_what_an_earlier_run_planned_is_brought_to_its_end(world: World) -> None:
    world.store.plan_effect(RAISE_LIMIT, ORDERS, {"bytes": LARGE})
    world.limits = world.begin()
    assert world.step()
    assert world.effects() == [("orders", LARGE, True)]


def test_a_topic_that_is_gone_or_not_under_hold_is_refused(world: World) -> None:
    other = TopicName("other")
    world.wish(other, LARGE)
    assert world.step()
    assert "not under hold" in world.limits.get(other).why
    world.target.errors["orders"] = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    world.wish(ORDERS, LARGE)
    assert world.step()
    assert "TOPIC_AUTHORIZATION_FAILED" in world.limits.get(ORDERS).why


def test_an_outcome_that_comes_after_an_answer_counts_only_if_it_is_still_wished_for(world: World) -> None:
    world.wish(ORDERS, LARGE)
    world.limits.step(100.0)
    world.limits.forget(ORDERS)
    assert not world.step()
    assert world.limits.get(ORDERS) == Limit()
