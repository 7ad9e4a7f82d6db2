"""Makes the groups document out of what a round saw and what is copied.  (no I/O)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from kmigrate.groups.decide import EMPTY_STATES
from kmigrate.groups.pace import Pace
from kmigrate.groups.select import SelectedGroups
from kmigrate.groups.sync import Picture
from kmigrate.groups.values import SYNCED, Copied, Outcome, OutcomeKind
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.runner.groups_document import (
    GroupLag,
    GroupPartition,
    GroupsDocument,
    GroupSide,
    GroupsSummary,
    GroupStatus,
    LeftOutGroup,
    MemberStatus,
)
from kmigrate.runner.on_demand import OnDemand
from kmigrate.wire.group_calls import Committed
from kmigrate.wire.offset_calls import DescribedGroup

NO_COMMITS = Outcome(OutcomeKind.SKIPPED, "it has committed nothing")
ABSENT = "absent"
"""Our word for the state of a group that a cluster does not have; Kafka calls it Dead."""
NOT_READ_YET = Outcome(OutcomeKind.WAITING, "not looked at yet")
_EMPTY, _DEAD = "Empty", "Dead"
_WORST = (OutcomeKind.FAILED, OutcomeKind.WAITING, OutcomeKind.SYNCED, OutcomeKind.SKIPPED)

Described = Mapping[str, DescribedGroup]


class Span(NamedTuple):
    """Where a partition begins and ends on the source, and how far it is copied: there, and where that is here."""

    source_start: Offset
    source_end: Offset
    position: Offset
    target_end: Offset


Spans = Mapping[TopicPartition, Span | None]


class Measured(NamedTuple):
    """The sum of a group's commits on the source, and of what is left; None: nobody can tell."""

    committed: int
    source_lag: int | None
    target_lag: int | None
    offset_gap: int | None


def outcome_of(picture: Picture) -> Outcome:
    """A group's outcome: that of the partition that stands worst, and how many others stand so."""
    if picture.record.moved is not None:
        return Outcome(OutcomeKind.MOVED, picture.record.moved.reason)
    if picture.trouble is not None:
        return picture.trouble
    if picture.source is None and picture.listed is not None:
        return NOT_READ_YET
    if not picture.outcomes:
        return NO_COMMITS
    if are_synced(picture.outcomes):
        return SYNCED
    for kind in _WORST:
        found = [(tp, each.reason) for tp, each in picture.outcomes.items() if each.kind is kind]
        if found:
            partition, reason = min(found)
            if kind is OutcomeKind.SYNCED and not reason:
                return Outcome(kind, "")
            more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
            return Outcome(kind, f"{partition}: {reason}{more}")
    return NO_COMMITS


def are_synced(outcomes: Mapping[TopicPartition, Outcome]) -> bool:
    """Whether all are the exact translation, with nothing to be said about them: as almost always."""
    return [*outcomes.values()].count(SYNCED) == len(outcomes)


def summarize(
    pictures: Mapping[str, Picture],
    selected: SelectedGroups,
    *,
    rounds: int,
    round_seconds: float,
    trouble: str,
    measured: Mapping[str, Measured] = MappingProxyType({}),
) -> GroupsSummary:
    """The counts that `status` shows."""
    kinds = Counter(outcome_of(picture).kind for picture in pictures.values())
    partitions = Counter(
        outcome.kind
        for picture in pictures.values()
        if picture.record.moved is None and not are_synced(picture.outcomes)
        for outcome in picture.outcomes.values()
    )
    return GroupsSummary(
        groups=len(pictures),
        synced=kinds[OutcomeKind.SYNCED],
        waiting=kinds[OutcomeKind.WAITING],
        moved=kinds[OutcomeKind.MOVED],
        skipped=kinds[OutcomeKind.SKIPPED],
        failed=kinds[OutcomeKind.FAILED],
        partitions=sum(len(picture.outcomes) for picture in pictures.values()),
        differences=partitions[OutcomeKind.WAITING] + partitions[OutcomeKind.FAILED],
        unsupported=_left_out(selected.unsupported),
        rounds=rounds,
        round_seconds=round(round_seconds, 3),
        trouble=trouble,
        lags=tuple(
            GroupLag(group=group, source_lag=each.source_lag, target_lag=each.target_lag, offset_gap=each.offset_gap)
            for group, each in sorted(measured.items())
        ),
    )


def spans_of(copied: Mapping[TopicPartition, Copied]) -> Spans:
    """What can be read of every partition; None where that is not known."""
    return OnDemand(copied, span_of)


def span_of(copied: Copied) -> Span | None:
    """What can be read of a partition; None if that is not known."""
    _, ends, start, end, _ = copied
    return Span(start, end, ends.source, ends.target) if end >= 0 else None


def measure(picture: Picture, spans: Spans) -> Measured:
    """What a group has committed and has left to read: the sums of what `show_group` shows of its partitions."""
    committed = source_lag = target_lag = gap = 0
    source_known = target_known = gap_known = 0
    theirs = {} if picture.source is None else picture.source.partitions
    for partition, (_error, offset, _epoch, _metadata) in theirs.items():
        span = spans.get(partition)
        if span is not None and offset >= 0:
            start, end, _, _ = span
            source_known += 1
            committed += offset
            next_read = offset if offset > start else start
            if end > next_read:
                source_lag += end - next_read
    for partition, (_error, offset, _epoch, _metadata) in picture.target.partitions.items():
        span = spans.get(partition)
        if span is not None and offset >= 0:
            target_known += 1
            if span[3] > offset:
                target_lag += span[3] - offset
    if are_synced(picture.outcomes):
        gap_known = min(source_known, target_known)
    else:
        gaps = [_gap(partition, picture, span) for partition in theirs if (span := spans.get(partition)) is not None]
        known = [each for each in gaps if each is not None]
        gap, gap_known = sum(known), len(known)
    return Measured(
        committed,
        source_lag if source_known or not theirs else None,
        target_lag if target_known or not picture.target.partitions else None,
        gap if gap_known else None,
    )


def _gap(partition: TopicPartition, picture: Picture, span: Span) -> int | None:
    """How much more is left from the commit on the target than from that on the source; None if one is missing."""
    source = _offset(picture.source.partitions.get(partition)) if picture.source is not None else None
    target = _offset(picture.target.partitions.get(partition))
    if source is None or target is None:
        return None
    kind = picture.outcomes.get(partition, NOT_READ_YET).kind
    if kind is OutcomeKind.SYNCED:
        return 0
    left = max(0, span.source_end - max(source, span.source_start))
    return max(0, span.target_end - target) + span.source_end - span.position - left


def source_lag(offset: int, copied: Copied) -> int:
    """What can still be read on the source from there."""
    return max(0, copied.source_end - max(offset, copied.source_start))


def show_group(
    picture: Picture,
    copied: Mapping[TopicPartition, Copied],
    pace: Pace,
    members: Mapping[str, Described],
    ages: Mapping[tuple[TopicPartition, Offset], float],
) -> GroupStatus:
    """One group; `members` are those asked of each side by its name, `ages` how old what lies at an offset is."""
    partitions = tuple(
        _show_partition(partition, picture, copied.get(partition)) for partition in sorted(_partitions(picture))
    )
    kind, reason = outcome_of(picture)
    lags = [each.source_lag for each in partitions if each.source_offset is not None]
    target_lags = [each.target_lag for each in partitions if each.target_offset is not None]
    listed_state = picture.listed.state if picture.listed is not None else ""
    described = {side: found.get(picture.group) for side, found in members.items()}
    known_lag = _sum(lags)
    source = GroupSide(
        state=_state(described.get("source"), listed_state, lags),
        lag_records=known_lag,
        lag_seconds=0.0 if known_lag == 0 else _oldest(partitions, ages),
        members=_members(described.get("source"), "source" in members),
    )
    target = GroupSide(
        state=_state(described.get("target"), picture.target_state, target_lags),
        lag_records=_sum(target_lags),
        members=_members(described.get("target"), "target" in members),
    )
    is_safe, safe_reason = decide_safe(kind, reason, picture, source)
    moved = picture.record.moved
    return GroupStatus(
        group=picture.group,
        group_type=_type(picture),
        source=source,
        target=target,
        outcome=kind,
        reason=reason,
        safe_to_move=is_safe,
        safe_reason=safe_reason,
        moved_at=None if moved is None else moved.at_ms,
        records_per_second=pace.records_per_second,
        eta_seconds=pace.eta_seconds,
        partitions=partitions,
    )


def decide_safe(kind: OutcomeKind, reason: str, picture: Picture, source: GroupSide) -> tuple[bool, str]:
    """Whether a group can be started on the target now, and why not."""
    if kind is OutcomeKind.MOVED:
        return False, "it has moved already"
    if picture.listed is None:
        return False, "it does not exist on the source any more"
    if kind is not OutcomeKind.SYNCED:
        return False, reason
    not_synced = [tp for tp, each in picture.outcomes.items() if each.kind is not OutcomeKind.SYNCED]
    if not_synced:
        return False, f"{min(not_synced)}: {picture.outcomes[min(not_synced)].reason}"
    if source.state not in EMPTY_STATES | {ABSENT}:
        return False, "stop its members on the source first; nothing else is missing"
    return True, ""


def show_document(
    name: str,
    groups: Sequence[GroupStatus],
    summary: GroupsSummary,
    selected: SelectedGroups,
    *,
    at_ms: int,
) -> GroupsDocument:
    """The whole document."""
    return GroupsDocument(
        name=name,
        updated_at=at_ms,
        summary=summary,
        groups=tuple(sorted(groups, key=lambda each: each.group)),
        left_out=_left_out(selected.left_out),
    )


def _partitions(picture: Picture) -> set[TopicPartition]:
    found = set(picture.outcomes)
    for side in (picture.source, picture.target):
        found |= {tp for tp, each in side.partitions.items() if each.offset >= 0} if side is not None else set()
    return found


def _show_partition(partition: TopicPartition, picture: Picture, copied: Copied | None) -> GroupPartition:
    source = _offset(picture.source.partitions.get(partition) if picture.source is not None else None)
    target = _offset(picture.target.partitions.get(partition))
    kind, reason = picture.outcomes.get(partition, NOT_READ_YET)
    source_left = target_left = gap = None
    span = None if copied is None else span_of(copied)
    if copied is not None and span is not None:
        source_left = None if source is None else source_lag(source, copied)
        target_left = None if target is None else max(0, copied.ends.target - target)
        gap = _gap(partition, picture, span)
    return GroupPartition(
        topic=partition.topic,
        partition=partition.partition,
        outcome=kind,
        reason=reason,
        source_offset=source,
        target_offset=target,
        source_lag=source_left,
        target_lag=target_left,
        offset_gap=gap,
    )


def _offset(committed: Committed | None) -> Offset | None:
    return None if committed is None or committed.offset < 0 else committed.offset


def _sum(lags: Sequence[int | None]) -> int | None:
    known = [lag for lag in lags if lag is not None]
    return sum(known) if known or not lags else None


def _oldest(partitions: Sequence[GroupPartition], ages: Mapping[tuple[TopicPartition, Offset], float]) -> float | None:
    """How old the oldest is that is still to be read; None where that is not known of every partition."""
    behind = [each for each in partitions if each.source_offset is not None and each.source_lag != 0]
    known = [age for each in behind if (age := ages.get(_at(each))) is not None]
    return max(known) if known and len(known) == len(behind) else None


def _at(each: GroupPartition) -> tuple[TopicPartition, Offset]:
    return TopicPartition(TopicName(each.topic), Partition(each.partition)), Offset(each.source_offset or 0)


def lagging(
    pictures: Iterable[Picture], copied: Mapping[TopicPartition, Copied]
) -> dict[tuple[TopicPartition, Offset], int]:
    """Where groups read next on the source, with what is left to be read from there."""
    found = {}
    for picture in pictures:
        for partition, each in picture.source.partitions.items() if picture.source is not None else ():
            known = copied.get(partition)
            if each.offset >= 0 and known is not None and (lag := source_lag(each.offset, known)) > 0:
                found[partition, each.offset] = lag
    return found


def _state(described: DescribedGroup | None, listed: str, commits: Sequence[object]) -> str:
    """Kafka's word; a group that was not there when it was looked at is Empty if it has commits by now, else absent."""
    state = described.state if described is not None and not described.error and described.state else listed
    if state not in ("", _DEAD):
        return state
    return _EMPTY if commits else ABSENT


def _members(described: DescribedGroup | None, are_asked: bool) -> tuple[MemberStatus, ...] | None:
    if not are_asked:
        return None
    found = () if described is None else described.members
    return tuple(MemberStatus(client_id=m.client_id, host=m.host, instance_id=m.instance_id) for m in found)


def _type(picture: Picture) -> str:
    if picture.listed is None:
        return "unknown"
    return picture.listed.group_type or "classic"


def _left_out(reasons: Mapping[str, str]) -> tuple[LeftOutGroup, ...]:
    return tuple(LeftOutGroup(group=group, reason=reason) for group, reason in sorted(reasons.items()))
