"""Records per minute, counted from their timestamps or estimated from offsets.  (pure)"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from kmigrate.kafka_types import Offset, TopicName
from kmigrate.query.batches import BUDGET_BYTES, Fetched
from kmigrate.records.batch import CONTROL, LOG_APPEND_TIME, Header
from kmigrate.records.message_set import read_entry
from kmigrate.records.record import read_records

MINUTE_MS = 60_000


def minutes_before(now_ms: int, count: int) -> list[int]:
    """Where the last `count` whole minutes begin, then the one that is not over, and where that will end."""
    this = now_ms // MINUTE_MS * MINUTE_MS
    return [this + MINUTE_MS * number for number in range(-count, 2)]


class MinuteCounter:
    """Counts the records that consumers see by minute; `begins` are the minutes' beginnings and the last one's end."""

    def __init__(self, begins: Sequence[int]) -> None:
        self.begins = begins
        self.counts: dict[TopicName, list[int]] = {}
        self.unreadable = 0
        """Batches that could not be read."""

    def show(
        self, topic: TopicName, batches: Iterable[Fetched], is_aborted: Callable[[Header], bool], start: int, end: int
    ) -> Offset:
        """Counts the records with start ≤ offset < end of an answer; where to read on."""
        counts = self.of(topic)
        at = start
        for header, next_offset, view in batches:
            if header is not None:
                is_hidden = is_aborted(header) or bool(header.attributes & CONTROL)
                if header.base_offset < end and header.next_offset > at:
                    if not is_hidden:
                        self._batch(header, view, start, end, counts)
                    at = header.next_offset
            elif at < min(next_offset, end):
                self._old_entry(view, start, end, counts)
                at = next_offset
        return Offset(at)

    def of(self, topic: TopicName) -> list[int]:
        """A topic's counts, one a minute."""
        return self.counts.setdefault(topic, [0] * (len(self.begins) - 1))

    def _batch(self, header: Header, view: memoryview, start: int, end: int, counts: list[int]) -> None:
        if header.max_timestamp_ms < self.begins[0] or not header.record_count:
            return
        if header.attributes & LOG_APPEND_TIME and start <= header.base_offset and header.next_offset <= end:
            self._count(header.max_timestamp_ms, header.record_count, counts)
            return
        try:
            records = read_records(header, view, BUDGET_BYTES)
        except ValueError:
            self.unreadable += 1
            return
        for offset, timestamp_ms, _ in records:
            if start <= offset < end:
                self._count(timestamp_ms, 1, counts)

    def _old_entry(self, view: memoryview, start: int, end: int, counts: list[int]) -> None:
        try:
            records = read_entry(view, BUDGET_BYTES).records
        except ValueError:
            self.unreadable += 1
            return
        for offset, timestamp_ms, _ in records:
            if start <= offset < end:
                self._count(timestamp_ms, 1, counts)

    def _count(self, timestamp_ms: int, records: int, counts: list[int]) -> None:
        minute = bisect_right(self.begins, timestamp_ms) - 1
        if 0 <= minute < len(counts):
            counts[minute] += records


def between(offsets: Sequence[Offset]) -> list[int]:
    """How many offsets lie between each place and the next; an index that answers out of order counts as none."""
    highest = offsets[0]
    counts = []
    for after in offsets[1:]:
        counts.append(max(0, after - highest))
        highest = max(highest, after)
    return counts
