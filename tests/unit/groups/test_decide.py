"""What is done about one group, and what is never done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.groups import decide
from kmigrate.groups.decide import Decision, Seen, decide_group
from kmigrate.groups.place import NOWHERE, Placed
from kmigrate.groups.values import NO_RECORD, SYNCED, GroupRecord, Latch, Outcome, OutcomeKind, Value, Written
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Committed, GroupOffsets

A0, A1, B0 = (TopicPartition(TopicName(t), Partition(p)) for t, p in (("a", 0), ("a", 1), ("b", 0)))
COPIED = 1000
WAITS = Outcome(OutcomeKind.WAITING, "waiting for the copy")
ELSEWHERE = Outcome(OutcomeKind.SKIPPED, "its topic does not take part")


def place(partition: TopicPartition, offset: Offset) -> Placed | Outcome:
    """Everything lies 100 below, up to what is copied; b takes no part."""
    if partition.topic == "b":
        return ELSEWHERE
    if offset < 100:
        return Placed(NOWHERE, "expired")
    return Placed(Offset(offset - 100)) if offset <= COPIED else WAITS


def offsets(found: dict[TopicPartition, int], *, metadata: str = "", epoch: int = -1) -> GroupOffsets:
    return GroupOffsets(
        0, {tp: Committed(0, Offset(offset), LeaderEpoch(epoch), metadata) for tp, offset in found.items()}
    )


NOTHING = offsets({})


def value(offset: int, metadata: str = "", epoch: int = -1) -> Value:
    return Value(Offset(offset), metadata, LeaderEpoch(epoch))


def wrote(now: int, before: int | None = None) -> GroupRecord:
    return GroupRecord(written={A0: Written(value(now), None if before is None else value(before))})


def decided(
    record: GroupRecord,
    source: GroupOffsets | None,
    target: GroupOffsets = NOTHING,
    *,
    state: str = "Empty",
    unsettled: bool = False,
    refresh: bool = False,
) -> Decision:
    return decide_group(record, Seen(source, target, state, unsettled), place, refresh=refresh, now_ms=7)


def test_a_commit_is_translated_and_kept_before_it_is_made() -> None:
    found = decided(NO_RECORD, offsets({A0: 300}, metadata="note", epoch=9))
    assert found.commits == {A0: value(200, "note")}
    assert found.record.written == {A0: Written(value(200, "note"), None)}
    assert found.outcomes == {A0: decide.BEING_COMMITTED}


def test_what_is_there_already_is_synced_and_not_written_again() -> None:
    found = decided(wrote(200), offsets({A0: 300}), offsets({A0: 200}))
    assert not found.commits
    assert found.record == wrote(200)
    assert found.outcomes == {A0: SYNCED}


@pytest.mark.parametrize("offset", [301, 250])
def test_progress_and_rewinds_are_followed(offset: int) -> None:
    found = decided(wrote(200), offsets({A0: offset}), offsets({A0: 200}))
    assert found.commits == {A0: value(offset - 100)}
    assert found.record.written == {A0: Written(value(offset - 100), value(200))}


def test_other_metadata_at_the_same_offset_is_followed() -> None:
    found = decided(wrote(200), offsets({A0: 300}, metadata="new"), offsets({A0: 200}))
    assert found.commits == {A0: value(200, "new")}


def test_what_waits_for_the_copy_keeps_what_is_there() -> None:
    found = decided(wrote(200), offsets({A0: COPIED + 1}), offsets({A0: 200}))
    assert not found.commits
    assert found.outcomes == {A0: WAITS}


def test_where_no_offset_can_say_it_there_is_no_commit_and_an_older_one_is_taken_away() -> None:
    expired = Outcome(OutcomeKind.SKIPPED, "expired")
    assert decided(NO_RECORD, offsets({A0: 99})) == Decision(NO_RECORD, {}, {A0: expired})
    found = decided(wrote(200), offsets({A0: 99}), offsets({A0: 200}))
    assert (found.commits, found.deletes) == ({}, (A0,))
    assert found.outcomes == {A0: decide.BEING_COMMITTED}
    assert decided(wrote(200), offsets({A0: 99})).outcomes == {A0: expired}
    assert not decided(wrote(200), offsets({A0: 99}), offsets({A0: 200}), refresh=True).commits
    assert not decided(wrote(200), offsets({A0: 99}), offsets({A0: 200}), unsettled=True).deletes
    assert decided(wrote(200), offsets({A0: 99}), offsets({A0: 201})).record.moved is not None


def test_a_topic_that_takes_no_part_is_skipped() -> None:
    found = decided(NO_RECORD, offsets({B0: 5, A0: 300}))
    assert found.outcomes == {B0: ELSEWHERE, A0: decide.BEING_COMMITTED}
    assert found.commits.keys() == {A0}


@pytest.mark.parametrize("state", ["Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "Unknown"])
def test_members_on_the_target_latch_a_group(state: str) -> None:
    found = decided(wrote(200), offsets({A0: 301}), offsets({A0: 200}), state=state)
    assert found.record.moved == Latch(reason=f"it has members on the target (state {state})", at_ms=7)
    assert not found.commits
    assert found.outcomes[A0].kind is OutcomeKind.MOVED


@pytest.mark.parametrize(
    "there", [offsets({A0: 201}), offsets({A0: 200}, metadata="theirs"), offsets({A0: 200}, epoch=3), offsets({A0: 0})]
)
def test_a_commit_that_is_not_ours_latches_a_group(there: GroupOffsets) -> None:
    found = decided(wrote(200), offsets({A0: 300}), there)
    assert found.record.moved is not None
    assert "ours was 200" in found.record.moved.reason
    assert not found.commits


@pytest.mark.parametrize("partition", [A1, B0])
def test_a_foreign_commit_for_any_partition_latches_the_whole_group(partition: TopicPartition) -> None:
    found = decided(wrote(200), offsets({A0: 301}), offsets({A0: 200, partition: 5}))
    assert found.record.moved is not None
    assert not found.commits


def test_an_open_transaction_on_the_target_latches_a_group() -> None:
    pending = GroupOffsets(0, {A0: Committed(ErrorCode.UNSTABLE_OFFSET_COMMIT, Offset(-1), LeaderEpoch(-1), "")})
    assert decided(wrote(200), offsets({A0: 300}), pending).record.moved is not None


def test_a_latched_group_is_never_touched_again() -> None:
    moved = replace(wrote(200), moved=Latch(reason="it moved", at_ms=1))
    for there in (offsets({A0: 200}), offsets({A0: 900}), NOTHING):
        found = decided(moved, offsets({A0: 400}), there, refresh=True)
        assert found.record is moved
        assert not found.commits
        assert found.outcomes == {A0: Outcome(OutcomeKind.MOVED, "it moved")}


def test_between_a_commit_and_its_reading_either_value_is_ours() -> None:
    record = wrote(250, 200)
    for there in (200, 250):
        found = decided(record, offsets({A0: 360}), offsets({A0: there}))
        assert found.record.moved is None
        assert found.commits == {A0: value(260)}
        assert found.record.written == {A0: Written(value(260), value(there))}


def test_nothing_is_committed_while_an_earlier_commit_may_still_come() -> None:
    found = decided(wrote(250, 200), offsets({A0: 360}), offsets({A0: 200}), unsettled=True)
    assert not found.commits
    assert found.record == wrote(250, 200)
    assert found.outcomes == {A0: decide.UNSETTLED}


def test_without_a_memory_what_we_would_write_is_taken_for_ours() -> None:
    found = decided(NO_RECORD, offsets({A0: 300}), offsets({A0: 200}))
    assert found.record.written == {A0: Written(value(200))}
    assert found.outcomes == {A0: SYNCED}


def test_without_a_memory_anything_else_is_foreign() -> None:
    found = decided(NO_RECORD, offsets({A0: 300}), offsets({A0: 199}))
    assert found.record.moved is not None
    assert "none of ours is known here" in found.record.moved.reason


def test_a_released_group_takes_over_whatever_is_there() -> None:
    moved = replace(wrote(200), moved=Latch(reason="it moved", at_ms=1))
    released = decide.release(moved)
    assert released.moved is None
    found = decided(released, offsets({A0: 300}), offsets({A0: 950, B0: 3}, metadata="theirs", epoch=4))
    assert found.commits == {A0: value(200)}
    assert found.record.moved is None
    assert not found.record.released
    assert found.record.written == {
        A0: Written(value(200), value(950, "theirs", 4)),
        B0: Written(value(3, "theirs", 4)),
    }


def test_a_released_group_with_members_is_latched_again() -> None:
    released = decide.release(replace(wrote(200), moved=Latch(reason="it moved", at_ms=1)))
    assert decided(released, offsets({A0: 300}), state="Stable").record.moved is not None


def test_commits_that_vanished_on_the_target_are_made_again() -> None:
    assert decided(wrote(200), offsets({A0: 300}), NOTHING).commits == {A0: value(200)}


def test_a_group_deleted_on_the_source_is_kept_and_flagged() -> None:
    found = decided(wrote(200), None, offsets({A0: 200}))
    assert not found.commits
    assert found.outcomes == {A0: decide.DELETED}


def test_a_commit_that_expired_on_the_source_is_kept_and_flagged() -> None:
    found = decided(wrote(200), NOTHING, offsets({A0: 200}))
    assert not found.commits
    assert found.outcomes == {A0: decide.NOT_ON_SOURCE}


@pytest.mark.parametrize("source", [offsets({A0: 300}), offsets({A0: COPIED + 1}), NOTHING, None])
def test_everything_of_ours_is_written_anew_before_it_expires(source: GroupOffsets | None) -> None:
    found = decided(wrote(200), source, offsets({A0: 200}), refresh=True)
    assert found.commits == {A0: value(200)}
    assert found.record.written[A0].now == value(200)


def test_an_open_transaction_on_the_source_is_waited_for() -> None:
    pending = GroupOffsets(0, {A0: Committed(ErrorCode.UNSTABLE_OFFSET_COMMIT, Offset(-1), LeaderEpoch(-1), "")})
    assert decided(NO_RECORD, pending).outcomes == {A0: decide.UNSTABLE}


def test_a_refusal_says_what_to_do_or_that_it_passes() -> None:
    assert decide.outcome_of_refusal(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS).kind is OutcomeKind.WAITING
    failed = decide.outcome_of_refusal(ErrorCode.OFFSET_METADATA_TOO_LARGE)
    assert failed.kind is OutcomeKind.FAILED
    assert "offset.metadata.max.bytes" in failed.reason
    kept = decide.outcome_of_keeping(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    assert kept.kind is OutcomeKind.FAILED
    assert "DELETE" in kept.reason
    assert decide.outcome_of_keeping(ErrorCode.NOT_COORDINATOR).kind is OutcomeKind.WAITING
    unreadable = decide.outcome_of_reading(ErrorCode.GROUP_AUTHORIZATION_FAILED, "source")
    assert unreadable.kind is OutcomeKind.FAILED
    assert "DESCRIBE" in unreadable.reason
