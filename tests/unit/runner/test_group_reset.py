"""A reset is planned, kept, done, and taken back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kmigrate.errors import KmigrateError, Refused, UsageError
from kmigrate.groups.place import Placed
from kmigrate.groups.values import NO_RECORD, GroupRecord, Latch, Outcome, OutcomeKind, Value, Written
from kmigrate.kafka_types import BrokerAddress, BrokerId, LeaderEpoch, Offset, Partition, Side, TopicId, TopicName
from kmigrate.kafka_types import TopicPartition as Place
from kmigrate.runner import group_reset
from kmigrate.runner.group_reset import BY_HAND, GroupReset, ResetMode, ResetWish
from kmigrate.state.group_book import GroupBook
from kmigrate.state.store import Store
from kmigrate.wire.calls import ClusterMetadata, OffsetAnswer, PartitionMetadata, TopicMetadata
from tests.simulation.groups import SimulatedGroups

A0, A1 = (Place(TopicName("a"), Partition(number)) for number in (0, 1))
ONE = BrokerId(1)
BOUNDS = {A0: (10, 100), A1: (0, 50)}
BY_TIME = {A0: 260, A1: -1}
"""On the source, whose offsets lie 200 higher; nothing of a-1 is as new."""
PART = PartitionMetadata(error=0, leader=ONE, leader_epoch=LeaderEpoch(0), replicas=(ONE,))
TOPIC = TopicMetadata(
    error=0, topic_id=TopicId("1"), is_internal=False, partitions={Partition(number): PART for number in (0, 1)}
)
NO_TOPIC = TopicMetadata(error=3, topic_id=TopicId("0"), is_internal=False, partitions={})


class FakeClient:
    """A cluster with one topic of two partitions."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def metadata(self, topics: list[TopicName]) -> ClusterMetadata:
        found = {name: TOPIC if name == "a" else NO_TOPIC for name in topics}
        brokers = {ONE: BrokerAddress(ONE, "host", 9092)}
        return ClusterMetadata(cluster_id="c", controller=ONE, brokers=brokers, topics=found)

    def broker(self, broker: BrokerId, call: Any) -> Mapping[Place, OffsetAnswer]:
        request = call.build(call.newest)
        found = {}
        for topic in request.topics:
            for part in topic.partitions:
                place = Place(topic.name, part.partition_index)
                found[place] = OffsetAnswer(0, Offset(self._offset(place, part.timestamp)), -1)
        return found

    def _offset(self, place: Place, timestamp: int) -> int:
        start, end = BOUNDS[place]
        shift = 200 if self.side is Side.SOURCE else 0
        return {-2: start + shift, -1: end + shift}.get(timestamp, BY_TIME[place])

    def close(self) -> None:
        """Nothing is open here."""


class FakeLive:
    """What a reset uses of a running sync."""

    def __init__(self, book: GroupBook) -> None:
        self.book = book
        self.clients = {side: lambda side=side: FakeClient(side) for side in Side}  # type: ignore[misc]
        self.records: dict[str, GroupRecord] = {}
        self.granted = True
        self._lock = threading.Lock()

    def exclusively(self) -> threading.Lock:
        return self._lock

    def record(self, group: str) -> GroupRecord:
        return self.records.get(group, NO_RECORD)

    def adopt(self, group: str, record: GroupRecord) -> None:
        self.records[group] = record

    def may_write(self) -> bool:
        return self.granted

    def place(self) -> Any:
        return lambda place, offset: (
            Placed(Offset(offset - 200)) if offset <= 300 else Outcome(OutcomeKind.WAITING, "not copied")
        )


class World:
    """A group that committed 40 for a-0 on the target, as the sync wrote it."""

    def __init__(self, book: GroupBook, monkeypatch: pytest.MonkeyPatch) -> None:
        self.book = book
        self.live = FakeLive(book)
        self.target = SimulatedGroups(Side.TARGET)
        self.target.commit_inside("g", A0, 40, epoch=-1)
        self.live.records["g"] = GroupRecord(written={A0: Written(Value(Offset(40), ""))})
        monkeypatch.setattr(group_reset, "ClusterGroups", lambda client: self.target)

    def reset(
        self, mode: ResetMode, number: int = 0, *, execute: bool = False, **scope: tuple[int, ...]
    ) -> dict[str, Any]:
        wish = ResetWish(group="g", mode=mode, number=number, scope=scope)
        reply = GroupReset(self.live, "g").reset(wish, execute=execute)  # type: ignore[arg-type]
        return {f"{row.topic}-{row.partition}": row.after for row in reply.rows}

    def undo(self, *, execute: bool = True) -> None:
        GroupReset(self.live, "g").undo(execute=execute)  # type: ignore[arg-type]

    def there(self) -> dict[Place, int]:
        return {place: value.offset for place, value in self.target.group("g").offsets.items()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    store = Store.open(tmp_path)
    yield World(GroupBook(store), monkeypatch)
    store.close()


@pytest.mark.parametrize(
    ("mode", "number", "expected"),
    [
        (ResetMode.EARLIEST, 0, {"a-0": 10, "a-1": 0}),
        (ResetMode.LATEST, 0, {"a-0": 100, "a-1": 50}),
        (ResetMode.OFFSET, 33, {"a-0": 33, "a-1": 33}),
        (ResetMode.OFFSET, 70, {"a-0": 70, "a-1": 50}),
        (ResetMode.DATETIME, 123, {"a-0": 60, "a-1": 50}),
    ],
)
def test_every_mode_stays_inside_of_the_log(world: World, mode: ResetMode, number: int, expected: object) -> None:
    assert world.reset(mode, number, a=()) == expected


@pytest.mark.parametrize(("number", "expected"), [(-15, 25), (-50, 10), (500, 100)])
def test_a_shift_counts_from_what_is_committed(world: World, number: int, expected: int) -> None:
    assert world.reset(ResetMode.SHIFT, number) == {"a-0": expected}


def test_a_preview_changes_nothing(world: World) -> None:
    world.reset(ResetMode.EARLIEST, a=())
    assert world.there() == {A0: 40}
    assert world.book.last_reset("g") is None
    assert world.live.record("g").moved is None


def test_the_latch_is_kept_before_the_commit(world: World) -> None:
    def look(what: str) -> None:
        if what == "commit":
            moved = world.book.load()["g"].moved
            assert moved is not None
            assert moved.reason == BY_HAND
            assert world.book.last_reset("g") is not None

    world.target.before = look
    world.reset(ResetMode.EARLIEST, execute=True, a=())
    assert world.there() == {A0: 10, A1: 0}
    assert world.live.record("g").moved is not None


def test_an_undo_puts_everything_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[object] = []

    def delete(broker: BrokerId, group: str, places: list[Place]) -> tuple[int, Mapping[Place, int]]:
        deleted.extend(places)
        return 0, {}

    monkeypatch.setattr(world.target, "delete_offsets", delete, raising=False)
    world.reset(ResetMode.EARLIEST, execute=True, a=())
    world.undo()
    assert world.there()[A0] == 40
    assert deleted == [A1]
    assert world.live.record("g") == GroupRecord(written={A0: Written(Value(Offset(40), ""))})
    with pytest.raises(UsageError, match="no reset of group 'g' is recorded"):
        world.undo()


def test_an_undo_leaves_a_group_moved_that_was(world: World) -> None:
    world.live.records["g"] = GroupRecord(moved=Latch(reason="it has members", at_ms=1))
    world.reset(ResetMode.EARLIEST, execute=True)
    world.undo()
    assert world.there() == {A0: 40}
    assert world.live.record("g").moved == Latch(reason="it has members", at_ms=1)


def test_nothing_is_undone_over_what_somebody_committed_since(world: World) -> None:
    world.reset(ResetMode.EARLIEST, execute=True)
    world.target.commit_inside("g", A0, 11)
    with pytest.raises(Refused, match="the reset left"):
        world.undo()
    assert world.there() == {A0: 11}


def test_a_group_with_members_is_refused(world: World) -> None:
    world.target.group("g").members = 1
    with pytest.raises(Refused, match="app on host"):
        world.reset(ResetMode.EARLIEST, execute=True)
    assert world.there() == {A0: 40}


def test_without_the_lease_nothing_is_kept_or_done(world: World) -> None:
    world.live.granted = False
    with pytest.raises(KmigrateError, match="the lease is not held"):
        world.reset(ResetMode.EARLIEST, execute=True)
    assert world.book.last_reset("g") is None


@pytest.mark.parametrize(
    ("scope", "told"),
    [({"b": ()}, "the target has no topic 'b'"), ({"a": (7,)}, "has no partition 7")],
)
def test_what_is_not_there_cannot_be_reset(world: World, scope: dict[str, tuple[int, ...]], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        world.reset(ResetMode.EARLIEST, **scope)


def test_there_is_nothing_to_shift_without_a_commit(world: World) -> None:
    with pytest.raises(UsageError, match="nothing to shift"):
        world.reset(ResetMode.SHIFT, 5, a=(1,))


def test_a_time_that_is_not_copied_yet_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_TIME, A0, 301)
    with pytest.raises(KmigrateError, match="not copied"):
        world.reset(ResetMode.DATETIME, 5)
