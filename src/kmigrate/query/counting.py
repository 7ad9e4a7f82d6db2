"""The shell of `message rate`: records per minute of both sides, counted where that is cheap, else estimated.

Counted: everything since the first of the minutes is read, and each record counts in the minute of its timestamp.
Estimated: the time index is asked which offset each minute begins at, and offsets are counted in place of records: gaps
(transaction markers, aborted and compacted records) count, too, and records count where their neighbours were made.

On the target markers carry the time of copying, so that its index may answer too early: where what it names is no
record, the source's answer, translated, takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kmigrate.cluster.reader import whole_batches
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.query.minutes import MinuteCounter, between
from kmigrate.query.pairing import PlacesOf
from kmigrate.query.places import Bounds
from kmigrate.query.scanning import FETCH_BYTES
from kmigrate.query.sides import ClusterSide
from kmigrate.query.walking import LOOKED_UP_BYTES, Notes
from kmigrate.records.batch import CONTROL

COUNTED_OFFSETS = 100_000
"""Up to so many on both sides together, everything is counted without being asked for."""
_EMPTY_ANSWERS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Records per minute: `begins` are the minutes' beginnings and the end of the last, which is not over yet.

    `counts` has for each side and topic a number for each minute. `is_estimated`: they are offsets, not records.
    """

    begins: Sequence[int]
    counts: Mapping[Side, Mapping[TopicName, Sequence[int]]]
    is_estimated: bool

    def totals(self, side: Side) -> list[int]:
        """Of all topics together."""
        columns = self.counts[side].values()
        return [sum(each[number] for each in columns) for number in range(len(self.begins) - 1)]


class Counting:
    """Finds the rates of partitions on both sides."""

    def __init__(
        self,
        sides: Mapping[Side, ClusterSide],
        partitions: Mapping[Side, Sequence[TopicPartition]],
        places_of: PlacesOf,
        begins: Sequence[int],
    ) -> None:
        self.notes = Notes()
        self._sides = sides
        self._partitions = partitions
        self._places_of = places_of
        self._begins = begins
        self._bounds: dict[Side, dict[TopicPartition, Bounds]] = {}

    def run(self, *, exact: bool | None, tell: Callable[[Side, float], None] = lambda _side, _share: None) -> Rates:
        """The rates; `exact` None: counted if that is cheap. Raises ClusterError where a broker refuses."""
        for side in (Side.TARGET, Side.SOURCE):  # a copy that goes on never seems to be ahead of its source
            self._bounds[side] = self._sides[side].bounds(self._partitions[side])
        spans = {side: self._spans(side) for side in Side}
        offsets = sum(end - start for mine in spans.values() for start, end in mine.values())
        if exact is None:
            exact = offsets <= COUNTED_OFFSETS
        if exact:
            counts = {side: self._count(side, spans[side], tell) for side in Side}
        else:
            counts = self._estimate(spans)
        return Rates(begins=self._begins, counts=counts, is_estimated=not exact)

    def _spans(self, side: Side) -> dict[TopicPartition, Bounds]:
        """Of each partition what was written since the first minute began, or a little more."""
        since = self._sides[side].offsets_at(self._partitions[side], self._begins[0])
        return {
            each: Bounds(end if since[each].offset < 0 else max(start, since[each].offset), end)
            for each, (start, end) in self._bounds[side].items()
        }

    def _count(
        self, side: Side, spans: Mapping[TopicPartition, Bounds], tell: Callable[[Side, float], None]
    ) -> dict[TopicName, list[int]]:
        counter = MinuteCounter(self._begins)
        for number, (partition, (start, end)) in enumerate(spans.items()):
            tell(side, number / len(spans))
            counter.of(partition.topic)
            at, empty = start, 0
            while at < end and empty < _EMPTY_ANSWERS:
                fetched = self._sides[side].fetch(partition, at, FETCH_BYTES)
                batches, is_damaged = whole_batches(fetched.records)
                covers = AbortedTransactions(fetched.aborted).covers
                after = counter.show(partition.topic, batches, covers, at, end)
                if after == at:
                    if fetched.error or is_damaged:
                        self.notes.add(f"{partition}@{at} on the {side} cannot be read: not counted from there")
                        break
                    if fetched.readable >= end:
                        break
                    empty += 1
                at = after
            if empty == _EMPTY_ANSWERS:
                self.notes.add(f"{partition}@{at} on the {side} does not come: not counted from there")
        if counter.unreadable:
            self.notes.add(f"{counter.unreadable:,} batches on the {side} cannot be read and are not counted")
        return counter.counts

    def _estimate(
        self, spans: Mapping[Side, Mapping[TopicPartition, Bounds]]
    ) -> dict[Side, dict[TopicName, list[int]]]:
        source = self._offsets(Side.SOURCE)
        target = self._offsets(Side.TARGET)
        replaced = 0
        for partition, mine in target.items():
            for number, place in enumerate(mine[:-1]):
                hint = self._hint(partition, source, number)
                if hint is not None and hint != place and self._is_marker(partition, place):
                    mine[number] = hint
                    replaced += 1
        if replaced:
            self.notes.add(f"{replaced:,} times of the target were taken from the source: markers stand there")
        counts: dict[Side, dict[TopicName, list[int]]] = {side: {} for side in Side}
        for side, found in ((Side.SOURCE, source), (Side.TARGET, target)):
            for partition, offsets in found.items():
                old = counts[side].get(partition.topic, [0] * (len(self._begins) - 1))
                new = between(offsets)
                counts[side][partition.topic] = [one + more for one, more in zip(old, new, strict=True)]
        return counts

    def _offsets(self, side: Side) -> dict[TopicPartition, list[Offset]]:
        """Where each minute begins, and behind them the end."""
        bounds = self._bounds[side]
        found: dict[TopicPartition, list[Offset]] = {each: [] for each in bounds}
        for begin in self._begins[:-1]:
            answers = self._sides[side].offsets_at(bounds, begin)
            for each, (start, end) in bounds.items():
                offset = answers[each].offset
                found[each].append(end if offset < 0 else min(end, max(start, offset)))
        for each, (_, end) in bounds.items():
            found[each].append(end)
        return found

    def _hint(
        self, partition: TopicPartition, source: Mapping[TopicPartition, Sequence[Offset]], number: int
    ) -> Offset | None:
        """Where the source says that this minute begins on the target; what is not copied yet lies at its end."""
        if partition not in source:
            return None
        start, end = self._bounds[Side.TARGET][partition]
        place = self._places_of(partition).other(source[partition][number], Side.SOURCE)
        return end if place is None else min(end, max(start, place))

    def _is_marker(self, partition: TopicPartition, offset: Offset) -> bool:
        """Whether no record begins at this place of the target."""
        if offset >= self._bounds[Side.TARGET][partition].end:
            return False
        fetched = self._sides[Side.TARGET].fetch(partition, offset, LOOKED_UP_BYTES)
        batches, _ = whole_batches(fetched.records)
        first = next((header for header, next_offset, _ in batches if next_offset > offset), None)
        return first is not None and bool(first.attributes & CONTROL)
