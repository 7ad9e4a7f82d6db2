"""Where a mapped copy's log should start is told by the whole map, as far as both sides belong together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.copy.orders import PipelineKey, Remembered, Saved
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import BrokerId, LeaderEpoch, Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Run
from kmigrate.runner.maps import Maps, has_begun
from kmigrate.state.store import Store
from tests.unit.copy.fake_worker import position

PLACE = TopicPartition(TopicName("orders"), Partition(0))
KEY = PipelineKey(0, BrokerId(1), BrokerId(1), 0)
RUNS = (Run(Offset(10), Offset(0)), Run(Offset(30), Offset(10)), Run(Offset(60), Offset(20)))
"""The source begins at 10; 20 to 29 and 40 to 59 were left out."""


@pytest.fixture
def maps(tmp_path: Path) -> Iterator[Maps]:
    store = Store.open(tmp_path)
    maps = Maps(store)
    maps.decide({PLACE: OffsetClass.MAPPED})
    yield maps
    store.close()


def copying(start: int, *, at: int = 70, target: int = 30, **change: object) -> PartitionProgress:
    return (
        position(PLACE, at)
        ._replace(
            state=PartitionState.CATCHING_UP,
            source_start=Offset(start),
            target_end=Offset(target),
            entries=RUNS,
            entries_made=len(RUNS),
            life=1,
        )
        ._replace(**change)
    )


def told(maps: Maps, progress: PartitionProgress) -> Saved | None:
    """What is told after this progress, with the map that came with it."""
    maps.on_progress(KEY, progress)
    maps.save()
    maps.follow_start(KEY, progress)
    return maps.save().get(0, {}).get(PLACE)


@pytest.mark.parametrize(
    ("start", "wanted"), [(11, 1), (20, 10), (25, 10), (30, 10), (39, 19), (40, 20), (65, 25), (70, 30), (900, 30)]
)
def test_a_start_is_the_place_of_the_first_record_that_is_left(maps: Maps, start: int, wanted: int) -> None:
    assert told(maps, copying(start)) == Saved(1, 3, Offset(wanted))


@pytest.mark.parametrize("start", [0, 5, 10])
def test_a_start_that_lies_where_the_copy_began_is_not_told(maps: Maps, start: int) -> None:
    assert told(maps, copying(start)) is None


def test_runs_that_are_written_ahead_do_not_count(maps: Maps) -> None:
    assert told(maps, copying(65, at=40, target=20)) == Saved(1, 3, Offset(20))
    assert told(maps, copying(65, at=35, target=15)) is None, "a start never goes back"


def test_a_start_is_told_once_and_again_in_another_life(maps: Maps) -> None:
    assert told(maps, copying(30)) is not None
    assert told(maps, copying(30)) is None
    assert told(maps, copying(31)) == Saved(1, 3, Offset(11))
    assert told(maps, copying(31, life=2, entries=(), entries_made=0)) == Saved(2, 0, Offset(11))


def test_entries_that_come_later_keep_the_start(maps: Maps) -> None:
    told(maps, copying(30))
    more = copying(30, entries=(*RUNS, Run(Offset(90), Offset(40))), entries_made=4)
    maps.on_progress(KEY, more)
    assert maps.save()[0][PLACE] == Saved(1, 4, Offset(10))


@pytest.mark.parametrize(
    "change",
    [
        {"state": PartitionState.WAITING},
        {"state": PartitionState.PAUSED},
        {"state": PartitionState.STOPPED},
        {"position": Offset(-1)},
        {"target_end": Offset(-1)},
        {"source_start": Offset(-1)},
    ],
)
def test_what_is_in_doubt_tells_nothing(maps: Maps, change: dict[str, object]) -> None:
    assert told(maps, copying(30, **change)) is None


@pytest.mark.parametrize("offset_class", [OffsetClass.IDENTICAL, OffsetClass.SHIFTED])
def test_where_the_copier_knows_itself_nothing_is_told(tmp_path: Path, offset_class: OffsetClass) -> None:
    store = Store.open(tmp_path)
    maps = Maps(store)
    maps.decide({PLACE: offset_class})
    maps.follow_start(KEY, copying(30))
    assert maps.save() == {}
    store.close()


def test_what_stopped_before_it_was_remembered_has_begun_all_the_same() -> None:
    memory = Remembered(TopicId("aa"), TopicId("bb"), LeaderEpoch(0), Offset(7))
    assert has_begun(memory, None)
    assert has_begun(None, copying(0, state=PartitionState.STOPPED, at=6, target=6))
    assert not has_begun(None, copying(0, at=0, target=0))
    assert not has_begun(memory._replace(appended=Offset(0)), copying(0, at=-1, target=-1))
    assert not has_begun(None, None)


class SlowMirror:
    """Has what it is told to have."""

    def __init__(self) -> None:
        self.marks = 0
        self.reached = 0

    def mark(self) -> int:
        self.marks += 1
        return self.marks

    def has(self, mark: int) -> bool:
        return self.reached >= mark

    def wait(self, mark: int, seconds: float) -> bool:
        return self.has(mark)


def test_runs_are_told_as_saved_once_they_are_mirrored(tmp_path: Path) -> None:
    mirror = SlowMirror()
    store = Store.open(tmp_path)
    maps = Maps(store, mirror)
    maps.decide({PLACE: OffsetClass.MAPPED})
    maps.on_progress(KEY, copying(10))
    assert maps.save() == {}
    assert set(maps.on_their_way) == {PLACE}
    assert len(store.offset_map(PLACE)) == len(RUNS), "the store has them"
    more = (*RUNS, Run(Offset(90), Offset(40)))
    maps.on_progress(KEY, copying(10, entries=more, entries_made=4))
    assert maps.save() == {}
    mirror.reached = 1
    assert maps.save() == {KEY.worker: {PLACE: Saved(1, 3)}}
    assert set(maps.on_their_way) == {PLACE}
    mirror.reached = 2
    assert maps.save() == {KEY.worker: {PLACE: Saved(1, 4)}}
    assert maps.on_their_way == ()
    store.close()
