"""Class and beginning are decided once, together, and never without having asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.orders import Remembered
from kmigrate.errors import Unreachable
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.manifest import Manifest, Offsets, OffsetsClass
from kmigrate.offsets.beginning import EARLIEST, LATEST, Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.plan.classes import decide_classes
from kmigrate.preflight.bounds import NO_LEADER, NO_TIMES, Bounds, Unseen
from kmigrate.runner.beginnings import (
    AGAIN_SECONDS,
    START,
    Beginnings,
    Decided,
    Rules,
    Undecided,
    changed_start,
    decide_beginnings,
    take_inventory,
)
from kmigrate.runner.maps import Maps
from kmigrate.state.store import Store
from kmigrate.wire.calls import PartitionMetadata, TopicMetadata
from tests.unit.plan.known import facts, manifest, partition, place

A, B, C = place("a"), place("b"), place("c")
ID, OTHER = TopicId("1" * 32), TopicId("2" * 32)
IDENTICAL, SHIFTED, MAPPED = OffsetClass.IDENTICAL, OffsetClass.SHIFTED, OffsetClass.MAPPED
ANY = Undecided(ID, None)
FORCED = Undecided(ID, IDENTICAL)
PENDING = Beginning(ID, None)
TIME = "2024-05-01T00:00:00Z"


def bounds(start: int = 0, stable: int = 100, at_time: int | None = None) -> Bounds:
    since = None if at_time is None else Offset(at_time)
    return Bounds(Offset(start), Offset(stable + 5), Offset(stable + 5), Offset(stable), since)


def decide(
    undecided: Mapping[TopicPartition, Undecided],
    seen: Mapping[TopicPartition, Bounds],
    known: Mapping[TopicPartition, Beginning] | None = None,
    *,
    start: str = LATEST,
    pad_budget: int = 1000,
    left: int = 1000,
) -> dict[TopicPartition, Decided]:
    return decide_beginnings(undecided, seen, known or {}, Rules(start, pad_budget, left))


def decided(offset_class: OffsetClass, start: int, filler: int | None) -> Decided:
    return Decided(offset_class, Beginning(ID, Offset(start), filler))


# -- the decision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "seen", "begins", "filler"),
    [
        (EARLIEST, bounds(7), 0, 7),
        (LATEST, bounds(7), 100, 100),
        (TIME, bounds(7, at_time=30), 30, 30),
        (TIME, bounds(7), 100, 100),
    ],
)
def test_what_was_there_when_the_migration_began_begins_as_wanted(
    start: str, seen: Bounds, begins: int, filler: int
) -> None:
    assert decide({A: ANY}, {A: seen}, {A: PENDING}, start=start) == {A: decided(IDENTICAL, begins, filler)}


@pytest.mark.parametrize("known", [{}, {A: Beginning(OTHER, None)}, {A: Beginning(OTHER, Offset(40), 40)}])
def test_what_turned_up_since_is_copied_from_its_beginning(known: Mapping[TopicPartition, Beginning]) -> None:
    assert decide({A: ANY}, {A: bounds(7)}, known) == {A: decided(IDENTICAL, 0, 7)}


def test_what_was_decided_for_a_topic_stays() -> None:
    known = {A: Beginning(ID, Offset(40), 40)}
    assert decide({A: ANY}, {A: bounds(7)}, known) == {A: decided(IDENTICAL, 40, 40)}
    assert decide({A: ANY}, {A: bounds(55)}, known) == {A: decided(IDENTICAL, 40, 55)}


def test_nothing_begins_above_what_a_truncated_source_still_has() -> None:
    known = {A: Beginning(ID, Offset(140), 140)}
    assert decide({A: ANY}, {A: bounds()}, known) == {A: decided(IDENTICAL, 100, 100)}


def test_who_was_not_seen_is_not_decided() -> None:
    assert decide({A: ANY, B: ANY}, {B: bounds()}) == {B: decided(IDENTICAL, 0, 0)}


def test_too_much_filler_makes_it_shifted_or_a_question() -> None:
    known = {A: PENDING, B: PENDING}
    assert decide({A: ANY, B: FORCED}, {A: bounds(), B: bounds()}, known, pad_budget=99) == {
        A: decided(SHIFTED, 100, 0),
        B: decided(IDENTICAL, 100, 0),  # its copier asks, as padBudget does not allow so much
    }


def test_of_all_filler_together_the_rest_is_shifted_or_a_question() -> None:
    seen = {A: bounds(50), B: bounds(60), C: bounds(70)}
    some = {A: ANY, B: ANY, C: FORCED}
    assert decide(some, seen, left=180) == {
        A: decided(IDENTICAL, 0, 50),
        B: decided(IDENTICAL, 0, 60),
        C: decided(IDENTICAL, 0, 70),
    }
    assert decide(some, seen, left=120)[B] == decided(SHIFTED, 0, 0)
    assert decide(some, seen, left=69)[C] == decided(IDENTICAL, 0, None)


def test_other_classes_take_no_filler() -> None:
    assert decide({A: Undecided(ID, MAPPED)}, {A: bounds(50)}, left=0) == {A: decided(MAPPED, 0, 0)}


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(list(OffsetsClass))), min_size=1, max_size=6),
    st.integers(0, 200),
    st.integers(0, 60),
)
def test_plan_and_copy_agree(drawn: list[tuple[int, OffsetsClass]], total: int, each_most: int) -> None:
    topics = {f"t{number}": wish for number, (_, wish) in enumerate(drawn)}
    wishes = Offsets(topics=topics, pad_budget=each_most, pad_budget_total=total)
    planned = decide_classes(facts(*(partition(f"t{n}", start=start) for n, (start, _) in enumerate(drawn))), wishes)
    undecided = {
        place(name): Undecided(ID, None if wish is OffsetsClass.AUTO else OffsetClass(wish.value))
        for name, wish in topics.items()
    }
    seen = {place(f"t{number}"): bounds(start) for number, (start, _) in enumerate(drawn)}
    found = decide(undecided, seen, start=EARLIEST, pad_budget=each_most, left=total)
    for tp, (offset_class, beginning) in found.items():
        assert planned[tp].offset_class is not None
        assert planned[tp].offset_class.value == offset_class.value
        if planned[tp].blocked is None:
            assert planned[tp].filler == beginning.filler
        else:
            assert not beginning.filler


# -- the inventory -----------------------------------------------------------------------------------------------------


def listed(*names: str, internal: bool = False) -> dict[TopicName, TopicMetadata]:
    part = PartitionMetadata(error=0, leader=-1, leader_epoch=LeaderEpoch(0), replicas=())  # type: ignore[arg-type]
    return {
        TopicName(name): TopicMetadata(
            error=0, topic_id=ID, is_internal=internal, partitions={Partition(0): part, Partition(1): part}
        )
        for name in names
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def test_what_the_source_has_at_the_beginning_is_recorded_once(store: Store) -> None:
    take_inventory(store, LATEST, {**listed("a"), **listed("__offsets", internal=True)}, is_first=True)
    assert store.beginnings() == {place("a", 0): PENDING, place("a", 1): PENDING}
    take_inventory(store, EARLIEST, listed("b"), is_first=True)
    assert store.beginnings().keys() == {place("a", 0), place("a", 1)}
    assert store.get(START) == LATEST


def test_where_nobody_can_tell_what_was_there_everything_is_new(store: Store) -> None:
    take_inventory(store, LATEST, listed("a"), is_first=False)
    assert store.beginnings() == {}


def test_another_start_is_told(store: Store) -> None:
    assert changed_start(store, LATEST) == ""
    take_inventory(store, LATEST, {}, is_first=True)
    assert changed_start(store, LATEST) == ""
    assert "began with latest" in changed_start(store, EARLIEST)


def test_a_migration_of_an_older_version_began_with_earliest(store: Store) -> None:
    store.remember({A: Remembered(ID, ID, LeaderEpoch(0), Offset(4))})
    assert "began with earliest" in changed_start(store, LATEST)
    take_inventory(store, LATEST, listed("a"), is_first=False)
    assert "began with earliest" in changed_start(store, LATEST)


# -- the errand --------------------------------------------------------------------------------------------------------


class World:
    """One owner's beginnings, over a source that answers what it is told to."""

    def __init__(self, store: Store, start: str = LATEST, **offsets: int) -> None:
        wanted: Manifest = replace(manifest(Offsets(**offsets)), start=start)  # type: ignore[arg-type]
        self.maps = Maps(store)
        self.beginnings = Beginnings(store, self.maps, wanted, self.look)
        self.undecided: dict[TopicPartition, Undecided] = {}
        self.answers: dict[TopicPartition, Bounds | Unseen] = {}
        self.asked: list[tuple[set[TopicPartition], int | None]] = []
        self.trouble: Unreachable | None = None
        self.now = 100.0

    def look(
        self, wanted: Mapping[TopicPartition, TopicId], at_ms: int | None
    ) -> Mapping[TopicPartition, Bounds | Unseen]:
        if self.trouble is not None:
            raise self.trouble
        if wanted:
            self.asked.append((set(wanted), at_ms))
        return {tp: self.answers[tp] for tp in wanted}

    def turn(self, *, more: bool = False, seconds: float = 0.0) -> bool:
        """One step, after which an errand that it began has been done."""
        self.now += seconds
        found = self.beginnings.step(self._open, self.now, may_be_more=more)
        if self.beginnings._errand is not None:
            self.beginnings._errand[1].wait(10.0)
        return found

    def _open(self) -> dict[TopicPartition, Undecided]:
        return {tp: each for tp, each in self.undecided.items() if self.maps.class_of(tp) is None}


def test_all_that_is_undecided_is_asked_at_once_and_decided_with_the_answer(store: Store) -> None:
    store.record_beginnings({A: PENDING})
    world = World(store)
    world.undecided, world.answers = {A: ANY, B: ANY}, {A: bounds(7), B: bounds(7)}
    assert not world.turn(more=True)
    assert world.maps.class_of(A) is None
    assert world.turn()
    assert world.asked == [({A, B}, None)]
    assert (world.beginnings.start_of(A), world.beginnings.start_of(B)) == (100, 0)
    again = World(store)
    assert (again.maps.class_of(A), again.beginnings.get(A)) == (IDENTICAL, Beginning(ID, Offset(100), 100))
    assert again.beginnings.get(B) == Beginning(ID, Offset(0), 7)


def test_who_cannot_be_asked_is_asked_again_after_a_pause(store: Store) -> None:
    world = World(store)
    world.undecided, world.answers = {A: ANY, B: ANY}, {A: bounds(), B: NO_LEADER}
    world.turn(more=True)
    assert world.turn()
    assert (world.maps.class_of(A), world.maps.class_of(B)) == (IDENTICAL, None)
    assert world.beginnings.failures == {B: "where to begin is not known: it has no leader now"}
    world.answers[B] = bounds()
    assert not world.turn(more=True)
    assert len(world.asked) == 1, "not at once"
    world.turn(seconds=AGAIN_SECONDS)
    assert world.turn()
    assert world.asked[1:] == [({B}, None)]
    assert (world.maps.class_of(B), world.beginnings.failures) == (IDENTICAL, {})


def test_a_source_that_does_not_answer_decides_nothing(store: Store) -> None:
    world = World(store)
    world.undecided, world.trouble = {A: ANY}, Unreachable("refused", side=Side.SOURCE, broker="b:1")
    world.turn(more=True)
    assert world.turn()
    assert "refused" in world.beginnings.failures[A]
    assert world.maps.class_of(A) is None


def test_only_what_is_to_begin_at_a_time_is_looked_up_by_time(store: Store) -> None:
    store.record_beginnings({A: PENDING})
    world = World(store, TIME)
    world.undecided, world.answers = {A: ANY, B: ANY}, {A: NO_TIMES, B: bounds()}
    world.turn(more=True)
    world.turn()
    assert world.asked == [({A}, 1_714_521_600_000), ({B}, None)]
    assert world.beginnings.refused == {A}


def test_what_earlier_partitions_use_of_all_filler_counts_after_a_restart(store: Store) -> None:
    world = World(store, pad_budget_total=100)
    world.undecided, world.answers = {A: ANY}, {A: bounds(60)}
    world.turn(more=True)
    world.turn()
    later = World(store, pad_budget_total=100)
    later.undecided, later.answers = {B: ANY, C: ANY}, {B: bounds(50), C: bounds(40)}
    later.turn(more=True)
    later.turn()
    assert [later.maps.class_of(tp) for tp in (A, B, C)] == [IDENTICAL, SHIFTED, IDENTICAL]


def test_what_another_class_does_not_use_is_free_again(store: Store) -> None:
    world = World(store, pad_budget_total=100)
    world.undecided, world.answers = {A: ANY}, {A: bounds(60)}
    world.turn(more=True)
    world.turn()
    world.maps.change({A: False}, SHIFTED)
    world.undecided, world.answers = {B: ANY}, {B: bounds(90)}
    world.turn(more=True, seconds=AGAIN_SECONDS)
    world.turn()
    assert world.maps.class_of(B) is IDENTICAL


def test_who_must_be_identical_gets_no_filler_until_another_run_has_more(store: Store) -> None:
    world = World(store, pad_budget_total=49)
    world.undecided, world.answers = {A: FORCED}, {A: bounds(50)}
    world.turn(more=True)
    world.turn()
    assert (world.beginnings.pad_budget_of(A), world.beginnings.is_unpadded(A)) == (0, False)
    later = World(store, pad_budget_total=50)
    assert later.beginnings.is_unpadded(A)
    later.undecided, later.answers = {A: FORCED}, {A: bounds(50)}
    later.beginnings.step(lambda: later.undecided, 200.0, may_be_more=True)
    assert later.beginnings._errand is not None
    later.beginnings._errand[1].wait(10.0)
    assert later.beginnings.step(dict, 200.0, may_be_more=False)
    assert later.beginnings.pad_budget_of(A) == Offsets().pad_budget
    assert not later.beginnings.is_unpadded(A)


def test_what_the_target_remembers_counts_only_where_the_store_knows_nothing(store: Store) -> None:
    store.record_beginnings({A: Beginning(ID, Offset(5))})
    world = World(store)
    world.beginnings.adopt({A: Beginning(ID, Offset(9)), B: Beginning(ID, Offset(9), 9)})
    assert (world.beginnings.start_of(A), world.beginnings.start_of(B)) == (5, 9)
    assert World(store).beginnings.start_of(B) == 9
