"""Whether the newest records of both sides are the same, place by place.  (pure)

A record is known by its digests here, so that comparing many large ones takes little memory. Three things are no
difference: what is not copied yet, what only the target has below the source's log start, and what only the target has
where the source holds nothing any more (compaction). They are counted and told.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from kmigrate.kafka_types import Offset, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.query.contents import Contents, FoundRecord
from kmigrate.query.places import Bounds

SHOWN = 5
"""Differences of a partition that are told one by one."""
_NULL = b"\0"
_DIGEST_BYTES = 16


class Shape(NamedTuple):
    """What of a record is compared, in digests."""

    timestamp_ms: int
    key: bytes
    value: bytes
    headers: bytes


def shape_of(record: FoundRecord) -> Shape:
    """The shape of a record; null and empty, and headers in another order, are not the same."""
    contents: Contents = record.contents
    headers = b"".join(
        len(name).to_bytes(4, "big") + name + _marked(value, with_length=True) for name, value in contents.headers
    )
    return Shape(record.timestamp_ms, _digest(contents.key), _digest(contents.value), _digest(headers))


def _marked(content: bytes | None, *, with_length: bool = False) -> bytes:
    if content is None:
        return _NULL
    return b"\1" + (len(content).to_bytes(4, "big") if with_length else b"") + content


def _digest(content: bytes | None) -> bytes:
    return blake2b(_marked(content), digest_size=_DIGEST_BYTES).digest()


class DifferenceKind(enum.StrEnum):
    """What is not as it should be."""

    MISSING = "missing on the target"
    ONLY_TARGET = "only on the target"
    DIFFERS = "differs"
    NO_PARTITION = "no such partition on the target"
    BEYOND = "the target's log goes beyond the source's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference; `fields` are those of the record that differ."""

    kind: DifferenceKind
    source_offset: int | None = None
    target_offset: int | None = None
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        places = [
            f"{side} {offset}"
            for side, offset in (("source", self.source_offset), ("target", self.target_offset))
            if offset is not None
        ]
        return f"{self.kind}{': ' + ', '.join(self.fields) if self.fields else ''} ({', '.join(places) or 'whole'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionDiff:
    """How one partition's newest records and ends compare.

    `lag_offsets` are those of the source that are not copied yet; `gone` counts records that only the target has
    because the source cleaned them. `failure` says why it could not be compared.
    """

    partition: TopicPartition
    offset_class: OffsetClass | None = None
    source: Bounds | None = None
    target: Bounds | None = None
    lag_offsets: int | None = None
    compared: int = 0
    gone: int = 0
    differences: tuple[Difference, ...] = ()
    difference_count: int = 0
    failure: str = ""

    @property
    def outcome(self) -> str:
        """In a word or two."""
        if self.failure:
            return "unknown"
        if self.difference_count:
            return "differs"
        return "same, lags" if self.lag_offsets else "same"


class Compared(NamedTuple):
    """What comparing a window brought; `lonely` are (source, target) places of records that only the target has."""

    compared: int
    differences: list[Difference]
    lonely: list[tuple[Offset, Offset]]


def compare_windows(
    source: Mapping[Offset, Shape], target: Mapping[Offset, tuple[Offset, Shape]], from_source: int
) -> Compared:
    """Compares the records of both sides by source offset, from `from_source` on.

    `target` has for each source offset where that lies on the target. Whether a lonely record is a difference depends
    on what the source holds at its place.
    """
    differences: list[Difference] = []
    lonely: list[tuple[Offset, Offset]] = []
    places = sorted(offset for offset in source.keys() | target.keys() if offset >= from_source)
    for offset in places:
        mine, theirs = source.get(offset), target.get(offset)
        if theirs is None:
            differences.append(Difference(kind=DifferenceKind.MISSING, source_offset=offset))
        elif mine is None:
            lonely.append((offset, theirs[0]))
        elif mine != theirs[1]:
            differences.append(
                Difference(
                    kind=DifferenceKind.DIFFERS,
                    source_offset=offset,
                    target_offset=theirs[0],
                    fields=_differing(mine, theirs[1]),
                )
            )
    return Compared(len(places), differences, lonely)


def _differing(one: Shape, other: Shape) -> tuple[str, ...]:
    names = ("timestamp", "key", "value", "headers")
    return tuple(name for name, mine, theirs in zip(names, one, other, strict=True) if mine != theirs)


def has_differences(partitions: Iterable[PartitionDiff]) -> bool:
    """Whether any partition differs."""
    return any(each.difference_count for each in partitions)
