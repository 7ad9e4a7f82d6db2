"""How groups are shown: outcomes, lags, and whether they are safe to move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.groups.decide import DELETED
from kmigrate.groups.pace import Pace, PaceMeter
from kmigrate.groups.select import SelectedGroups
from kmigrate.groups.sync import Picture
from kmigrate.groups.values import SYNCED, Copied, GroupRecord, Latch, Outcome, OutcomeKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.group_board import (
    NO_COMMITS,
    NOT_READ_YET,
    lagging,
    measure,
    outcome_of,
    show_group,
    spans_of,
    summarize,
)
from kmigrate.runner.groups_document import GroupsDocument, GroupStatus, MemberStatus
from kmigrate.wire.group_calls import Committed, GroupOffsets
from kmigrate.wire.offset_calls import DescribedGroup, ListedGroup, Member

A0, A1 = (TopicPartition(TopicName("a"), Partition(p)) for p in (0, 1))
COPIED = {
    A0: Copied(OffsetClass.SHIFTED, Ends(Offset(1000), Offset(900)), Offset(200), Offset(1000)),
    A1: Copied(OffsetClass.SHIFTED, Ends(Offset(50), Offset(50)), Offset(0), Offset(80)),
}
WAITS = Outcome(OutcomeKind.WAITING, "waiting for the copy")


def offsets(found: dict[TopicPartition, int]) -> GroupOffsets:
    return GroupOffsets(0, {tp: Committed(0, Offset(at), LeaderEpoch(-1), "") for tp, at in found.items()})


def picture(outcomes: dict[TopicPartition, Outcome], *, state: str = "Empty") -> Picture:
    return Picture(
        group="g",
        listed=ListedGroup("g", "consumer", state, "classic"),
        source=offsets({A0: 300, A1: 60}),
        target=offsets({A0: 200, A1: 40}),
        target_state="Empty",
        outcomes=outcomes,
    )


GOOD = picture({A0: SYNCED, A1: SYNCED})


def shown(found: Picture) -> GroupStatus:
    return show_group(found, COPIED, Pace(None, None), {}, {})


def test_lags_count_from_what_is_committed_to_what_can_be_read() -> None:
    group = shown(GOOD)
    assert [(each.source_lag, each.target_lag) for each in group.partitions] == [(700, 700), (20, 10)]
    assert (group.source.lag_records, group.target.lag_records) == (720, 710)
    assert not group.is_drained


def test_the_gap_is_what_the_target_is_behind() -> None:
    assert [each.offset_gap for each in shown(GOOD).partitions] == [0, 0]
    behind = shown(picture({A0: WAITS, A1: SYNCED}))
    assert [each.offset_gap for each in behind.partitions] == [0, 0], "200 on the target is 300 on the source"
    rewound = replace(picture({A0: WAITS}), target=offsets({A0: 150}))
    assert shown(rewound).partitions[0].offset_gap == 50


def test_what_expired_is_no_lag() -> None:
    group = shown(replace(GOOD, source=offsets({A0: 5})))
    assert group.partitions[0].source_lag == 800


def test_a_group_that_is_in_step_and_empty_is_safe_to_move() -> None:
    assert shown(GOOD).safe_to_move


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (picture({A0: SYNCED, A1: SYNCED}, state="Stable"), "stop its members on the source first"),
        (picture({A0: SYNCED, A1: WAITS}), "a-1: waiting for the copy"),
        (picture({A0: SYNCED, A1: Outcome(OutcomeKind.SKIPPED, "its topic does not move")}), "a-1: its topic"),
        (replace(GOOD, record=GroupRecord(moved=Latch(reason="r", at_ms=1))), "it has moved already"),
        (replace(GOOD, listed=None), "does not exist on the source"),
        (replace(GOOD, trouble=Outcome(OutcomeKind.WAITING, "frozen")), "frozen"),
    ],
)
def test_anything_else_is_not_safe_and_says_why(found: Picture, reason: str) -> None:
    group = shown(found)
    assert not group.safe_to_move
    assert reason in group.safe_reason


def test_a_groups_outcome_is_that_of_its_worst_partition() -> None:
    failed = Outcome(OutcomeKind.FAILED, "refused")
    assert outcome_of(picture({A0: SYNCED, A1: failed})) == Outcome(OutcomeKind.FAILED, "a-1: refused")
    assert outcome_of(picture({A0: WAITS, A1: WAITS})).reason == "a-0: waiting for the copy (and 1 more)"
    assert outcome_of(GOOD) == SYNCED
    assert outcome_of(picture({A0: DELETED})).kind is OutcomeKind.SKIPPED
    assert outcome_of(picture({})) == NO_COMMITS
    assert outcome_of(replace(GOOD, source=None)) == NOT_READ_YET


def test_the_summary_counts_groups_and_differences() -> None:
    moved = replace(
        picture({A0: Outcome(OutcomeKind.MOVED, "r")}), record=GroupRecord(moved=Latch(reason="r", at_ms=1))
    )
    pictures = {"a": GOOD, "b": picture({A0: WAITS, A1: SYNCED}), "c": moved}
    selected = SelectedGroups(groups={}, left_out={}, unsupported={"s": "a share group"})
    found = summarize(pictures, selected, rounds=3, round_seconds=0.5, trouble="")
    assert (found.groups, found.synced, found.waiting, found.moved) == (3, 1, 1, 1)
    assert (found.partitions, found.differences) == (5, 1)
    assert [each.group for each in found.unsupported] == ["s"]


def test_members_are_those_that_were_asked_for() -> None:
    member = Member("m", "app", "10.0.0.7", "static-1")
    members = {"source": {"g": DescribedGroup(0, "Stable", "consumer", (member,))}, "target": {}}
    group = show_group(GOOD, COPIED, Pace(None, None), members, {})
    assert group.source.members == (MemberStatus(client_id="app", host="10.0.0.7", instance_id="static-1"),)
    assert group.source.state == "Stable"
    assert group.target.members == ()
    assert shown(GOOD).source.members is None


def test_a_group_without_members_is_empty_where_it_has_commits_and_absent_elsewhere() -> None:
    just_committed = replace(GOOD, target_state="")
    assert (shown(just_committed).source.state, shown(just_committed).target.state) == ("Empty", "Empty")
    assert shown(replace(just_committed, target=offsets({}))).target.state == "absent"
    deleted = shown(replace(GOOD, listed=None, source=None))
    assert (deleted.source.state, deleted.target.state) == ("absent", "Empty")
    members = {"target": {"g": DescribedGroup(0, "Dead", "", ())}}
    nowhere = replace(GOOD, target=offsets({}))
    assert show_group(nowhere, COPIED, Pace(None, None), members, {}).target.state == "absent"
    assert show_group(GOOD, COPIED, Pace(None, None), members, {}).target.state == "Empty"
    still_used = {"target": {"g": DescribedGroup(0, "Stable", "consumer", ())}}
    assert show_group(nowhere, COPIED, Pace(None, None), still_used, {}).target.state == "Stable"


def test_a_group_is_as_far_behind_as_its_oldest_record() -> None:
    ages = {(A0, Offset(300)): 30.0, (A1, Offset(60)): 40.0}
    assert lagging([GOOD], COPIED) == {(A0, 300): 700, (A1, 60): 20}
    assert show_group(GOOD, COPIED, Pace(None, None), {}, ages).source.lag_seconds == 40.0
    del ages[A0, Offset(300)]
    assert show_group(GOOD, COPIED, Pace(None, None), {}, ages).source.lag_seconds is None, "unknown, not less"
    assert shown(GOOD).source.lag_seconds is None
    assert shown(replace(GOOD, source=offsets({A0: 1000, A1: 80}))).source.lag_seconds == 0.0


def test_the_pace_counts_partitions_whose_end_is_known() -> None:
    meter, spans = PaceMeter(), spans_of(COPIED)
    for at, found in ((0.0, GOOD), (10.0, replace(GOOD, source=offsets({A0: 400, A1: 60})))):
        measured = measure(found, spans)
        meter.note(at, measured.committed, measured.source_lag or 0)
    assert meter.pace() == Pace(10.0, 62.0)


@pytest.mark.parametrize(
    "found",
    [
        GOOD,
        picture({A0: SYNCED, A1: WAITS}),
        picture({A0: WAITS, A1: WAITS}),
        replace(GOOD, source=offsets({A0: 100, A1: 90})),
        replace(GOOD, target=offsets({}), outcomes={A0: WAITS, A1: WAITS}),
        replace(GOOD, source=None, outcomes={}),
        replace(GOOD, source=offsets({}), target=offsets({}), outcomes={}),
        replace(GOOD, source=offsets({TopicPartition(TopicName("b"), Partition(0)): 7}), outcomes={}),
    ],
)
def test_what_is_measured_is_the_sum_of_what_is_shown(found: Picture) -> None:
    group, measured = shown(found), measure(found, spans_of(COPIED))
    assert measured.source_lag == group.source.lag_records
    assert measured.target_lag == group.target.lag_records
    gaps = [each.offset_gap for each in group.partitions if each.offset_gap is not None]
    assert measured.offset_gap == (sum(gaps) if gaps else None)


def test_the_summary_has_the_lag_of_every_group() -> None:
    measured = {"g": measure(GOOD, spans_of(COPIED))}
    selected = SelectedGroups(groups={}, left_out={}, unsupported={})
    summary = summarize({"g": GOOD}, selected, rounds=1, round_seconds=0.1, trouble="", measured=measured)
    (lag,) = summary.lags
    assert (lag.group, lag.source_lag, lag.target_lag, lag.offset_gap) == ("g", 720, 710, 0)


def test_the_document_comes_back_from_json() -> None:
    document = GroupsDocument(name="m", groups=(shown(GOOD),))
    assert GroupsDocument.from_json(document.to_json()) == document
    assert document.to_value()["groups"][0]["partitions"][0]["sourceLag"] == 700
