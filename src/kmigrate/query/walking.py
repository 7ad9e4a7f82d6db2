"""The shell that goes through partitions of one side, window by window, and looks at single places.

Rule: what cannot be read, or is not there any more, is noted and left out; the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.reader import whole_batches
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.query.batches import BatchReader
from kmigrate.query.conditions import Filter
from kmigrate.query.contents import FoundRecord
from kmigrate.query.ordering import Ordering
from kmigrate.query.places import Bounds
from kmigrate.query.scanning import Scan
from kmigrate.query.sides import ClusterSide

LOOKED_UP_BYTES = 256 << 10
MOST_NOTES = 20
_EMPTY_ANSWERS = 50
"""Asked for 100 ms each."""


class Progress(NamedTuple):
    """How far one side was gone through: share of its offsets (0 to 1), unpacked bytes, records found."""

    side: Side
    share: float
    scanned_bytes: int
    found: int


class Notes:
    """What the operator should know of an answer; at most MOST_NOTES, and how many more there were."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}
        self._more = 0

    def add(self, note: str) -> None:
        """Notes it, unless it is there."""
        if len(self._notes) < MOST_NOTES:
            self._notes[note] = None
        elif note not in self._notes:
            self._more += 1

    def __iter__(self) -> Iterator[str]:
        yield from self._notes
        if self._more:
            yield f"{self._more:,} more notes like these"


class Walk:
    """Goes through start ≤ offset < end of partitions of one side until `limit` records are found."""

    def __init__(
        self,
        side: ClusterSide,
        spans: Mapping[TopicPartition, Bounds],
        wanted: Filter,
        *,
        newest_first: bool,
        limit: int,
        notes: Notes,
    ) -> None:
        self._side = side
        self._scans = {
            each: Scan(each, wanted, start, end, newest_first=newest_first, keep=limit)
            for each, (start, end) in spans.items()
            if start < end
        }
        self._ordering = Ordering(self._scans, newest_first=newest_first, limit=limit)
        self._notes = notes

    @property
    def records(self) -> list[FoundRecord]:
        """What was found so far, in order."""
        return self._ordering.records

    @property
    def scanned_bytes(self) -> int:
        """Unpacked bytes that were searched so far."""
        return sum(scan.scanned_bytes for scan in self._scans.values())

    def run(self, tell: Callable[[Progress], None] = lambda _progress: None) -> None:
        """Raises ClusterError where a broker refuses, or cannot be reached."""
        while (partition := self._ordering.next_partition()) is not None:
            self._read_on(self._scans[partition])
            share = sum(each.share_done for each in self._scans.values()) / len(self._scans)
            tell(Progress(self._side.side, share, self.scanned_bytes, len(self.records)))
        if self._ordering.is_cut:
            self._notes.add(
                f"only {len(self.records)} records of the {self._side.side} fit into memory: a lower --limit"
            )

    def _read_on(self, scan: Scan) -> None:
        """One window more of a partition, or the end of it."""
        partition = scan.partition
        for _ in range(_EMPTY_ANSWERS):
            offset, size = scan.next_fetch()
            fetched = self._side.fetch(partition, offset, size)
            batches, is_damaged = whole_batches(fetched.records)
            if not batches and (fetched.error or is_damaged):
                what = "is not there any more" if fetched.error else "begins something that is no record batch"
                self._notes.add(f"{partition}@{offset} on the {self._side.side} {what}: left out from there")
                scan.stop()
                self._ordering.add(partition, (), None, is_done=True)
                return
            is_rest = not batches and fetched.readable >= scan.end
            aborted = AbortedTransactions(fetched.aborted)
            chunk = scan.show(batches, aborted.covers, len(fetched.records), is_rest=is_rest)
            if chunk is None:
                if batches:
                    return
                continue
            for each in chunk.unreadable:
                self._notes.add(f"{partition}@{each.offset} on the {self._side.side} cannot be read: {each.reason}")
            self._ordering.add(partition, chunk.records, chunk.front_ms, is_done=scan.is_done)
            if batches or is_rest:
                return
        self._notes.add(f"{partition}@{offset} on the {self._side.side} does not come: left out from there")
        scan.stop()
        self._ordering.add(partition, (), None, is_done=True)


def read_places(side: ClusterSide, partition: TopicPartition, offsets: Sequence[Offset]) -> Iterator[FoundRecord]:
    """The records that lie at these offsets, which rise; what is hidden, or cannot be read, is none."""
    left = list(offsets)
    wanted = frozenset(offsets)
    while left:
        reader = BatchReader(partition, Filter(), left[0], left[-1] + 1, at=left[0])
        fetched = side.fetch(partition, left[0], LOOKED_UP_BYTES)
        reader.show(whole_batches(fetched.records)[0], AbortedTransactions(fetched.aborted).covers)
        yield from (record for record in reader.found if record.offset in wanted)
        seen_to = max(reader.next_offset, left[0] + 1)
        left = [each for each in left if each >= seen_to]
