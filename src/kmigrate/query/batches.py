"""The wanted records out of fetched batches, of which only those are taken apart that may hold one.  (pure)

Rule: what no consumer sees (control batches, aborted data) is left out; what cannot be read is told, never passed over
silently. A batch is first searched in its raw bytes, decompressed but not decoded, for the filter's needle; then only
records are decoded in which the needle begins. That suffices: whatever a condition wants lies in one piece in its
record.

Bounded: one unpacked batch at a time, of at most BUDGET_BYTES, and what `keep` says of the found records.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kmigrate.kafka_types import Offset, TopicPartition
from kmigrate.query.conditions import Filter
from kmigrate.query.contents import FoundRecord, parse_contents
from kmigrate.records.batch import CODEC_MASK, CONTROL, CRC_START, HEADER_BYTES, LOG_APPEND_TIME, Header, crc32c
from kmigrate.records.compression import Codec, decompress
from kmigrate.records.message_set import read_entry
from kmigrate.records.record import RawRecord, read_records, read_varint

BUDGET_BYTES = 64 << 20
"""What the records of one batch may unpack to."""

Fetched = tuple[Header | None, int, memoryview]
"""A batch as `cluster.reader.Stored` has it: header (None: a message of format v0 or v1), next offset, bytes."""


class Unreadable(NamedTuple):
    """A batch that cannot be read, from this offset on, and why."""

    offset: int
    reason: str


class BatchReader:
    """Looks through the batches of one partition between start ≤ offset < end, in order.

    `keep_newest` bounds how many found records are kept, the last ones; 0 keeps all.
    """

    def __init__(
        self, partition: TopicPartition, wanted: Filter, start: int, end: int, *, at: int, keep_newest: int = 0
    ) -> None:
        """`at` is where reading begins; of the batch that lies there also records before it count, from start on."""
        self.next_offset = at
        """Behind the last batch that was shown."""
        self.first_offset: int | None = None
        """Where the first batch began that was shown; None if there was none, or if only its records would tell."""
        self.times: tuple[int, int] | None = None
        """The newest timestamps of the first and of the last batch with records."""
        self.scanned_bytes = 0
        """Unpacked bytes that were searched."""
        self.found: deque[FoundRecord] = deque(maxlen=keep_newest or None)
        self.hidden: list[range] = []
        """Offsets whose batch no consumer sees."""
        self.unreadable: list[Unreadable] = []
        self._partition = partition
        self._wanted = wanted
        self._start = start
        self._end = end

    def show(self, batches: Iterable[Fetched], is_aborted: Callable[[Header], bool]) -> None:
        """Shows the batches of one answer; `is_aborted` is asked for each of format v2, in order."""
        for header, next_offset, view in batches:
            if header is None:
                if self.next_offset < min(next_offset, self._end):
                    self._old_entry(view, next_offset)
                continue
            aborted = is_aborted(header)
            if header.base_offset >= self._end:
                self.next_offset = max(self.next_offset, self._end)  # nothing lies before it
                continue
            if header.next_offset <= self.next_offset:
                continue
            if self.first_offset is None:
                self.first_offset = header.base_offset
            if aborted or header.attributes & CONTROL:
                self.hidden.append(range(header.base_offset, header.next_offset))
            else:
                self._batch(header, view)
            self.next_offset = header.next_offset

    def _batch(self, header: Header, view: memoryview) -> None:
        self._note_time(header.max_timestamp_ms)
        if not header.record_count or not self._may_be_in_time(header):
            return
        try:
            self._take(self._candidates(header, view))
        except ValueError as error:
            self.unreadable.append(Unreadable(header.base_offset, str(error)))

    def _may_be_in_time(self, header: Header) -> bool:
        since, until = self._wanted.since_ms, self._wanted.until_ms
        if since is not None and header.max_timestamp_ms < since:
            return False
        # Only the newest time of a batch is in its header, so that most of them have to be looked into.
        return not (until is not None and header.attributes & LOG_APPEND_TIME and header.max_timestamp_ms >= until)

    def _candidates(self, header: Header, view: memoryview) -> Iterable[RawRecord]:
        """The records of a batch that may be wanted; raises ValueError if it is damaged or unpacks too far."""
        if crc32c(view[CRC_START:]) != header.crc:
            raise ValueError("the CRC of the batch does not match its bytes")
        needle = self._wanted.needle
        if not needle:
            self.scanned_bytes += len(view)
            return read_records(header, view, BUDGET_BYTES)
        section = decompress(Codec(header.attributes & CODEC_MASK), view[HEADER_BYTES:], BUDGET_BYTES)
        self.scanned_bytes += len(section)
        hit = section.find(needle)
        return () if hit < 0 else _records_with(section, header, needle, hit)

    def _old_entry(self, view: memoryview, next_offset: int) -> None:
        before, self.next_offset = self.next_offset, next_offset
        self.scanned_bytes += len(view)
        try:
            records = read_entry(view, BUDGET_BYTES).records
        except (ValueError, zlib.error) as error:
            self.unreadable.append(Unreadable(before, str(error)))
            return
        if self.first_offset is None:
            self.first_offset = records[0].offset
        self._note_time(max(each.timestamp_ms for each in records))
        try:
            self._take(records)
        except ValueError as error:
            self.unreadable.append(Unreadable(before, str(error)))

    def _note_time(self, newest_ms: int) -> None:
        self.times = (newest_ms if self.times is None else self.times[0], newest_ms)

    def _take(self, records: Iterable[RawRecord]) -> None:
        wanted, needle = self._wanted, self._wanted.needle
        for offset, timestamp_ms, body in records:
            if not self._start <= offset < self._end or not wanted.is_in_time(timestamp_ms) or needle not in body:
                continue
            contents = parse_contents(body)
            if wanted.holds(contents):
                self.found.append(FoundRecord(self._partition, Offset(offset), timestamp_ms, contents))


def _records_with(section: bytes, header: Header, needle: bytes, hit: int) -> Iterator[RawRecord]:
    """The records of a batch in which the needle begins; of all others only the length is read."""
    base_offset, base_timestamp = header.base_offset, header.base_timestamp_ms
    appended_at = header.max_timestamp_ms if header.attributes & LOG_APPEND_TIME else None
    at, end = 0, len(section)
    try:
        while hit >= 0:
            while True:
                byte = section[at]
                size, body = (byte >> 1 ^ -(byte & 1), at + 1) if byte < 0x80 else read_varint(section, at)
                at = body + size
                if size < 0 or at > end:
                    raise ValueError(f"a record claims {size} bytes of {end - body}")
                if at > hit:
                    break
            timestamp, body = read_varint(section, body + 1)
            delta, body = read_varint(section, body)
            if not 0 <= delta <= header.last_offset_delta or body > at:
                raise ValueError(f"a record claims offset delta {delta}")
            made_at = base_timestamp + timestamp if appended_at is None else appended_at
            yield RawRecord(base_offset + delta, made_at, section[body:at])
            hit = section.find(needle, at)
    except IndexError:
        raise ValueError("the records of a batch end early") from None
