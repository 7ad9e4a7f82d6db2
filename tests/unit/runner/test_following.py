"""While it is copied a changed setting of the source follows, through crashes too; drift is told and stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmigrate.errors import ConnectionLost
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.following import LOOK_SECONDS, LOOKS, NEXT_SECONDS, Looked, SettingsWatch
from kmigrate.security.fence import Fence, FenceKind, SettingPiece
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.store import Store
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.topics.intended import Intended, Origin
from tests.unit.topics.settings_cluster import DEFAULTS, SettingsCluster

T, BY_HAND = TopicName("orders"), TopicName("by-hand")
HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None)
KNOWN = DEFAULTS | {"flush.ms": "9223372036854775807"}


class Crash(BaseException):
    """The process ends here."""


class World:
    """A topic whose flush.ms was carried over, and one that was made by hand."""

    def __init__(self, folder: Path) -> None:
        self.source = SettingsCluster({T: {"flush.ms": "1"}, BY_HAND: {"flush.ms": "1"}}, defaults=KNOWN)
        self.target = SettingsCluster({T: HOLD | {"flush.ms": "1"}, BY_HAND: {}}, defaults=KNOWN)
        self.store = Store.open(folder)
        self.may_write = True
        self.store.record_intended(
            {
                T: Intended(origin=Origin.SOURCE, settings={"flush.ms": "1"}),
                BY_HAND: Intended(origin=Origin.TARGET, settings={}),
            }
        )
        self.watch = self.begin()

    def begin(self) -> SettingsWatch:
        """The watch of a new process."""
        self.watch = SettingsWatch(
            self.store, self.source.client, self.target.client, DEFAULTS | KNOWN, lambda: self.may_write
        )
        return self.watch

    def look(self) -> tuple[str, ...]:
        return self.watch.look({T: 1, BY_HAND: 1}).drift.get(T, ())

    @property
    def planned(self) -> list[str]:
        return [entry.kind for entry in self.store.effects() if not entry.is_done]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_what_a_fence_altered_does_not_follow(world: World, tmp_path: Path) -> None:
    book = FenceBook(tmp_path)
    now = book.now()
    fence = Fence(
        number=0,
        side=Side.SOURCE,
        kind=FenceKind.MIN_ISR,
        topics=(T,),
        settings=(SettingPiece(T, None, "1003"),),
        cluster_id="id",
        bootstrap="b:9092",
        period_seconds=60,
        begun=now,
        confirmed=now,
    )
    number = book.add(fence).number
    world.source.topics[T] |= {"flush.ms": "2"}
    assert world.look() == ()
    assert world.target.topics[T] == HOLD | {"flush.ms": "1"}
    book.change(number, lambda known: known.lift(now, "enough").found_lifted(now, []))
    assert world.look() == ()
    assert world.target.topics[T] == HOLD | {"flush.ms": "2"}


def test_a_change_on_the_source_follows_at_once_and_is_recorded_for_the_end(world: World) -> None:
    world.source.topics[T] |= {"flush.ms": "2", "retention.ms": "5"}
    assert world.look() == ()
    assert world.target.topics[T] == HOLD | {"flush.ms": "2"}
    assert world.store.intended()[T].settings == {"flush.ms": "2", "retention.ms": "5"}
    assert world.planned == []
    world.look()
    assert len(world.target.alterations) == 1, "nothing is done twice"


def test_a_topic_made_by_hand_is_left_alone(world: World) -> None:
    world.source.topics[BY_HAND] = {"flush.ms": "2"}
    world.look()
    assert world.target.topics[BY_HAND] == {}


def test_drift_is_told_and_never_overwritten(world: World) -> None:
    world.target.topics[T]["flush.ms"] = "9"
    assert world.look() == ("flush.ms is 9, it was given 1",)
    world.source.topics[T] = {"flush.ms": "2"}
    assert world.look() == ("flush.ms is 9, it was given 2",)
    assert world.target.topics[T]["flush.ms"] == "9"
    assert world.planned == []


@pytest.mark.parametrize("step", range(6))
def test_a_change_follows_to_its_end_wherever_it_crashed(world: World, step: int) -> None:
    world.source.topics[T] = {"flush.ms": "2"}
    left = [step]

    def count(_name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash

    world.target.step = count
    with pytest.raises(Crash):
        world.look()
    world.target.step = lambda _name: None
    world.begin()
    assert world.look() == ()
    assert world.target.topics[T] == HOLD | {"flush.ms": "2"}
    assert world.planned == []


def test_without_the_lease_it_waits(world: World) -> None:
    world.source.topics[T] = {"flush.ms": "2"}
    world.may_write = False
    world.look()
    assert world.target.topics[T]["flush.ms"] == "1"
    assert world.planned == ["follow-settings"]
    world.may_write = True
    world.look()
    assert world.target.topics[T]["flush.ms"] == "2"


def test_a_refused_change_shows_as_drift(world: World) -> None:
    world.source.topics[T] = {"flush.ms": "2"}
    world.target.refused = {"flush.ms"}
    assert world.look() == ("flush.ms is 1, it was given 2",)
    assert world.planned == []


def test_it_looks_now_and_then_and_tells_what_drifted(world: World) -> None:
    world.target.topics[T]["flush.ms"] = "9"
    replicas = {T: 1, BY_HAND: 1}
    assert not world.watch.step(replicas, 0.0)
    assert world.watch._under_way is None
    assert not world.watch.step(replicas, LOOK_SECONDS)
    assert _wait(world.watch)
    assert world.watch.step(replicas, LOOK_SECONDS)
    (notice,) = world.watch.notices
    assert "orders: flush.ms is 9" in notice


@pytest.mark.parametrize("count", [1, 100, 101, 999, 10_000])
def test_a_round_over_any_number_of_topics_ends_after_a_few_looks(world: World, count: int) -> None:
    replicas = dict.fromkeys((TopicName(f"topic-{number}") for number in range(count)), 1)
    asked: list[set[TopicName]] = []
    world.watch.look = lambda wanted: asked.append(set(wanted)) or Looked((), {})  # type: ignore[method-assign,func-returns-value]

    def step(now: float) -> None:
        world.watch.step(replicas, now)
        assert world.watch._under_way is None or _wait(world.watch)

    step(0.0)
    steps = (step(LOOK_SECONDS + number * NEXT_SECONDS) for number in itertools.count())
    while len(set().union(*asked)) < count:
        next(steps)
    assert len(asked) <= LOOKS
    assert sum(map(len, asked)) == count, "each is looked at once"
    looks = len(asked)
    while len(asked) == looks:
        next(steps)
    assert asked[-1] == asked[0], "the next round begins anew"


def test_a_cluster_that_does_not_answer_is_asked_again(world: World) -> None:
    def lose(_name: str) -> None:
        raise ConnectionLost("gone", side=Side.TARGET)

    world.target.step = lose
    world.watch.step({T: 1}, 0.0)
    world.watch.step({T: 1}, LOOK_SECONDS)
    assert _wait(world.watch)
    assert not world.watch.step({T: 1}, LOOK_SECONDS)
    assert world.watch.notices == ()
    world.target.step = lambda _name: None
    world.watch.step({T: 1}, 2 * LOOK_SECONDS)
    assert _wait(world.watch)


def _wait(watch: Any) -> bool:
    done: bool = watch._under_way.wait(10.0)
    return done
