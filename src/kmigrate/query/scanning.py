"""How one partition is gone through, from its end or from its beginning, in windows that fit into memory.  (pure)

Kafka reads forwards only. So newest first means: a window of offsets before what was seen already, read forwards and
handed on backwards. Windows grow until one is WINDOW_BYTES large; the first one holds no more offsets than records are
wanted, so that the newest ones come at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kmigrate.kafka_types import Offset, TopicPartition
from kmigrate.query.batches import BatchReader, Fetched, Unreadable
from kmigrate.query.conditions import Filter
from kmigrate.query.contents import FoundRecord
from kmigrate.records.batch import Header

FETCH_BYTES = 4 << 20
FIRST_FETCH_BYTES = 128 << 10
WINDOW_BYTES = 16 << 20
FIRST_OFFSETS = 2_000
"""The first window of a scan that looks for something."""
_GROWTH = 8


class Chunk(NamedTuple):
    """What a window brought, in the order of the scan.

    `front_ms` is about how new what was not seen yet can be (newest first), or must be; None where nothing tells.
    """

    records: list[FoundRecord]
    front_ms: int | None
    unreadable: list[Unreadable]


class Scan:
    """Goes through start ≤ offset < end of one partition; `keep` is how many records are wanted at most."""

    def __init__(
        self, partition: TopicPartition, wanted: Filter, start: int, end: int, *, newest_first: bool, keep: int
    ) -> None:
        self.partition = partition
        self.scanned_bytes = 0
        self._wanted = wanted
        self._low, self._high = start, max(start, end)
        """What was not gone through yet."""
        self._total = max(1, end - start)
        self._newest_first = newest_first
        self._keep = keep
        self._offsets = max(1, keep) if wanted.wants_everything else max(keep, FIRST_OFFSETS)
        self._bytes_an_offset = 0.0
        self._reader: BatchReader | None = None
        self._begins = start
        self._fetched_bytes = 0

    @property
    def is_done(self) -> bool:
        """Whether everything was gone through."""
        return self._low >= self._high

    @property
    def end(self) -> int:
        """Up to where the present window goes."""
        return self._high

    @property
    def share_done(self) -> float:
        """How much of the offsets was gone through, 0 to 1."""
        return 1 - (self._high - self._low) / self._total

    def stop(self) -> None:
        """Leaves out what was not gone through."""
        self._low = self._high

    def next_fetch(self) -> tuple[Offset, int]:
        """Where to read on, and how many bytes are of use; not when it is done."""
        reader = self._window()
        if not self._bytes_an_offset:
            return Offset(reader.next_offset), FIRST_FETCH_BYTES
        of_use = int((self._high - reader.next_offset) * self._bytes_an_offset * 1.1) + FIRST_FETCH_BYTES // 2
        return Offset(reader.next_offset), min(FETCH_BYTES, of_use)

    def show(
        self, batches: Iterable[Fetched], is_aborted: Callable[[Header], bool], fetched_bytes: int, *, is_rest: bool
    ) -> Chunk | None:
        """Shows what a fetch brought; the chunk of a window that is complete with it.

        `is_rest`: nothing lies between these batches and the end.
        """
        reader = self._window()
        scanned = reader.scanned_bytes
        reader.show(batches, is_aborted)
        self.scanned_bytes += reader.scanned_bytes - scanned
        self._fetched_bytes += fetched_bytes
        if is_rest:
            reader.next_offset = self._high
        if self._newest_first and reader.next_offset < self._high:
            return None
        return self._close(reader)

    def _window(self) -> BatchReader:
        if self._reader is None:
            self._begins = max(self._low, self._high - self._offsets) if self._newest_first else self._low
            keep = self._keep if self._newest_first else 0
            self._reader = BatchReader(
                self.partition, self._wanted, self._low, self._high, at=self._begins, keep_newest=keep
            )
            self._fetched_bytes = 0
        return self._reader

    def _close(self, reader: BatchReader) -> Chunk:
        self._reader = None
        records = list(reader.found)
        times = reader.times
        if self._newest_first:
            records.reverse()
            first = self._begins if reader.first_offset is None else min(self._begins, reader.first_offset)
            self._adapt(self._high - first)
            self._high = max(self._low, first)
            front = None if times is None else times[0]
        else:
            self._adapt(reader.next_offset - self._low)
            self._low = min(reader.next_offset, self._high)
            front = None if times is None else times[1]
        return Chunk(records, front, reader.unreadable)

    def _adapt(self, offsets: int) -> None:
        self._bytes_an_offset = max(self._fetched_bytes, 1) / max(offsets, 1)
        wanted = int(WINDOW_BYTES / self._bytes_an_offset)
        self._offsets = max(1, min(wanted, self._offsets * _GROWTH))
