"""What the lookup tells rests on the last status, on what is remembered, and on the offset maps in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kmigrate.copy.orders import Remembered
from kmigrate.copy.states import PartitionState
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.offsets.translation import Place
from kmigrate.runner.lookup import RUNS_A_PAGE, Lookup, Mark, RunsPage, Translation
from kmigrate.runner.status import MigrationState, PartitionStatus, StatusDocument
from kmigrate.state.store import RUNS_A_PIECE, RunsFrom, Store

Runs = list[tuple[int, int]]


def tp(partition: int) -> TopicPartition:
    return TopicPartition(TopicName("orders"), Partition(partition))


def told(partition: int, position: int | None, target_end: int | None, source_start: int | None = 0) -> PartitionStatus:
    return PartitionStatus(
        topic="orders",
        partition=partition,
        state=PartitionState.CATCHING_UP,
        position=position,
        target_end=target_end,
        source_start=source_start,
    )


class World:
    """A store, and what the last status said."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder)
        self.partitions: list[PartitionStatus] = []
        self.lookup = Lookup(self.store, self._status)

    def _status(self) -> StatusDocument | None:
        return StatusDocument(name="m", state=MigrationState.RUNNING, partitions=tuple(self.partitions))

    def decide(self, partition: int, offset_class: OffsetClass, runs: Runs | None = None) -> None:
        kept = OffsetMap()
        for source, target in runs or []:
            kept.add(Run(Offset(source), Offset(target)))
        pieces: Mapping[TopicPartition, RunsFrom] = {} if not runs else {tp(partition): RunsFrom(0, kept.to_bytes())}
        self.store.decide_classes({tp(partition): offset_class}, pieces)

    def remember(self, partition: int, appended: int) -> None:
        memory = Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(0), Offset(appended))
        self.store.remember({tp(partition): memory})

    def translate(self, partition: int, offset: int, side: Side = Side.SOURCE) -> Translation:
        return self.lookup.translate("orders", partition, Offset(offset), side)

    def all_runs(self, topic: str | None = None) -> list[tuple[str, int, str, int, int, int]]:
        found, page = [], self.lookup.runs(topic, None)
        while True:
            assert RunsPage.from_json(page.to_json()) == page
            found += [
                (part.topic, part.partition, part.offset_class.value, *run)
                for part in page.partitions
                for run in part.runs
            ]
            if page.next is None:
                return found
            page = self.lookup.runs(topic, page.next)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_mapped_offset_is_found_on_both_sides(world: World) -> None:
    world.partitions = [told(3, 90, 50, source_start=10)]
    world.decide(3, OffsetClass.MAPPED, [(10, 0), (40, 20)])
    found = world.translate(3, 45)
    assert (found.source_offset, found.target_offset, found.place) == (45, 25, Place.RECORD)
    assert (found.offset_class, found.position, found.target_end, found.source_start) == (
        OffsetClass.MAPPED,
        90,
        50,
        10,
    )
    assert found.reason == ""
    back = world.translate(3, 25, Side.TARGET)
    assert (back.source_offset, back.target_offset, back.from_side) == (45, 25, Side.TARGET)
    gap = world.translate(3, 35)
    assert (gap.target_offset, gap.place) == (20, Place.GAP)
    end = world.translate(3, 90)
    assert (end.target_offset, end.place) == (50, Place.END)
    assert Translation.from_json(found.to_json()) == found


def test_an_identical_offset_is_itself_as_far_as_it_is_copied(world: World) -> None:
    world.partitions = [told(0, 90, 90, source_start=10)]
    world.decide(0, OffsetClass.IDENTICAL)
    for side in Side:
        found = world.translate(0, 45, side)
        assert (found.source_offset, found.target_offset, found.place) == (45, 45, None)
        refused = world.translate(0, 91, side)
        assert "beyond what is copied: the copy has come to 90" in refused.reason
        assert None in (refused.source_offset, refused.target_offset)
        assert world.translate(0, 9, side).reason.startswith(f"orders-0@9 on the {side}")


@pytest.mark.parametrize(
    ("offset", "side", "reason"),
    [
        (91, Side.SOURCE, "orders-3@91 on the source is beyond what is copied: the copy has come to 90 on the source"),
        (51, Side.TARGET, "orders-3@51 on the target is beyond what is copied: the copy has come to 90 on the source"),
        (
            29,
            Side.SOURCE,
            "orders-3@29 on the source is below 30, where its copied part begins; the copy has come to 90",
        ),
        (3, Side.TARGET, "orders-3@3 on the target is 13 on the source, whose copied part begins at 30"),
    ],
)
def test_what_has_no_place_is_told_with_how_far_the_copy_has_come(
    world: World, offset: int, side: Side, reason: str
) -> None:
    world.partitions = [told(3, 90, 50, source_start=30)]
    world.decide(3, OffsetClass.MAPPED, [(10, 0), (60, 20)])
    found = world.translate(3, offset, side)
    assert found.reason.startswith(reason)
    other = found.target_offset if side is Side.SOURCE else found.source_offset
    assert other is None
    assert (found.position, found.target_end) == (90, 50)


def test_below_the_first_record_nothing_is_known(world: World) -> None:
    world.partitions = [told(3, 90, 50, source_start=None)]
    world.decide(3, OffsetClass.MAPPED, [(10, 0)])
    assert "below the first record that was copied" in world.translate(3, 4).reason


def test_a_partition_that_was_not_begun_or_whose_map_is_lost_is_told_so(world: World) -> None:
    world.partitions = [told(0, None, None, None), told(1, 7, 7), told(2, 90, 50)]
    world.decide(2, OffsetClass.MAPPED)
    assert "nothing of orders-0 is known to be copied" in world.translate(0, 0).reason
    assert "nothing of orders-1" in world.translate(1, 0).reason, "its status is of a copy that was given up"
    assert "no offset map of orders-2 is kept here" in world.translate(2, 5).reason
    assert world.all_runs() == []


def test_an_unknown_partition_or_topic_is_a_wrong_command(world: World) -> None:
    world.partitions = [told(0, 5, 5)]
    with pytest.raises(UsageError, match="no partition orders-9"):
        world.translate(9, 0)
    with pytest.raises(UsageError, match="no topic 'pay'"):
        world.lookup.runs("pay", None)


def test_what_is_remembered_counts_where_it_is_more_than_the_last_status(world: World) -> None:
    """The owner was killed: its status is older than the positions, or there is none."""
    world.partitions = [told(0, 5, 5), told(1, 40, 30), told(2, 90, 50)]
    for partition, appended in ((0, 8), (1, 45), (2, 45), (3, 60), (4, 60)):
        world.remember(partition, appended)
    for partition in (1, 2, 4):
        world.decide(partition, OffsetClass.MAPPED, [(10, 0), (50, 40)])
    ends = [(found.position, found.target_end) for found in (world.translate(each, 0) for each in range(5))]
    assert ends == [(8, 8), (55, 45), (90, 50), (60, 60), (70, 60)]
    assert world.translate(3, 60).offset_class is OffsetClass.IDENTICAL, "it was begun before classes were decided"


def test_runs_are_listed_by_topic_and_partition(world: World) -> None:
    world.partitions = [
        told(10, 3, 3),
        told(2, 90, 50, 10),
        told(1, 1090, 90, 1000),
        told(0, 80, 80, 30),
        told(4, 5, 5, 5),
    ]
    world.decide(0, OffsetClass.IDENTICAL)
    world.decide(1, OffsetClass.SHIFTED, [(1000, 0)])
    world.decide(2, OffsetClass.MAPPED, [(10, 0), (40, 20), (200, 90)])
    world.decide(4, OffsetClass.IDENTICAL)
    world.decide(10, OffsetClass.IDENTICAL)
    expected = [
        ("orders", 0, "identical", 30, 30, 50),
        ("orders", 1, "shifted", 1000, 0, 90),
        ("orders", 2, "mapped", 10, 0, 20),
        ("orders", 2, "mapped", 40, 20, 30),
        ("orders", 10, "identical", 0, 0, 3),
    ]
    assert world.all_runs() == world.all_runs("orders") == expected


def test_a_map_of_many_runs_is_listed_page_by_page(world: World) -> None:
    runs = RUNS_A_PAGE * 2
    world.partitions = [told(0, 5, 5), told(3, runs * 3, runs * 2), told(4, 5, 5)]
    world.decide(0, OffsetClass.IDENTICAL)
    world.decide(3, OffsetClass.MAPPED, [(number * 3, number * 2) for number in range(runs)])
    world.decide(4, OffsetClass.IDENTICAL)
    first = world.lookup.runs(None, None)
    assert sum(len(part.runs) for part in first.partitions) <= RUNS_A_PAGE
    assert first.next == Mark(topic="orders", partition=3, run=RUNS_A_PAGE - RUNS_A_PIECE)
    found = world.all_runs()
    assert [row[3:] for row in found[1:-1]] == [(number * 3, number * 2, 2) for number in range(runs)]
    assert [row[1] for row in (found[0], found[-1])] == [0, 4]


def test_a_topic_that_was_copied_anew_meanwhile_is_told(world: World) -> None:
    world.partitions = [told(3, 9, 9)]
    world.decide(3, OffsetClass.MAPPED, [(0, 0)])
    with pytest.raises(KmigrateError, match="orders-3 was copied anew"):
        world.lookup.runs(None, Mark(topic="orders", partition=3, run=RUNS_A_PIECE))
