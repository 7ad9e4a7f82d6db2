"""The shell of `message diff`: the newest records and the ends of both sides, one partition after the other.

Rule: the target's ends are asked before the source's, so that a copy that goes on never seems to be ahead of its
source. What the copy has not brought yet is lag, and is not compared. What cannot be read is unknown, not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.reader import whole_batches
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.query.batches import BatchReader
from kmigrate.query.conditions import Filter
from kmigrate.query.differences import (
    SHOWN,
    Difference,
    DifferenceKind,
    PartitionDiff,
    Shape,
    compare_windows,
    shape_of,
)
from kmigrate.query.pairing import PlacesOf
from kmigrate.query.places import Bounds, Places
from kmigrate.query.sides import ClusterSide
from kmigrate.query.walking import LOOKED_UP_BYTES, Notes, Walk

_TOGETHER = 200
"""Partitions whose ends are asked at once: they are compared within moments of it."""


class _Window(NamedTuple):
    """The newest records of one side by offset, and the first offset that they cover."""

    shapes: dict[Offset, Shape]
    covers_from: Offset


class Comparing:
    """Compares partitions; `newest` is how many records of each side."""

    def __init__(self, source: ClusterSide, target: ClusterSide, places_of: PlacesOf, newest: int) -> None:
        self.done: list[PartitionDiff] = []
        """Those that were compared so far."""
        self._source = source
        self._target = target
        self._places_of = places_of
        self._newest = newest

    def run(
        self,
        partitions: Mapping[Side, Sequence[TopicPartition]],
        tell: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        """Compares every partition of the source; one that cannot be asked holds up no other."""
        there = frozenset(partitions[Side.TARGET])
        wanted = sorted(partitions[Side.SOURCE])
        for first in range(0, len(wanted), _TOGETHER):
            some = wanted[first : first + _TOGETHER]
            on_target = self._bounds(self._target, [each for each in some if each in there])
            on_source = self._bounds(self._source, some)
            for each in some:
                self.done.append(self._compare(each, on_source[each], on_target.get(each)))
                tell(len(self.done), len(wanted))

    def _bounds(
        self, side: ClusterSide, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Bounds | ClusterError]:
        """The bounds of all, asked one by one where they cannot be asked together."""
        try:
            return dict(side.bounds(partitions))
        except ClusterError:
            found: dict[TopicPartition, Bounds | ClusterError] = {}
            for each in partitions:
                try:
                    found |= side.bounds([each])
                except ClusterError as error:
                    found[each] = error
            return found

    def _compare(
        self, partition: TopicPartition, source: Bounds | ClusterError, target: Bounds | ClusterError | None
    ) -> PartitionDiff:
        for bounds in (source, target):
            if isinstance(bounds, ClusterError):
                return PartitionDiff(partition=partition, failure=str(bounds))
        assert isinstance(source, Bounds)
        if not isinstance(target, Bounds):
            missing = Difference(kind=DifferenceKind.NO_PARTITION)
            return PartitionDiff(partition=partition, source=source, differences=(missing,), difference_count=1)
        try:
            return self._compare_logs(partition, source, target)
        except ClusterError as error:
            return PartitionDiff(partition=partition, source=source, target=target, failure=str(error))

    def _compare_logs(self, partition: TopicPartition, source: Bounds, target: Bounds) -> PartitionDiff:
        places = self._places_of(partition)
        copied = places.copied(target.end)
        if copied is None:
            return PartitionDiff(
                partition=partition,
                offset_class=places.offset_class,
                source=source,
                target=target,
                failure=f"where the target's end {target.end} lies on the source is not recorded",
            )
        differences: list[Difference] = []
        if copied.source > source.end:
            differences.append(
                Difference(kind=DifferenceKind.BEYOND, source_offset=source.end, target_offset=target.end)
            )
        end = min(copied.source, source.end)
        on_source = self._read(self._source, partition, Bounds(source.start, end))
        on_target = self._read(self._target, partition, Bounds(target.start, copied.target))
        by_source, covers_from = self._as_on_source(on_target, places)
        compared = compare_windows(
            on_source.shapes,
            {each: found for each, found in by_source.items() if each < end},
            max(on_source.covers_from, covers_from),
        )
        differences += compared.differences
        gone = 0
        for at_source, at_target in compared.lonely:
            if self._is_hidden(partition, at_source):
                kind = DifferenceKind.ONLY_TARGET
                differences.append(Difference(kind=kind, source_offset=at_source, target_offset=at_target))
            else:
                gone += 1
        return PartitionDiff(
            partition=partition,
            offset_class=places.offset_class,
            source=source,
            target=target,
            lag_offsets=max(0, source.end - copied.source),
            compared=compared.compared,
            gone=gone,
            differences=tuple(differences[:SHOWN]),
            difference_count=len(differences),
        )

    def _read(self, side: ClusterSide, partition: TopicPartition, span: Bounds) -> _Window:
        notes = Notes()
        walk = Walk(side, {partition: span}, Filter(), newest_first=True, limit=self._newest, notes=notes)
        walk.run()
        for note in notes:
            raise ClusterError(f"{partition} cannot be compared: {note}", side=side.side)
        records = walk.records
        is_full = len(records) >= self._newest
        shapes = {each.offset: shape_of(each) for each in records}
        return _Window(shapes, records[-1].offset if is_full else span.start)

    def _as_on_source(self, window: _Window, places: Places) -> tuple[dict[Offset, tuple[Offset, Shape]], Offset]:
        """The target's records by their place on the source, and the source offset from which they cover all."""
        offsets = sorted(window.shapes)
        for each in (*offsets[:1], *offsets[-1:]):  # with both ends known, what lies between is seldom asked for
            places.other(each, Side.TARGET)
        found: dict[Offset, tuple[Offset, Shape]] = {}
        for each in offsets:
            source = places.other(each, Side.TARGET)
            if source is not None:
                found[source] = each, window.shapes[each]
        begins = places.other(window.covers_from, Side.TARGET)
        return found, begins if begins is not None else Offset(0)

    def _is_hidden(self, partition: TopicPartition, offset: Offset) -> bool:
        """Whether the source holds something at this place that no consumer sees, or that a target must not show."""
        reader = BatchReader(partition, Filter(), offset, offset + 1, at=offset)
        fetched = self._source.fetch(partition, offset, LOOKED_UP_BYTES)
        reader.show(whole_batches(fetched.records)[0], AbortedTransactions(fetched.aborted).covers)
        return any(offset in each for each in reader.hidden)
