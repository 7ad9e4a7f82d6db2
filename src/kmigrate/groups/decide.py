"""What is to be done about one group: latch it, commit for it, or leave it; and the outcome of every partition.  (pure)

Rule: only a value that we wrote last, or none, is overwritten, and only while nobody is a member of the group on the
target. Whatever else is seen there means that somebody uses the group on the target: it is latched, for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from kmigrate.groups.place import NOWHERE, Placed
from kmigrate.groups.values import SYNCED, GroupRecord, Latch, Outcome, OutcomeKind, Value, Written, holds
from kmigrate.kafka_types import UNKNOWN_EPOCH, Offset, TopicPartition
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Committed, GroupOffsets

new = tuple.__new__
"""Makes a value of a named tuple in half the time: a round makes some for each of 100,000 commits."""
Place = Callable[[TopicPartition, Offset], Placed | Outcome]

EMPTY_STATES = frozenset({"", "Empty", "Dead"})
"""Group states in which nobody is a member; "" is that of a group which is not listed."""
NOT_ON_SOURCE = Outcome(OutcomeKind.SKIPPED, "no longer committed on the source; kept on the target")
DELETED = Outcome(OutcomeKind.SKIPPED, "the group was deleted on the source; its commits on the target are kept")
BEING_COMMITTED = Outcome(OutcomeKind.WAITING, "being committed")
UNSTABLE = Outcome(OutcomeKind.WAITING, "a transaction that commits for the group is open on the source")
UNSETTLED = Outcome(OutcomeKind.WAITING, "the outcome of the last commit is not known yet")

_PASSING = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.REBALANCE_IN_PROGRESS,
    }
)
_REMEDIES: Mapping[int, str] = {
    ErrorCode.GROUP_AUTHORIZATION_FAILED: "grant READ on the group to this principal on the target",
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "grant READ on the topic to this principal on the target",
    ErrorCode.OFFSET_METADATA_TOO_LARGE: "raise offset.metadata.max.bytes of the target's brokers",
}


class Seen(NamedTuple):
    """A group as it was just read; `source` is None if it does not exist there.

    `state` is that of the group on the target, and `is_unsettled`: a commit of ours may still be on its way. `is_ours`:
    the target's commits are those that were looked at, with the same record, before: each is one of ours. `earlier`:
    what was committed on the source before, oldest first, where the copy was not that far yet.
    """

    source: GroupOffsets | None
    target: GroupOffsets
    state: str
    is_unsettled: bool = False
    is_ours: bool = False
    earlier: Mapping[TopicPartition, Sequence[Committed]] = MappingProxyType({})


class Decision(NamedTuple):
    """What to keep first, then to commit, and how every partition stands.

    `record` differs from the one before if it must be kept; `commits` are written only when it is.
    """

    record: GroupRecord
    commits: Mapping[TopicPartition, Value]
    outcomes: Mapping[TopicPartition, Outcome]
    deletes: tuple[TopicPartition, ...] = ()
    """Commits of ours that are to be taken away."""
    ahead: Mapping[TopicPartition, Committed] = MappingProxyType({})
    """What the source has, and the target is to get once the copy is there."""


def decide_group(record: GroupRecord, seen: Seen, place: Place, *, refresh: bool, now_ms: int) -> Decision:
    """What follows for one group. `refresh`: its commits are written once more, lest they expire."""
    if record.moved is not None:
        return _moved(record, seen)
    wanted, outcomes = _translate(seen, place)
    waiting = dict(outcomes)
    if record.released and seen.state in EMPTY_STATES:
        record = _adopt(record, seen.target)
    reason = _used_by_others(record, seen, wanted)
    if reason:
        return _moved(latch(record, reason, now_ms), seen)
    written = dict(record.written)
    commits: dict[TopicPartition, Value] = {}
    there = seen.target.partitions
    if refresh:
        kept = {tp: each.now for tp, each in written.items() if tp not in wanted}
        commits = {tp: now for tp, now in kept.items() if tp in there and Value.of(there[tp]) == now}
    deletes = []
    for partition, (value, note) in wanted.items():
        committed = there.get(partition)
        if value.offset == NOWHERE:
            is_there = committed is not None and committed.offset >= 0
            outcomes[partition] = BEING_COMMITTED if is_there else Outcome(OutcomeKind.SKIPPED, note)
            if is_there and seen.is_unsettled:
                outcomes[partition] = UNSETTLED
            elif is_there:
                deletes.append(partition)
            continue
        known = written.get(partition)
        if committed is None or committed.offset < 0:
            lies = None
        elif seen.is_ours and known is not None and known.before is None:
            lies = known.now
        else:
            lies = Value.of(committed)
        if lies == value:
            outcomes[partition] = Outcome(OutcomeKind.SYNCED, note) if note else SYNCED
            if known is None or known.now != value:
                written[partition] = Written(value)
            if not refresh:
                continue
        elif seen.is_unsettled:
            outcomes[partition] = UNSETTLED
            continue
        else:
            outcomes[partition] = BEING_COMMITTED
        commits[partition] = value
        written[partition] = new(Written, (value, lies))
    outcomes |= waiting  # also where an earlier commit stands in
    missing = DELETED if seen.source is None else NOT_ON_SOURCE
    for partition in written:
        outcomes.setdefault(partition, missing)
    if written != record.written:
        record = replace(record, written=written)
    ahead = {tp: theirs for tp, each in waiting.items() if (theirs := _ahead(tp, each, seen.source)) is not None}
    return Decision(record, commits, outcomes, tuple(deletes), ahead)


def latch(record: GroupRecord, reason: str, now_ms: int) -> GroupRecord:
    """The group is used on the target: from now on it is not touched there."""
    return replace(record, moved=Latch(reason=reason, at_ms=now_ms), released=False)


def release(record: GroupRecord) -> GroupRecord:
    """An operator says that the group is to follow the source again."""
    return replace(record, moved=None, released=True)


def outcome_of_refusal(error: int) -> Outcome:
    """What a commit that was refused comes to."""
    name = f"{error_name(error)} ({error})"
    if error in _PASSING:
        return Outcome(OutcomeKind.WAITING, f"the target answered {name}")
    remedy = _REMEDIES.get(error)
    return Outcome(OutcomeKind.FAILED, f"the target refuses the commit: {name}" + (f"; {remedy}" if remedy else ""))


def outcome_of_keeping(error: int) -> Outcome:
    """What it comes to that a commit could not be taken away."""
    name = f"{error_name(error)} ({error})"
    if error in _PASSING:
        return Outcome(OutcomeKind.WAITING, f"the target answered {name}")
    remedy = "; grant DELETE on the group to this principal on the target"
    is_right = error == ErrorCode.GROUP_AUTHORIZATION_FAILED
    return Outcome(OutcomeKind.FAILED, f"the target does not take its commit away: {name}" + remedy * is_right)


def outcome_of_reading(error: int, side: str) -> Outcome:
    """What a group comes to whose commits cannot be read."""
    name = f"{error_name(error)} ({error})"
    if error in _PASSING:
        return Outcome(OutcomeKind.WAITING, f"the {side} answered {name}")
    right = "READ" if side == "target" else "DESCRIBE"
    remedy = f"; grant {right} on the group to this principal on the {side}"
    is_right = error == ErrorCode.GROUP_AUTHORIZATION_FAILED
    return Outcome(OutcomeKind.FAILED, f"its commits on the {side} cannot be read: {name}" + remedy * is_right)


def _translate(
    seen: Seen, place: Place
) -> tuple[dict[TopicPartition, tuple[Value, str]], dict[TopicPartition, Outcome]]:
    """What the target should have, and the outcomes of what cannot be translated."""
    wanted: dict[TopicPartition, tuple[Value, str]] = {}
    outcomes: dict[TopicPartition, Outcome] = {}
    for partition, committed in seen.source.partitions.items() if seen.source is not None else ():
        error, offset, _epoch, metadata = committed
        if error:
            is_unstable = error == ErrorCode.UNSTABLE_OFFSET_COMMIT
            outcomes[partition] = UNSTABLE if is_unstable else outcome_of_reading(error, "source")
        elif offset >= 0:
            placed = place(partition, offset)
            if isinstance(placed, Placed):
                wanted[partition] = new(Value, (placed.offset, metadata, UNKNOWN_EPOCH)), placed.note
                continue
            outcomes[partition] = placed
            stand_in = placed.kind is OutcomeKind.WAITING and _stand_in(partition, seen.earlier.get(partition), place)
            if stand_in:
                wanted[partition] = stand_in, ""
                outcomes[partition] = Outcome(
                    OutcomeKind.WAITING, f"{offset} is ahead of the copy; {stand_in.offset} stands in"
                )
    return wanted, outcomes


def _ahead(partition: TopicPartition, outcome: Outcome, source: GroupOffsets | None) -> Committed | None:
    committed = None if source is None else source.partitions.get(partition)
    is_told = committed is not None and not committed.error
    return committed if is_told and outcome.kind is OutcomeKind.WAITING else None


def _stand_in(partition: TopicPartition, earlier: Sequence[Committed] | None, place: Place) -> Value | None:
    """The last commit before that is copied: who reads at the very end is ahead of the copy at every look.

    Where not even the lowest of them is copied, as while history is, none is.
    """
    if not earlier or not isinstance(place(partition, min(each.offset for each in earlier)), Placed):
        return None
    for committed in reversed(earlier):
        placed = place(partition, committed.offset)
        if isinstance(placed, Placed):
            return None if placed.note else Value(placed.offset, committed.metadata)
    return None


def _used_by_others(record: GroupRecord, seen: Seen, wanted: Mapping[TopicPartition, tuple[Value, str]]) -> str:
    """Why the group counts as used on the target; empty if nothing says so."""
    if seen.state not in EMPTY_STATES:
        return f"it has members on the target (state {seen.state})"
    if seen.is_ours:
        return ""
    for partition, committed in seen.target.partitions.items():
        if committed.error == ErrorCode.UNSTABLE_OFFSET_COMMIT:
            return f"a transaction on the target commits for it ({partition})"
        if committed.offset < 0 or committed.error:
            continue
        ours = record.written.get(partition)
        if ours is None:
            expected = wanted.get(partition)
            if expected is None or not holds(committed, expected[0]):
                return f"{partition} has the commit {Value.of(committed)} on the target, and none of ours is known here"
        elif not holds(committed, ours.now) and (ours.before is None or not holds(committed, ours.before)):
            return f"{partition} has the commit {Value.of(committed)} on the target; ours was {ours.now}"
    return ""


def _adopt(record: GroupRecord, target: GroupOffsets) -> GroupRecord:
    """What is there when a latch was released may be overwritten as if it were ours."""
    there = {tp: each for tp, each in target.partitions.items() if each.offset >= 0 and not each.error}
    return replace(record, released=False, written={tp: Written(Value.of(each)) for tp, each in there.items()})


def _moved(record: GroupRecord, seen: Seen) -> Decision:
    assert record.moved is not None
    outcome = Outcome(OutcomeKind.MOVED, record.moved.reason)
    source: Mapping[TopicPartition, Committed] = {} if seen.source is None else seen.source.partitions
    partitions = dict.fromkeys(tp for tp, each in source.items() if each.offset >= 0)
    partitions |= dict.fromkeys(tp for tp, each in seen.target.partitions.items() if each.offset >= 0)
    return Decision(record, {}, dict.fromkeys(partitions, outcome))
