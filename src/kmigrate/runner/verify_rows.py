"""What of a partition is to be read, and what is known of it afterwards: decided from values alone.

A verification is added to what was verified before: from where that ends, and only if it was of the same topics (by
their ids), in the same offset class. A digest goes on from the last stretch that was whole. What had differed is read
again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kmigrate.kafka_types import Offset, TopicId, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap
from kmigrate.records.record import RawRecord
from kmigrate.runner.verification import (
    FirstDifference,
    LogRange,
    PartitionVerification,
    RecordShape,
    UnequalBucket,
    Verdict,
)
from kmigrate.runner.verify_partition import Mode, Outcome, Task
from kmigrate.verify.differences import WORDS, Difference, differing_fields, shape_of, take_apart
from kmigrate.verify.digest import NOTHING
from kmigrate.verify.ends import LogEnds, compare_ends
from kmigrate.verify.places import Places

MOST_UNEQUAL_BUCKETS = 20
"""Shown and kept of one partition."""
_SHOWN_BYTES = 256
"""Of a key, a value or a header, where contents are shown."""
_SHOWN_HEADERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What the migration knows of a partition: its class, its whole offset map, and how far it is copied.

    `begins` is where the wanted part of the source begins, as it was last told. Where the topic is `handed_over`, what
    lies behind `ends` on the target is applications', and its own retention deletes from its beginning.
    """

    offset_class: OffsetClass
    runs: OffsetMap
    ends: Ends
    begins: int
    handed_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What both clusters say of a partition, and what was asked for.

    `compacted` and `target_cleans`: the source, or the target, compacts the topic now.
    """

    partition: TopicPartition
    target: TopicPartition
    source_id: TopicId
    target_id: TopicId
    source_ends: LogEnds
    target_ends: LogEnds
    compacted: bool
    target_cleans: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a verification: `again` reads also what was verified before, `digest` makes digests."""

    mode: Mode
    again: bool = False
    digest: bool = False
    show_contents: bool = False


def unknown(
    partition: TopicPartition, mode: Mode, reason: str, hint: str = "", target_topic: str | None = None
) -> PartitionVerification:
    """A partition that could not be compared."""
    return PartitionVerification(
        topic=partition.topic,
        partition=partition.partition,
        target_topic=partition.topic if target_topic is None else target_topic,
        mode=mode,
        verdict=Verdict.UNKNOWN,
        reason=reason,
        hint=hint,
    )


def ends_now(copied: Copied, target: LogEnds) -> Ends:
    """How far the copy had come when the target was looked at; where only a map tells, not beyond what it tells."""
    end = Offset(target.high_watermark)
    if copied.handed_over and end >= copied.ends.target:
        return copied.ends
    if not copied.offset_class.needs_map:
        return Ends(end, end)
    if end >= copied.ends.target:
        return copied.ends
    source = copied.runs.to_source(end, copied.ends)
    return copied.ends if source is None else Ends(source, end)


def _beginning(copied: Copied, target: LogEnds) -> int:
    """Where the target's log starts, as an offset of the source; 0 where nothing tells."""
    if not copied.offset_class.needs_map:
        return min(target.start, copied.ends.source)
    return copied.runs.to_source(Offset(min(target.start, copied.ends.target)), copied.ends) or 0


def decide(
    copied: Copied, sight: Sight, wish: Wish, before: PartitionVerification | None
) -> tuple[PartitionVerification, Task | None]:
    """What is known without reading a record, and what is to be read beside that; None: nothing.

    `before` is what an earlier verification of this mode found.
    """
    ends = ends_now(copied, sight.target_ends)
    places = Places(copied.offset_class, copied.runs, ends)
    begins = max(copied.begins, sight.source_ends.start)
    if copied.handed_over:
        begins = max(begins, _beginning(copied, sight.target_ends))
    verdict = compare_ends(sight.source_ends, sight.target_ends, places, begins)
    row = PartitionVerification(
        topic=sight.partition.topic,
        partition=sight.partition.partition,
        target_topic=sight.target.topic,
        mode=wish.mode,
        verdict=Verdict.EQUAL,
        offset_class=copied.offset_class,
        source_topic_id=sight.source_id,
        target_topic_id=sight.target_id,
        source=LogRange(start=sight.source_ends.start, end=sight.source_ends.last_stable),
        target=LogRange(start=sight.target_ends.start, end=sight.target_ends.high_watermark),
        behind=verdict.behind,
        position=ends.source,
    )
    if wish.mode is Mode.ENDS:
        end = max(begins, min(ends.source, sight.source_ends.last_stable))
        return with_difference(replace(row, start=begins, end=end, fresh_from=begins), verdict.difference, places), None
    row = _continue(row, before if before is not None and _still_counts(row, before) and not wish.again else None)
    end = max(begins, min(ends.source, sight.source_ends.last_stable))
    start = max(begins, row.end if row.end is not None else begins)
    fold: bytes | None = None
    if wish.digest and wish.mode is Mode.RECORDS:
        start, fold = _digest_start(row, begins)
        row = replace(row, digest_start=begins if fold == NOTHING else row.digest_start)
    row = replace(
        row, start=begins if row.start is None else max(begins, row.start), end=max(start, begins), fresh_from=start
    )
    if verdict.difference is not None:
        row = with_difference(row, verdict.difference, places)
    if start >= end:
        return row, None
    return row, Task(
        partition=sight.partition,
        target=sight.target,
        source_id=sight.source_id,
        target_id=sight.target_id,
        mode=wish.mode,
        offset_class=copied.offset_class,
        runs=copied.runs.to_bytes() if copied.offset_class.needs_map else b"",
        ends=ends,
        start=start,
        end=end,
        beyond=sight.source_ends.last_stable,
        compacted=sight.compacted,
        target_cleans=sight.target_cleans,
        fold=fold,
    )


def complete(
    row: PartitionVerification, task: Task, outcome: Outcome, wish: Wish, now_ms: int
) -> PartitionVerification:
    """What is known of a partition after its task."""
    runs = OffsetMap()
    runs.extend(task.runs)
    places = Places(task.offset_class, runs, task.ends)
    unequal = [
        each for each in outcome.buckets if each.source != each.target and not _cleaned(task, each.source, each.target)
    ]
    row = replace(
        row,
        end=outcome.compared_to,
        verified_at=now_ms,
        records=outcome.amounts.records,
        source_bytes=outcome.amounts.source_bytes,
        target_bytes=outcome.amounts.target_bytes,
        taken_apart=outcome.amounts.taken_apart,
        excused=outcome.excused,
        second_readings=outcome.second_readings,
        trimmed_to=outcome.trimmed_to,
        bucket_ms=outcome.bucket_ms or None,
        buckets=len(outcome.buckets),
        unequal_buckets=tuple(
            UnequalBucket(start=each.start_ms, source=each.source, target=each.target)
            for each in unequal[:MOST_UNEQUAL_BUCKETS]
        ),
    )
    if outcome.digest is not None and outcome.settled is not None:
        whole = not outcome.failure and outcome.difference is None and outcome.trimmed_to is None
        settled, fold = outcome.settled
        row = replace(
            row,
            digest=outcome.digest.hex() if whole else None,
            digest_end=outcome.compared_to if whole else None,
            settled=(max(settled, task.start), fold.hex()) if whole else None,
        )
    found = with_difference(row, outcome.difference, places, wish.show_contents)
    if found.verdict is Verdict.EQUAL and unequal:
        words = f"{len(unequal)} of {len(outcome.buckets)} stretches of time have not as many records on both sides"
        return replace(found, verdict=Verdict.DIFFERENT, end=task.start, reason=words, hint=HOW_TO_FIND)
    if found.verdict is Verdict.EQUAL and outcome.failure:
        return replace(found, verdict=Verdict.UNKNOWN, reason=outcome.failure, hint=outcome.hint)
    return found


HOW_TO_FIND = "`kmigrate verify -f FILE --mode records` names the first offset that differs"


def _cleaned(task: Task, source: int, target: int) -> bool:
    """Whether a cleaner may have taken records of one side only: then counts say little."""
    return task.compacted and (source < target or task.target_cleans)


def with_difference(
    row: PartitionVerification, found: Difference | None, places: Places, show_contents: bool = False
) -> PartitionVerification:
    """The row with a difference; one that was found at a lower offset stays."""
    if found is None or (row.difference is not None and row.difference.source_offset <= found.offset):
        return row
    fields = differing_fields(found.source, found.target) if found.source and found.target else ()
    difference = FirstDifference(
        kind=found.kind,
        source_offset=found.offset,
        target_offset=places.target_of(found.offset),
        words=WORDS[found.kind] + (f": {found.note}" if found.note else ""),
        fields=fields,
        source=shape_shown(found.source, show_contents),
        target=shape_shown(found.target, show_contents),
    )
    return replace(row, verdict=Verdict.DIFFERENT, difference=difference)


def _still_counts(row: PartitionVerification, before: PartitionVerification) -> bool:
    """Whether what was verified before was of these topics, in this class."""
    return (
        before.source_topic_id == row.source_topic_id
        and before.target_topic_id == row.target_topic_id
        and before.target_topic == row.target_topic
        and before.offset_class == row.offset_class
        and before.start is not None
        and before.end is not None
    )


def _continue(row: PartitionVerification, before: PartitionVerification | None) -> PartitionVerification:
    if before is None:
        return row
    return replace(
        row,
        start=before.start,
        end=before.end,
        verified_at=before.verified_at,
        digest=before.digest,
        digest_start=before.digest_start,
        digest_end=before.digest_end,
        settled=before.settled,
    )


def _digest_start(row: PartitionVerification, begins: int) -> tuple[int, bytes]:
    """Where the digest goes on, and what it is up to there; anew where the source has lost what it would go on from."""
    if row.settled is not None and row.digest is not None and row.settled[0] >= begins:
        return row.settled[0], bytes.fromhex(row.settled[1])
    return begins, NOTHING


def shape_shown(record: RawRecord | None, show_contents: bool) -> RecordShape | None:
    shape = None if record is None else shape_of(record)
    if record is None or shape is None:
        return None
    return RecordShape(
        timestamp=shape.timestamp_ms,
        key_bytes=None if shape.key_bytes < 0 else shape.key_bytes,
        value_bytes=None if shape.value_bytes < 0 else shape.value_bytes,
        headers=shape.headers,
        headers_bytes=shape.headers_bytes,
        contents=_contents(record) if show_contents else None,
    )


def _contents(record: RawRecord) -> str:
    key, value, headers = take_apart(record)
    shown = [f"key {_text(key)}", f"value {_text(value)}"]
    shown += [f"header {_text(name)} {_text(content)}" for name, content in headers[:_SHOWN_HEADERS]]
    return ", ".join(shown)


def _text(content: bytes | None) -> str:
    """As Python writes bytes, so that nothing in it can steer a terminal."""
    if content is None:
        return "null"
    more = f" … ({len(content):,} bytes)" if len(content) > _SHOWN_BYTES else ""
    return repr(content[:_SHOWN_BYTES])[1:] + more
