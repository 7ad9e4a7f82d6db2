"""What the groups' thread takes from the copy, and how often it works."""

from __future__ import annotations

import pytest

from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.group_sync import copied_of, decide_refresh_ms, pause_after

PROGRESS = PartitionProgress(
    partition=TopicPartition(TopicName("a"), Partition(0)),
    state=PartitionState.IN_SYNC,
    position=Offset(100),
    source_start=Offset(10),
    source_end=Offset(120),
    source_epoch=LeaderEpoch(0),
    records=0,
    bytes=0,
    newest_ms=-1,
    crc_errors=0,
    reason="",
    stop=None,
    target_end=Offset(60),
    offset_class=OffsetClass.MAPPED,
)


@pytest.mark.parametrize(
    "state",
    [PartitionState.IN_SYNC, PartitionState.CATCHING_UP, PartitionState.THROTTLED, PartitionState.PAUSED],
)
def test_a_proven_position_tells_what_is_copied(state: PartitionState) -> None:
    found = copied_of(PROGRESS._replace(state=state))
    assert found.ends == Ends(Offset(100), Offset(60))
    assert (found.offset_class, found.source_start, found.source_end) == (OffsetClass.MAPPED, 10, 120)
    assert not found.hold


@pytest.mark.parametrize(
    "change",
    [
        {"state": PartitionState.WAITING, "reason": "no leader"},
        {"state": PartitionState.ALIGNING},
        {"target_end": Offset(-1)},
        {"position": Offset(-1)},
        {"source_start": Offset(-1)},
        {"stop": Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(3), evidence="")},
    ],
)
def test_anything_else_holds_its_groups(change: dict[str, object]) -> None:
    assert copied_of(PROGRESS._replace(**change)).hold  # type: ignore[arg-type]


def test_rounds_are_a_second_apart_and_at_most_five() -> None:
    assert pause_after(10, 0.1, 0.05) == pytest.approx(0.9)
    assert pause_after(400, 0.1, 0.05) == pytest.approx(0.9)
    assert pause_after(1200, 0.5, 0.2) == pytest.approx(2.5)
    assert pause_after(10_000, 1.0, 0.4) == pytest.approx(4.0)
    assert pause_after(10, 3.0, 0.1) > 0, "a slow round is not followed at once"
    assert pause_after(2_000, 3.0, 1.5) == pytest.approx(4.5), "a fifth of a core, whatever the groups do"
    assert pause_after(2_000, 9.0, 8.0) == pytest.approx(6.0), "but nobody waits for it for ever"


def test_commits_are_refreshed_well_before_they_expire_and_daily() -> None:
    day_ms = 86_400_000
    assert decide_refresh_ms(None) == 7 * day_ms // 8
    assert decide_refresh_ms(7 * 24 * 60) == 7 * day_ms // 8
    assert decide_refresh_ms(365 * 24 * 60) == day_ms
    assert decide_refresh_ms(8) == 60_000
    assert decide_refresh_ms(0) == 1000
