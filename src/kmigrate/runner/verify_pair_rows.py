"""What is known of a partition whose copy another tool made: decided from values alone.

Offsets differ there, so nothing is told by where logs end but how many offsets each holds; and a copy that is behind is
no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kmigrate.kafka_types import TopicId, TopicPartition
from kmigrate.runner.verification import (
    FirstDifference,
    LogRange,
    PartitionVerification,
    UnequalBucket,
    Verdict,
)
from kmigrate.runner.verify_pair import PairOutcome, PairTask
from kmigrate.runner.verify_partition import Mode
from kmigrate.runner.verify_rows import HOW_TO_FIND, MOST_UNEQUAL_BUCKETS, shape_shown
from kmigrate.verify.buckets import Bucket
from kmigrate.verify.differences import WORDS, DifferenceKind, differing_fields
from kmigrate.verify.ends import LogEnds
from kmigrate.verify.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSight:
    """What both clusters say of a partition and of its copy; `compacted`: the topic is, on either side."""

    partition: TopicPartition
    target: TopicPartition
    source_id: TopicId
    target_id: TopicId
    source_ends: LogEnds
    target_ends: LogEnds
    compacted: bool


def decide_pair(sight: PairSight, mode: Mode) -> tuple[PartitionVerification, PairTask | None]:
    """What is known without reading a record, and what is to be read; None: nothing."""
    source = LogRange(start=sight.source_ends.start, end=sight.source_ends.last_stable)
    target = LogRange(start=sight.target_ends.start, end=sight.target_ends.last_stable)
    more = (target.end - target.start) - (source.end - source.start)
    row = PartitionVerification(
        topic=sight.partition.topic,
        partition=sight.partition.partition,
        target_topic=sight.target.topic,
        mode=mode,
        verdict=Verdict.EQUAL,
        source_topic_id=sight.source_id,
        target_topic_id=sight.target_id,
        source=source,
        target=target,
        behind=max(0, -more),
        start=source.start,
        end=source.start,
        fresh_from=source.start,
    )
    if mode is Mode.ENDS:
        if more > 0 and not sight.compacted:
            words = (
                f"the target holds {more:,} offsets more than the source: records, markers, or what the source deleted"
            )
            return replace(row, verdict=Verdict.UNKNOWN, reason=words, hint=_COUNT_THEM), None
        return row, None
    if target.start >= target.end and source.start >= source.end:
        return row, None
    return row, PairTask(
        partition=sight.partition,
        target=sight.target,
        source_id=sight.source_id,
        target_id=sight.target_id,
        mode=mode,
        start=source.start,
        end=source.end,
        target_start=target.start,
        target_end=target.end,
        start_is_cut=source.start > 0,
        compacted=sight.compacted,
    )


def complete_pair(
    row: PartitionVerification, task: PairTask, outcome: PairOutcome, *, show_contents: bool, now_ms: int
) -> PartitionVerification:
    """What is known of a partition after its task."""
    unequal = [each for each in outcome.buckets if _is_unequal(each, outcome.buckets, task)]
    differences = tuple(_difference(each, show_contents) for each in outcome.findings)
    row = replace(
        row,
        end=outcome.compared_to,
        behind=max(0, task.end - outcome.compared_to) if task.mode is Mode.RECORDS else row.behind,
        verified_at=now_ms,
        records=outcome.amounts.records,
        source_bytes=outcome.amounts.source_bytes,
        target_bytes=outcome.amounts.target_bytes,
        taken_apart=outcome.amounts.taken_apart,
        excused=outcome.excused,
        bucket_ms=outcome.bucket_ms or None,
        buckets=len(outcome.buckets),
        unequal_buckets=tuple(
            UnequalBucket(start=each.start_ms, source=each.source, target=each.target)
            for each in unequal[:MOST_UNEQUAL_BUCKETS]
        ),
        difference=differences[0] if differences else None,
        differences=differences,
        different_records={kind.value: count for kind, count in outcome.counts.items()},
    )
    if differences or outcome.counts:  # the first ones may have been excused since: then none is shown
        return replace(row, verdict=Verdict.DIFFERENT, reason=_how_many(outcome.counts))
    if unequal:
        words = f"{len(unequal)} of {len(outcome.buckets)} stretches of time have not as many records on both sides"
        return replace(row, verdict=Verdict.DIFFERENT, reason=words, hint=HOW_TO_FIND)
    if outcome.failure:
        return replace(row, verdict=Verdict.UNKNOWN, reason=outcome.failure, hint=outcome.hint)
    return row


_COUNT_THEM = "`kmigrate verify -f FILE --mode counts` counts records"


def _is_unequal(bucket: Bucket, buckets: tuple[Bucket, ...], task: PairTask) -> bool:
    """Whether this stretch of time says that something differs.

    Not where the target has less in the newest stretch that it has, or later: it may be behind. Not where it has more
    in the oldest one of the source, or earlier, if the source has deleted records; nor where a cleaner was at work.
    """
    if bucket.source == bucket.target or task.compacted:
        return False
    if bucket.source > bucket.target:
        return bucket.start_ms < max((each.start_ms for each in buckets if each.target), default=bucket.start_ms)
    oldest = min((each.start_ms for each in buckets if each.source), default=bucket.start_ms)
    return not (task.start_is_cut and bucket.start_ms <= oldest)


def _difference(found: Finding, show_contents: bool) -> FirstDifference:
    return FirstDifference(
        kind=found.kind,
        source_offset=found.source_offset,
        target_offset=found.target_offset,
        words=WORDS[found.kind] + (f": {found.note}" if found.note else ""),
        fields=differing_fields(found.source, found.target) if found.source and found.target else (),
        source=shape_shown(found.source, show_contents),
        target=shape_shown(found.target, show_contents),
    )


def _how_many(counts: Mapping[DifferenceKind, int]) -> str:
    return ", ".join(f"{count:,} {kind.value}" for kind, count in counts.items())
