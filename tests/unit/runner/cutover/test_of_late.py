"""Which late records are wanted, and when an effect on them is done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Offset, Partition, Side, TopicId, TopicPartition
from kmigrate.late.values import NOTHING, Handover
from kmigrate.offsets.offset_map import Ends
from kmigrate.preflight.bounds import Bounds
from kmigrate.runner.cutover import log_ends, of_late
from kmigrate.runner.cutover.account import cutovers_of
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.cutover.carrying import Carried, Waits
from kmigrate.runner.cutover.groups_seen import GroupSeen
from kmigrate.runner.cutover.of_late import LateEffects
from kmigrate.runner.late.appending import LateSeen
from kmigrate.schemes.cutover import Cutover, Done, Way
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.state.store import Store
from tests.unit.schemes.examples import OVERLAP

SCOPE = "writers"
ORDERS_0, ORDERS_1 = (TopicPartition(OVERLAP.moves[-1].topics[0], Partition(number)) for number in (0, 1))
TOPIC = ORDERS_0.topic


def bounds(end: int, stable: int | None = None) -> Bounds:
    return Bounds(Offset(0), Offset(end), Offset(end), Offset(end if stable is None else stable))


class FakeClient:
    """A cluster with one topic of two partitions."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def metadata(self, _topics: Sequence[str]) -> Any:
        topic = SimpleNamespace(topic_id=TopicId(f"id on the {self.side}"), partitions={0: None, 1: None})
        return SimpleNamespace(topics={TOPIC: topic})

    def close(self) -> None:
        return


class Appender:
    """Notes what is wanted of it."""

    def __init__(self) -> None:
        self.trouble = ""
        self.is_busy = False
        self.wanted: dict[TopicPartition, Handover] = {}
        self.told: dict[TopicPartition, LateSeen] = {}

    def open(self, handovers: Mapping[TopicPartition, Handover]) -> None:
        self.wanted |= handovers
        for tp, each in handovers.items():
            known = self.told.get(tp, LateSeen(each.source_from, 0, 0, None))
            self.told[tp] = known._replace(until=each.until)

    def forgo(self, partitions: Collection[TopicPartition]) -> bool:
        for tp in partitions:
            self.told[tp] = self.told[tp]._replace(until=NOTHING, stop="")
        return not self.is_busy

    def seen(self) -> Mapping[TopicPartition, LateSeen]:
        return self.told

    def reach(self, landed: int = 5) -> None:
        """Everything that is wanted is appended."""
        for tp, each in self.told.items():
            if each.until is not None and each.until != NOTHING:
                self.told[tp] = each._replace(position=each.until, landed=landed, sent=landed)


class World:
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.ends = {Side.SOURCE: {ORDERS_0: bounds(120), ORDERS_1: bounds(100)}, Side.TARGET: {}}
        self.ends[Side.TARGET] = {ORDERS_0: bounds(300), ORDERS_1: bounds(400)}
        self.groups = dict.fromkeys(OVERLAP.groups, GroupSeen(0, {ORDERS_0: Offset(100), ORDERS_1: Offset(100)}))
        self.proved: list[TopicPartition] = []
        self.appender = Appender()
        self.store = Store.open(folder)
        self.effects = LateEffects(
            book=CutoverBook(self.store),
            appender=self.appender,
            clients={side: lambda side=side: FakeClient(side) for side in Side},  # type: ignore[misc]
            ends_of=lambda _topic: {tp: Ends(Offset(100), Offset(90)) for tp in (ORDERS_0, ORDERS_1)},
            prove=self.proved.extend,
        )
        patch.setattr(log_ends, "read_bounds", lambda client, _metadata, _places: self.ends[client.side])
        patch.setattr(of_late, "GroupLooker", lambda _: SimpleNamespace(look=lambda _: self.groups, close=lambda: None))

    def carry(self, kind: EffectKind, *done: Done, places: tuple[TopicPartition, ...] = ()) -> Carried | Waits:
        effect = Effect(kind=kind, scope=SCOPE, places=places)
        promoted = Done(effect=Effect(kind=EffectKind.PROMOTE, scope=SCOPE), way=Way.FORWARD, stage=0)
        cutover = Cutover(wave=OVERLAP, in_force=(promoted, *done), pending=(effect,))
        return self.effects.handlers()[kind](cutover, effect)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def ends(*offsets: int) -> tuple[End, ...]:
    return tuple(End(TOPIC, Partition(number), Offset(offset)) for number, offset in enumerate(offsets))


def test_an_overlap_begins_where_the_copy_ended_and_ends_where_the_source_does(world: World) -> None:
    assert world.carry(EffectKind.OPEN_OVERLAP) == Carried()
    begun = Handover(TopicId("id on the source"), TopicId("id on the target"), Offset(100), Offset(90))
    assert world.appender.wanted == {ORDERS_0: begun, ORDERS_1: begun}
    waits = world.carry(EffectKind.CLOSE_OVERLAP)
    assert isinstance(waits, Waits)
    assert "appended up to 100 of 120" in waits.reason
    world.ends[Side.SOURCE][ORDERS_0] = bounds(130)  # somebody goes on writing: that is late, but not for this end
    world.appender.reach()
    assert world.carry(EffectKind.CLOSE_OVERLAP) == Carried(ends(120, 100))
    assert world.proved == [ORDERS_0, ORDERS_1]
    entry = world.store.journal(1)[0]
    assert (entry.kind, entry.detail["records"]) == ("late-appended", 10)
    assert cutovers_of([entry]) == []


def test_an_open_transaction_is_waited_for(world: World) -> None:
    world.carry(EffectKind.OPEN_OVERLAP)
    world.ends[Side.SOURCE][ORDERS_0] = bounds(120, stable=110)
    waits = world.carry(EffectKind.CLOSE_OVERLAP)
    assert isinstance(waits, Waits)
    assert "only 110 is decided" in waits.reason


def test_a_stop_is_told(world: World) -> None:
    world.carry(EffectKind.OPEN_OVERLAP)
    world.appender.told[ORDERS_0] = world.appender.told[ORDERS_0]._replace(stop="LATE_REFUSED at source offset 100")
    with pytest.raises(KmigrateError, match="LATE_REFUSED"):
        world.carry(EffectKind.CLOSE_OVERLAP)


def test_what_cannot_be_appended_is_given_up_and_the_rest_comes_to_its_end(world: World) -> None:
    world.carry(EffectKind.OPEN_OVERLAP)
    world.appender.told[ORDERS_0] = LateSeen(Offset(110), 10, 10, None, "LATE_SOURCE_TRIMMED at source offset 110")
    with pytest.raises(KmigrateError, match="LATE_SOURCE_TRIMMED"):
        world.carry(EffectKind.CLOSE_OVERLAP)
    world.appender.told[ORDERS_1] = LateSeen(Offset(100), 0, 0, None, "LATE_REFUSED at source offset 100")
    world.appender.is_busy = True
    assert isinstance(world.carry(EffectKind.FORGO_LATE, places=(ORDERS_0,)), Waits), "a turn is under way"
    world.appender.is_busy = False
    forgone = world.carry(EffectKind.FORGO_LATE, places=(ORDERS_0,))
    assert forgone == Carried((End(TOPIC, Partition(0), Offset(110)),))
    assert world.carry(EffectKind.FORGO_LATE, places=(ORDERS_0,)) == forgone, "once more changes nothing"
    assert world.appender.told[ORDERS_1].stop, "nobody spoke of that one"
    world.appender.told[ORDERS_1] = world.appender.told[ORDERS_1]._replace(stop="")
    assert isinstance(forgone, Carried)
    done = Done(effect=Effect(kind=EffectKind.FORGO_LATE, scope=SCOPE), way=Way.FORWARD, stage=0, ends=forgone.ends)
    world.effects._wanted.clear()  # a new process
    world.appender.wanted.clear()
    world.appender.reach()
    assert world.carry(EffectKind.CLOSE_OVERLAP, done) == Carried(ends(120, 100))
    assert list(world.appender.wanted) == [ORDERS_1], "the other one is not opened anew"
    assert world.proved == [ORDERS_1], "what the source lost cannot be compared"


def test_late_records_are_those_that_some_group_did_not_get(world: World) -> None:
    assert isinstance(world.carry(EffectKind.APPEND_LATE), Waits)
    wanted = world.appender.wanted
    assert list(wanted) == [ORDERS_0], "nothing came late to the other"
    assert wanted[ORDERS_0][2:] == (100, 300, 120)
    world.appender.reach()
    assert world.carry(EffectKind.APPEND_LATE) == Carried(ends(120, 100))


def test_what_was_listed_or_read_on_the_source_is_not_appended(world: World) -> None:
    listed = Done(effect=Effect(kind=EffectKind.LIST_LATE, scope=""), way=Way.FORWARD, stage=0, ends=ends(110, 100))
    world.carry(EffectKind.APPEND_LATE, listed)
    assert world.appender.wanted[ORDERS_0].source_from == 110
    world.groups = dict.fromkeys(OVERLAP.groups, GroupSeen(0, {ORDERS_0: Offset(115), ORDERS_1: Offset(100)}))
    world.effects._wanted.clear()
    world.carry(EffectKind.APPEND_LATE, listed)
    assert world.appender.wanted[ORDERS_0].source_from == 115
    world.groups["shop"] = GroupSeen(0, None)
    world.effects._wanted.clear()
    waits = world.carry(EffectKind.APPEND_LATE)
    assert isinstance(waits, Waits)
    assert "is not known" in waits.reason


def test_a_partition_that_the_target_does_not_have_is_not_settled(world: World) -> None:
    del world.ends[Side.TARGET][ORDERS_0]
    with pytest.raises(KmigrateError, match="is not on the target"):
        world.carry(EffectKind.APPEND_LATE)
    assert world.appender.wanted == {}
