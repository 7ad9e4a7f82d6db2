"""Records of both sides beside each other, each with its counterpart at the same place.  (pure)"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.query.contents import FoundRecord
from kmigrate.query.places import Places

PlacesOf = Callable[[TopicPartition], Places]


class Outcome(enum.StrEnum):
    """How a record's counterpart on the other side looks."""

    SAME = "same"
    """Timestamp, key, value and headers are the same."""
    DIFFERS = "differs"
    """Another record lies at its place."""
    SOURCE_ONLY = "source only"
    """The target has no record there, although it has later ones."""
    TARGET_ONLY = "target only"
    """The source has no record there (any more)."""
    NOT_COPIED = "not copied yet"
    """The target does not reach so far."""
    UNKNOWN = "not looked at"
    """The other side was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A place on both sides; an offset is None where nobody can tell it.

    `record` is of `side`: the source's, if it is there; `other` is the target's where it differs.
    """

    partition: TopicPartition
    side: Side
    source_offset: Offset | None
    target_offset: Offset | None
    outcome: Outcome
    record: FoundRecord
    other: FoundRecord | None = None


def same_record(one: FoundRecord, other: FoundRecord) -> bool:
    """Whether two records look the same to a consumer, but for their offsets."""
    return one.timestamp_ms == other.timestamp_ms and one.contents == other.contents


def compare(source: FoundRecord | None, target: FoundRecord | None, row: Row) -> Row:
    """The row with both records looked at."""
    if source is None or target is None:
        return replace(row, outcome=Outcome.TARGET_ONLY if source is None else Outcome.SOURCE_ONLY)
    if same_record(source, target):
        return replace(row, outcome=Outcome.SAME, side=Side.SOURCE, record=source)
    return replace(row, outcome=Outcome.DIFFERS, side=Side.SOURCE, record=source, other=target)


def pair_up(on_source: Sequence[FoundRecord], on_target: Sequence[FoundRecord], places_of: PlacesOf) -> list[Row]:
    """A row for each place at which either side has a record; those with one record only are UNKNOWN."""
    rows: dict[tuple[TopicPartition, Side, int], Row] = {}
    waiting: dict[tuple[TopicPartition, int], FoundRecord] = {}
    for record in on_target:
        waiting[record.partition, record.offset] = record
    for record in on_source:
        target = places_of(record.partition).other(record.offset, Side.SOURCE)
        row = Row(
            partition=record.partition,
            side=Side.SOURCE,
            source_offset=record.offset,
            target_offset=target,
            outcome=Outcome.UNKNOWN,
            record=record,
        )
        twin = None if target is None else waiting.pop((record.partition, target), None)
        rows[record.partition, Side.SOURCE, record.offset] = row if twin is None else compare(record, twin, row)
    for record in waiting.values():
        rows[record.partition, Side.TARGET, record.offset] = Row(
            partition=record.partition,
            side=Side.TARGET,
            source_offset=places_of(record.partition).other(record.offset, Side.TARGET),
            target_offset=record.offset,
            outcome=Outcome.UNKNOWN,
            record=record,
        )
    return list(rows.values())


def in_order(rows: Iterable[Row], *, newest_first: bool, limit: int) -> list[Row]:
    """The first rows, as `ordering` sorts records: by offset within one partition, by time across several."""
    rows = list(rows)
    by_time = len({row.partition for row in rows}) > 1
    sign = -1 if newest_first else 1

    def key(row: Row) -> tuple[int, TopicPartition, int]:
        place = row.source_offset if row.source_offset is not None else row.target_offset
        return row.record.timestamp_ms * sign if by_time else 0, row.partition, (place or 0) * sign

    return sorted(rows, key=key)[:limit]
