"""What the copy back remembers before it begins follows from what the migration does, and from the source's end."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.copy.course import Place, locate
from kmigrate.copy.orders import Remembered
from kmigrate.errors import Refused
from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch, Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner.back_seed import Copied, Seed, begun, copied_of, decide_seed, plant
from kmigrate.runner.maps import Maps
from kmigrate.state.store import RunsFrom, Store
from kmigrate.topics.intended import Intended, Origin

ORDERS = TopicName("orders")
P0, P1 = (TopicPartition(ORDERS, Partition(number)) for number in range(2))
SOURCE, TARGET = TopicId("a" * 32), TopicId("b" * 32)
EVEN_MS = 1_000
KEPT = Intended(origin=Origin.TARGET, settings={"retention.ms": "5"})


def runs_of(*pairs: tuple[int, int]) -> tuple[Run, ...]:
    return tuple(Run(Offset(source), Offset(target)) for source, target in pairs)


def memory(appended: int) -> Remembered:
    return Remembered(SOURCE, TARGET, LeaderEpoch(3), Offset(appended), 77, 5)


def seed(end: int, offset_class: OffsetClass, *runs: tuple[int, int], appended: int, start: int = 0) -> Seed:
    copied = Copied(memory(appended), offset_class, runs_of(*runs), Offset(start))
    return decide_seed(P0, Offset(end), copied, EVEN_MS)


def place_of(found: Seed) -> Place | None:
    """What the copier makes of the end of what is the source's log."""
    assert found.beginning.own_from is not None
    return locate(found.runs, found.beginning.own_from)


def test_an_identical_partition_begins_at_the_same_end_with_the_topics_swapped() -> None:
    found = seed(50, OffsetClass.IDENTICAL, appended=50, start=7)
    assert found.memory == Remembered(TARGET, SOURCE, UNKNOWN_EPOCH, Offset(50), EVEN_MS, None)
    assert found.beginning == Beginning(TARGET, Offset(7), 0, Offset(50))
    assert (found.offset_class, found.runs) == (OffsetClass.IDENTICAL, ())


def test_what_was_copied_beyond_the_end_is_refused() -> None:
    with pytest.raises(Refused, match="copied up to 51 on the target, beyond 50"):
        seed(50, OffsetClass.IDENTICAL, appended=51)


def test_a_shifted_partition_goes_back_by_the_same_distance() -> None:
    found = seed(50, OffsetClass.SHIFTED, (20, 0), appended=30, start=20)
    assert found.runs == runs_of((0, 20))
    assert place_of(found) == Place(Offset(30), 20, Offset(20))
    assert found.beginning.start == 0


def test_a_mapped_partition_goes_back_from_its_last_records() -> None:
    found = seed(50, OffsetClass.MAPPED, (0, 0), (30, 25), appended=45)
    assert found.runs == runs_of((25, 30))
    assert place_of(found) == Place(Offset(45), 5, Offset(30))


def test_a_gap_at_the_end_of_a_mapped_partition_is_no_record() -> None:
    found = seed(50, OffsetClass.MAPPED, (0, 0), (30, 25), (50, 43), appended=43)
    assert found.runs == runs_of((25, 30), (43, 50))
    assert place_of(found) == Place(Offset(43), 5, Offset(30))


@pytest.mark.parametrize("runs", [(), ((50, 0),)])
def test_a_mapped_partition_of_which_nothing_was_copied_begins_at_its_end(runs: tuple[tuple[int, int], ...]) -> None:
    found = seed(50, OffsetClass.MAPPED, *runs, appended=0)
    assert found.runs == runs_of((0, 50))
    assert found.memory.appended == found.beginning.own_from == 50


def test_runs_written_ahead_for_nothing_do_not_count() -> None:
    assert seed(50, OffsetClass.MAPPED, (0, 0), (60, 50), appended=50).runs == runs_of((0, 0))


# ── in stores ─────────────────────────────────────────────────────────────────────────────────────────────────────


def forward(folder: Path) -> Store:
    """What a migration remembers: one partition identical, one mapped."""
    store = Store.open(folder)
    store.remember({P0: memory(50), P1: memory(43)})
    kept = OffsetMap()
    for run in runs_of((0, 0), (30, 25), (50, 43)):
        kept.add(run)
    store.decide_classes(
        {P0: OffsetClass.IDENTICAL, P1: OffsetClass.MAPPED},
        {P1: RunsFrom(0, kept.to_bytes())},
        {P0: Beginning(SOURCE, Offset(7), 7)},
    )
    return store


def test_what_is_planted_is_what_an_owner_finds(tmp_path: Path) -> None:
    ends = {P0: Offset(50), P1: Offset(50)}
    copied = copied_of(forward(tmp_path), ends, [ORDERS])
    seeds = {tp: decide_seed(tp, end, copied[tp], EVEN_MS) for tp, end in ends.items()}
    (tmp_path / "back").mkdir()
    back = Store.open(tmp_path / "back")
    assert begun(back) == {}
    plant(back, seeds, {ORDERS: KEPT})
    plant(back, seeds, {ORDERS: Intended(origin=Origin.TARGET, settings={"retention.ms": "-1"})})
    back.close()
    back = Store.open(tmp_path / "back")
    assert begun(back) == ends
    assert back.remembered() == {tp: each.memory for tp, each in seeds.items()}
    assert back.beginnings() == {tp: each.beginning for tp, each in seeds.items()}
    assert back.intended() == {ORDERS: KEPT}, "what it was before the hold"
    maps = Maps(back)
    assert maps.runs(P1, 50) == runs_of((25, 30), (43, 50))
    assert (maps.class_of(P0), maps.runs(P0, 50)) == (OffsetClass.IDENTICAL, ())
    back.forget_all(ORDERS)
    assert (begun(back), back.remembered(), back.offset_classes()) == ({}, {}, {})
    assert back.intended() == {ORDERS: KEPT}


def test_a_topic_goes_back_with_all_its_partitions_or_not_at_all(tmp_path: Path) -> None:
    store = forward(tmp_path)
    with pytest.raises(Refused, match="end of orders-1 is missing"):
        copied_of(store, {P0: Offset(50)}, [ORDERS])
    unknown = TopicPartition(TopicName("pay"), Partition(0))
    with pytest.raises(Refused, match="nothing is remembered of pay-0"):
        copied_of(store, {unknown: Offset(5)}, [TopicName("pay")])
    assert copied_of(store, {unknown: Offset(5)}, []) == {}, "of what goes back already nothing is asked"
