"""Of a large offset map the store reads the pieces that are asked for, and they tell what the whole map tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.state.store import RUNS_A_PIECE, RunsFrom, Store

ORDERS_3 = TopicPartition(TopicName("orders"), Partition(3))
ORDERS_4 = TopicPartition(TopicName("orders"), Partition(4))
PIECES = 5
RUNS = (PIECES - 1) * RUNS_A_PIECE + 7
BEGINS = 1_000
ENDS = Ends(Offset(BEGINS + RUNS * 7 + 4), Offset(RUNS * 3))


@pytest.fixture
def whole() -> OffsetMap:
    """Runs of three records, with a gap of four after each."""
    found = OffsetMap()
    for number in range(RUNS):
        found.add(Run(Offset(BEGINS + number * 7), Offset(number * 3)))
    return found


@pytest.fixture
def store(tmp_path: Path, whole: OffsetMap) -> Store:
    store = Store.open(tmp_path)
    other = OffsetMap()
    other.add(Run(Offset(5), Offset(0)))
    store.save_runs({ORDERS_3: RunsFrom(0, whole.to_bytes()), ORDERS_4: RunsFrom(0, other.to_bytes())})
    return store


def test_the_piece_that_holds_an_offset_translates_as_the_whole_map(store: Store, whole: OffsetMap) -> None:
    seams = range(RUNS_A_PIECE, RUNS, RUNS_A_PIECE)
    sources = [BEGINS - 1, BEGINS, *(BEGINS + seam * 7 + step for seam in seams for step in range(-8, 4)), *ENDS]
    for source in map(Offset, sources):
        near = store.offset_runs_near(ORDERS_3, source, Side.SOURCE)
        assert near.to_target(source, ENDS) == whole.to_target(source, ENDS)
        assert len(near) <= RUNS_A_PIECE + 1
    targets = [0, *(seam * 3 + step for seam in seams for step in range(-4, 4)), ENDS.target, ENDS.target + 1]
    for target in map(Offset, targets):
        near = store.offset_runs_near(ORDERS_3, target, Side.TARGET)
        assert near.to_source(target, ENDS) == whole.to_source(target, ENDS)
        assert len(near) <= RUNS_A_PIECE + 1


def test_runs_are_read_by_their_number_with_the_one_after_them(store: Store, whole: OffsetMap) -> None:
    runs = list(whole)
    assert list(store.offset_runs_from(ORDERS_3, 0, 2)) == runs[: 2 * RUNS_A_PIECE + 1]
    assert list(store.offset_runs_from(ORDERS_3, RUNS_A_PIECE, 1)) == runs[RUNS_A_PIECE : 2 * RUNS_A_PIECE + 1]
    assert list(store.offset_runs_from(ORDERS_3, 0, 100)) == runs
    assert list(store.offset_runs_from(ORDERS_3, PIECES * RUNS_A_PIECE, 1)) == []


def test_a_partition_without_a_map_has_no_runs(store: Store) -> None:
    nobody = TopicPartition(TopicName("orders"), Partition(9))
    for side in Side:
        assert len(store.offset_runs_near(nobody, Offset(4), side)) == 0
    assert len(store.offset_runs_from(nobody, 0, 1)) == 0
