"""What is concluded from log ends: whose records are where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.manifest.model import Scheme
from kmigrate.offsets.offset_map import Ends
from kmigrate.preflight.bounds import Bounds
from kmigrate.runner.cutover.observing import (
    Back,
    _application_end,
    _application_records,
    _is_settled,
    _looked_at_closely,
    settled_late,
)
from kmigrate.runner.late.appending import LateSeen
from kmigrate.schemes.cutover import Cutover, Done, Way, begin
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.schemes.page import example
from kmigrate.schemes.wave import Ending
from tests.unit.schemes.examples import CLEAN

PLACE = TopicPartition(TopicName("orders"), Partition(0))
ENDED = Ends(Offset(100), Offset(80))


def bounds(end: int, stable: int | None = None) -> Bounds:
    return Bounds(Offset(0), Offset(end), Offset(end), Offset(end if stable is None else stable))


def progress(position: int, target_end: int, **changes: Any) -> PartitionProgress:
    return PartitionProgress(
        partition=PLACE,
        state=PartitionState.IN_SYNC,
        position=Offset(position),
        source_start=Offset(0),
        source_end=Offset(position),
        source_epoch=LeaderEpoch(0),
        records=0,
        bytes=0,
        newest_ms=-1,
        crc_errors=0,
        reason="",
        stop=None,
    )._replace(target_end=Offset(target_end), **changes)


@pytest.mark.parametrize(
    ("back", "told"),
    [
        (None, 150),
        (Back(None), None),
        (Back(Offset(110)), 100),
        (Back(Offset(110), stop="FOREIGN_WRITE, of the copy back"), 120),
        (Back(Offset(70), stop="FOREIGN_WRITE, of the copy back"), 150),
        (Back(None, stop="FOREIGN_WRITE, of the copy back", foreign_from=Offset(110)), 140),
        (Back(None, stop="FOREIGN_WRITE, of the copy back", foreign_from=Offset(100)), 150),
        (Back(None, stop="SOURCE_CORRUPT, of the copy back"), None),
    ],
)
def test_what_is_copied_back_is_no_application_s_record(back: Back | None, told: int | None) -> None:
    assert _application_end(Offset(150), ENDED, back) == told


def test_before_a_copy_has_ended_all_records_of_the_source_are_applications() -> None:
    assert _application_end(Offset(150), None, Back(Offset(1))) == 150


def test_records_behind_the_end_of_the_copy_are_the_applications() -> None:
    assert _application_records(bounds(100), bounds(95), progress(100, 80), ENDED) == 15
    assert _application_records(None, bounds(80), None, ENDED) == 0


def test_late_records_that_were_appended_are_no_application_s() -> None:
    late = LateSeen(Offset(108), landed=6, sent=8, until=None)
    assert _application_records(bounds(110), bounds(95), None, ENDED, late) == 7
    assert _application_records(bounds(110), bounds(86), None, ENDED, late) == 0, "some of what was sent is on its way"


def test_what_was_settled_of_late_records_is_what_was_settled_last() -> None:
    def done(kind: EffectKind, end: int) -> Done:
        effect = Effect(kind=kind, scope="")
        return Done(effect=effect, way=Way.FORWARD, stage=0, ends=(End(PLACE.topic, PLACE.partition, Offset(end)),))

    wave = example(Scheme.CONSUMERS_FIRST, Ending.CLEAN)
    listed, appended = done(EffectKind.LIST_LATE, 10), done(EffectKind.APPEND_LATE, 20)
    for both in ((listed, appended), (appended, listed)):
        assert settled_late(Cutover(wave=wave, in_force=both)) == {PLACE: 20}


def test_a_partition_is_given_up_until_something_later_settles_it() -> None:
    def done(kind: EffectKind, *places: TopicPartition) -> Done:
        ends = tuple(End(tp.topic, tp.partition, Offset(10)) for tp in places)
        return Done(effect=Effect(kind=kind, scope="", places=places), way=Way.FORWARD, stage=0, ends=ends)

    other = TopicPartition(PLACE.topic, Partition(1))
    wave = example(Scheme.CONSUMERS_FIRST, Ending.OVERLAP)
    first, closed = done(EffectKind.FORGO_LATE, PLACE), done(EffectKind.CLOSE_OVERLAP, PLACE, other)
    assert Cutover(wave=wave, in_force=(first,)).forgone == {PLACE}
    assert Cutover(wave=wave, in_force=(first, closed)).forgone == frozenset()
    again = done(EffectKind.FORGO_LATE, other)
    assert Cutover(wave=wave, in_force=(first, closed, again)).forgone == {other}


def test_while_it_copies_only_what_the_copy_cannot_have_appended_is_an_application_s() -> None:
    assert _application_records(bounds(100), bounds(100), progress(100, 100), None) == 0
    assert _application_records(bounds(100), bounds(103), progress(100, 100), None) == 3
    assert _application_records(bounds(120), bounds(110), progress(100, 100), None) == 0, "on its way"


def test_a_stop_tells_of_records_that_are_not_ours() -> None:
    stop = Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(90), evidence="")
    assert _application_records(bounds(100), bounds(95), progress(90, 90, stop=stop), None) == 5
    other = Stop(kind=StopKind.SOURCE_CORRUPT, offset=Offset(90), evidence="")
    assert _application_records(bounds(100), bounds(90), progress(90, 90, stop=other), None) == 0


def test_what_nobody_saw_is_not_known() -> None:
    assert _application_records(bounds(1), None, progress(1, 1), None) is None
    assert _application_records(bounds(1), bounds(1), None, None) is None
    assert _is_settled(None) is None


def test_a_partition_is_settled_once_everything_is_decided() -> None:
    assert _is_settled(bounds(10)) is True
    assert _is_settled(bounds(10, stable=9)) is False


def test_what_is_left_to_read_is_looked_at_only_where_a_gate_asks() -> None:
    cutover = begin(replace(CLEAN, name="one"), 0.0)
    asked = {
        stage.step.name: {str(side) for side in Side if _looked_at_closely(side, [replace(cutover, stage=index)])}
        for index, stage in enumerate(cutover.stages)
    }
    assert asked["freeze"] == asked["promote"] == set(), "nothing is read for it while writers wait"
    assert asked["watch"] == {"source"}
    assert _looked_at_closely(Side.SOURCE, [replace(cutover, stage=len(cutover.stages) - 1)]) == sorted(CLEAN.groups)
