"""Both clusters are compared record by record, with each other and with what the producer knows.  (pure)

Each side is a stream of `Seen`: the place, a digest and the number of a record, never the record itself. So
memory holds one partition's acknowledgements and the numbers seen, whatever the records weigh.

A record may be *differing* (both sides have it, unequal), *missing* (only the source), *extra* (only the
target), *duplicate* (the target showed its number before) or *lost* (acknowledged by the source, but not at its
place on the target or not as it was sent). A partition whose first or last offset differs counts as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from kmigrate.demo.ledger import Entry, Ledger

_SHOWN_FINDINGS = 10


class Seen(NamedTuple):
    """A record as a reader saw it; `number` is None if it carries none."""

    offset: int
    digest: bytes
    number: int | None
    size_bytes: int


class Range(NamedTuple):
    """Where a partition begins and ends: log start offset and high watermark."""

    start: int
    end: int


class Side(Protocol):
    """One cluster, as an independent client reads it."""

    def ranges(self) -> Mapping[str, Mapping[int, Range]]:
        """Every topic that is not internal, with its partitions."""

    def read(self, topic: str, partition: int, between: Range) -> Iterable[Seen]:
        """The records of a partition in the order of their offsets."""


@dataclass(slots=True, kw_only=True)
class TopicResult:
    """What the comparison of one topic, or of all, counted."""

    topic: str
    partitions: int = 0
    records: int = 0
    size_bytes: int = 0
    source_end: int = 0
    target_end: int = 0
    differing: int = 0
    missing: int = 0
    extra: int = 0
    unequal_ranges: int = 0
    duplicates: int = 0
    lost: int = 0

    @property
    def differences(self) -> int:
        """Records that are not the same on both sides, and partitions that do not span the same offsets."""
        return self.differing + self.missing + self.extra + self.unequal_ranges

    @property
    def is_equal(self) -> bool:
        return not (self.differences or self.duplicates or self.lost)

    def add(self, other: TopicResult) -> None:
        """Adds what another topic counted."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_COUNTS = tuple(name for name in TopicResult.__slots__ if name != "topic")


@dataclass(slots=True)
class Comparison:
    """The results by topic; `findings` describes the first few things that were found."""

    topics: dict[str, TopicResult] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    _numbers: set[int] = field(default_factory=set)

    @property
    def total(self) -> TopicResult:
        """All topics together."""
        total = TopicResult(topic="all")
        for each in self.topics.values():
            total.add(each)
        return total

    def compare_partition(
        self,
        topic: str,
        partition: int,
        source: Iterable[Seen],
        target: Iterable[Seen],
        acknowledged: Sequence[Entry],
    ) -> None:
        """Counts the differences of one partition; both streams are in the order of their offsets."""
        result = self._result(topic)
        result.partitions += 1
        place = f"{topic}-{partition}"
        waiting = {entry.offset: entry for entry in acknowledged if entry.offset is not None}
        placeless = {entry.number: entry for entry in acknowledged if entry.offset is None}
        sources, targets = iter(source), iter(target)
        left, right = next(sources, None), next(targets, None)
        while left is not None or right is not None:
            if right is None or (left is not None and left.offset < right.offset):
                assert left is not None
                result.missing += 1
                self._found(f"{place}@{left.offset}: not on the target")
                left = next(sources, None)
                continue
            self._count_target(result, place, right, waiting, placeless)
            if left is None or right.offset < left.offset:
                result.extra += 1
                self._found(f"{place}@{right.offset}: only on the target")
            else:
                if left[1:] != right[1:]:
                    result.differing += 1
                    self._found(f"{place}@{left.offset}: differs")
                left = next(sources, None)
            right = next(targets, None)
        for entry in (*waiting.values(), *placeless.values()):
            result.lost += 1
            at = "" if entry.offset is None else f"@{entry.offset}"
            self._found(f"{place}{at}: acknowledged, and not on the target (record {entry.number})")

    def compare_ranges(self, topic: str, partition: int, source: Range | None, target: Range | None) -> None:
        """Counts a partition that does not begin and end at the same offsets, or that one side lacks."""
        result = self._result(topic)
        result.source_end += source.end if source else 0
        result.target_end += target.end if target else 0
        if source != target:
            result.unequal_ranges += 1
            self._found(f"{topic}-{partition}: offsets {_show(source)} on the source, {_show(target)} on the target")

    def _count_target(
        self, result: TopicResult, place: str, seen: Seen, waiting: dict[int, Entry], placeless: dict[int, Entry]
    ) -> None:
        result.records += 1
        result.size_bytes += seen.size_bytes
        if seen.number is not None:
            if seen.number in self._numbers:
                result.duplicates += 1
                self._found(f"{place}@{seen.offset}: record {seen.number} is there twice")
            self._numbers.add(seen.number)
        entry = waiting.pop(seen.offset, None)
        if entry is None and seen.number is not None:
            entry = placeless.pop(seen.number, None)
        if entry is not None and (entry.number, entry.digest) != (seen.number, seen.digest):
            result.lost += 1
            self._found(f"{place}@{seen.offset}: not as it was acknowledged (record {entry.number})")

    def _result(self, topic: str) -> TopicResult:
        return self.topics.setdefault(topic, TopicResult(topic=topic))

    def _found(self, what: str) -> None:
        if len(self.findings) < _SHOWN_FINDINGS:
            self.findings.append(what)


def compare_sides(source: Side, target: Side, ledger: Ledger) -> Comparison:
    """Reads both sides from their beginnings to their present ends and compares them."""
    comparison = Comparison()
    source_ranges, target_ranges = source.ranges(), target.ranges()
    places = set(ledger.places)
    for ranges in (source_ranges, target_ranges):
        places |= {(topic, partition) for topic, partitions in ranges.items() for partition in partitions}
    for topic, partition in sorted(places):
        left = source_ranges.get(topic, {}).get(partition)
        right = target_ranges.get(topic, {}).get(partition)
        comparison.compare_ranges(topic, partition, left, right)
        comparison.compare_partition(
            topic,
            partition,
            source.read(topic, partition, left) if left else (),
            target.read(topic, partition, right) if right else (),
            ledger.of(topic, partition),
        )
    return comparison


def _show(span: Range | None) -> str:
    return "none" if span is None else f"{span.start} to {span.end}"
