"""What may surprise about a plan that can be carried out, each with the number of partitions it concerns.  (pure)"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmigrate.kafka_types import TopicPartition
from kmigrate.manifest import OffsetsClass
from kmigrate.plan.classes import ClassDecision, needs
from kmigrate.plan.estimates import is_exact
from kmigrate.plan.facts import Facts, PartitionFacts, Right, TargetContent
from kmigrate.words import count_of

_SHOWN = 3


class NoticeKind(enum.Enum):
    """What a notice is about; scripts go by it."""

    CLASS_TO_BE_SET = "CLASS_TO_BE_SET"
    START_OPEN = "START_OPEN"
    MARKERS_CARRY_COPY_TIME = "MARKERS_CARRY_COPY_TIME"
    TOMBSTONES_MAY_BE_LOST = "TOMBSTONES_MAY_BE_LOST"
    GAP_LOST = "GAP_LOST"
    OPEN_TRANSACTION = "OPEN_TRANSACTION"
    RIGHT_MISSING = "RIGHT_MISSING"
    RIGHT_UNKNOWN = "RIGHT_UNKNOWN"
    NOT_LOOKED_AT = "NOT_LOOKED_AT"
    ESTIMATED = "ESTIMATED"
    CHECK = "CHECK"
    """A warning of the checks that `run` or `check` make too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One sentence, and how many partitions it is about (0: none in particular)."""

    kind: NoticeKind
    text: str
    partitions: int = 0


Decisions = Mapping[TopicPartition, ClassDecision]


def list_notices(facts: Facts, decisions: Decisions, seconds: float | None) -> tuple[Notice, ...]:
    """Everything worth knowing beforehand; `seconds` is the predicted time of the whole copy (None: not known)."""
    found = (
        _class_to_be_set(decisions),
        _start_open(facts),
        _markers_carry_copy_time(decisions),
        _tombstones(facts, decisions, seconds),
        _gap_lost(facts),
        _open_transactions(facts),
        _right_missing(facts, decisions),
        _markers_unknown(facts, decisions),
        _deletion_unknown(facts, decisions),
        _not_looked_at(decisions),
        _not_sampled(facts),
        _estimated(facts, decisions),
    )
    return tuple(notice for notice in found if notice is not None)


def _class_to_be_set(decisions: Decisions) -> Notice | None:
    """`run` looks for itself only at the budgets for filler; for every other class it stops and asks."""
    others = [tp for tp, each in decisions.items() if each.chosen and each.offset_class is not OffsetsClass.IDENTICAL]
    text = "write the class of {} into spec.offsets.topics: `run` begins as identical, and asks where it cannot stay so"
    return _about(NoticeKind.CLASS_TO_BE_SET, others, text)


def _start_open(facts: Facts) -> Notice | None:
    """Of partitions that the target knows nothing of, once the migration has begun."""
    text = (
        f"{{}} begin at {facts.start}, as shown, if the source had them when the migration began; what turned up since"
        " is copied from its beginning"
    )
    return _about(NoticeKind.START_OPEN, sorted(facts.start_open), text)


def _markers_carry_copy_time(decisions: Decisions) -> Notice | None:
    marked = [tp for tp, each in decisions.items() if each.markers]
    text = (
        "markers in {} carry the time of copying: look-ups by time may answer too early there, and retention by time"
        " begins anew"
    )
    return _about(NoticeKind.MARKERS_CARRY_COPY_TIME, marked, text)


def _tombstones(facts: Facts, decisions: Decisions, seconds: float | None) -> Notice | None:
    if seconds is None:
        return None
    late = [
        each.partition
        for each in facts.partitions
        if decisions[each.partition].offset_class is not None
        and each.backlog
        and (topic := facts.topic_of(each)).compacted
        and topic.delete_retention_ms is not None
        and seconds * 1000 > topic.delete_retention_ms
    ]
    text = (
        "the copy is predicted to take longer than delete.retention.ms of {}: tombstones may go before they are copied,"
        " and deleted keys rise from the dead; raise it on the source for the time of copying"
    )
    return _about(NoticeKind.TOMBSTONES_MAY_BE_LOST, late, text)


def _gap_lost(facts: Facts) -> Notice | None:
    lost = [
        each.partition
        for each in facts.partitions
        if each.target.content is TargetContent.OURS and not each.unseen and each.start > each.target.end
    ]
    text = "the source dropped records of {} before they were copied: that stops as GAP_LOST"
    return _about(NoticeKind.GAP_LOST, lost, text)


def _open_transactions(facts: Facts) -> Notice | None:
    held = [each.partition for each in facts.partitions if each.last_stable < each.high_watermark]
    text = "a transaction is open in {}: what follows the last stable offset is copied when it ends"
    return _about(NoticeKind.OPEN_TRANSACTION, held, text)


def _right_missing(facts: Facts, decisions: Decisions) -> Notice | None:
    """Where a partition was begun its class stays, so a missing right is not found by the choice of class."""
    if facts.may_write_markers is not Right.DENIED:
        return None
    begun = [
        each.partition
        for each in _identical(facts, decisions)
        if each.target.content is TargetContent.OURS and needs(each, facts).gaps
    ]
    text = (
        "the right to write markers is missing, and gaps must be expected in {}, begun as identical: that stops there"
    )
    return _about(NoticeKind.RIGHT_MISSING, begun, text)


def _markers_unknown(facts: Facts, decisions: Decisions) -> Notice | None:
    if facts.may_write_markers is not Right.UNKNOWN:
        return None
    marked = [each.partition for each in _identical(facts, decisions) if needs(each, facts).gaps]
    text = "gaps must be expected in {}, and the target does not tell whether we may write markers: taken as allowed"
    return _about(NoticeKind.RIGHT_UNKNOWN, marked, text)


def _deletion_unknown(facts: Facts, decisions: Decisions) -> Notice | None:
    filled = [
        each.partition
        for each in _identical(facts, decisions)
        if each.filler and each.target.may_delete is Right.UNKNOWN
    ]
    text = (
        "filler in {} is deleted afterwards, and the target does not tell whether we may (of a topic that does not"
        " exist yet it cannot): taken as allowed"
    )
    return _about(NoticeKind.RIGHT_UNKNOWN, filled, text)


def _not_looked_at(decisions: Decisions) -> Notice | None:
    unseen = {tp: each.reason for tp, each in decisions.items() if each.offset_class is None}
    first = next(iter(unseen.values()), "")
    return _about(NoticeKind.NOT_LOOKED_AT, list(unseen), "no class can be told of {}: " + first)


def _not_sampled(facts: Facts) -> Notice | None:
    failed = sorted(facts.sampling.failures)
    first = facts.sampling.failures[failed[0]] if failed else ""
    return _about(NoticeKind.NOT_LOOKED_AT, failed, "no samples could be taken of {}: " + first)


def _estimated(facts: Facts, decisions: Decisions) -> Notice | None:
    """How much of what the numbers rest on was seen."""
    backlog = [each for each in facts.partitions if each.backlog and decisions[each.partition].offset_class is not None]
    inexact = [each for each in backlog if not is_exact(each)]
    if not inexact:
        return None
    seen = sum(each.census.offsets for each in inexact if each.census is not None)
    total = sum(each.backlog for each in inexact)
    sampling = facts.sampling
    text = (
        f"markers of {count_of(len(inexact), 'partition')} are estimated from samples: {seen:,} of {total:,} offsets"
        f" were looked at, in up to {count_of(sampling.places, 'place')} each"
    )
    if sampling.partitions_skipped:
        text += f"; {count_of(sampling.partitions_skipped, 'partition')} not at all, to keep it short"
    if sampling.places_left_out:
        text += f"; {count_of(sampling.places_left_out, 'place')} left out, to keep it short"
    return Notice(kind=NoticeKind.ESTIMATED, text=text, partitions=len(inexact))


def _identical(facts: Facts, decisions: Decisions) -> Iterable[PartitionFacts]:
    return (each for each in facts.partitions if decisions[each.partition].offset_class is OffsetsClass.IDENTICAL)


def _about(kind: NoticeKind, partitions: list[TopicPartition], text: str) -> Notice | None:
    """The notice with `3 partitions (a-0, a-1, b-0)` in the place of `{}`, of many the first few; None of none."""
    if not partitions:
        return None
    shown = ", ".join(map(str, partitions[:_SHOWN])) + (", …" if len(partitions) > _SHOWN else "")
    before, _, behind = text.partition("{}")
    named = f"{before}{count_of(len(partitions), 'partition')} ({shown}){behind}"
    return Notice(kind=kind, text=named, partitions=len(partitions))
