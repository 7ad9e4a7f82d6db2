"""What consumers see of a stretch of a log, as one digest for each offset.  (pure)

Two logs that hold the same records at the same offsets look the same here, however the records are batched, compressed
or stamped: a digest covers a record's timestamp as a consumer sees it, and its opaque body. Control batches and aborted
data take up offsets that no consumer sees.

Memory: 16 bytes an offset, and one unpacked batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch
from kmigrate.records.batch import CODEC_MASK, HEADER_BYTES, LOG_APPEND_TIME, Header
from kmigrate.records.message_set import read_entry
from kmigrate.records.record import RawRecord, read_records

DIGEST_BYTES = 16
ABSENT = bytes(DIGEST_BYTES)
"""Nothing lies at this offset: compaction took it, or nothing was shown."""
HIDDEN = b"\xff" * DIGEST_BYTES
"""A control batch or aborted data lies at this offset."""
UNSEEN = (ABSENT, HIDDEN)
BUDGET_BYTES = 64 << 20
"""What the records of one batch may unpack to."""
MOST_RECORDS = 1_000_000
"""Of one batch; a record in hand takes some 200 bytes, and in a batch as few as 7."""
_TIMESTAMP_MASK = (1 << 64) - 1


class Visible:
    """The offsets start ≤ o < end of one log; its batches are shown in order, each once.

    A batch that cannot be read (damaged, or larger than the budget) is known by its bytes: it looks the same only as
    the same batch on the other side.
    """

    def __init__(self, start: int, end: int, shift: int = 0) -> None:
        """`shift` is added to the offsets of what is shown."""
        self.next_offset = start
        """Behind the last batch that was shown."""
        self.leader_epoch: LeaderEpoch = UNKNOWN_EPOCH
        """Of that batch."""
        self.size = 0
        """Bytes of all batches that were shown."""
        self._start, self._end, self._shift = start, max(start, end), shift
        self._digests = bytearray(DIGEST_BYTES * (self._end - start))
        self._unreadable: list[range] = []

    def __getitem__(self, offset: int) -> bytes:
        """ABSENT, HIDDEN, or the digest of the record at this offset; only from start to end."""
        at = DIGEST_BYTES * (offset - self._start)
        return bytes(self._digests[at : at + DIGEST_BYTES])

    def is_readable(self, offset: int) -> bool:
        """False where a batch lies that is known by its bytes only."""
        return not any(offset in each for each in self._unreadable)

    def add_batch(self, header: Header, batch: memoryview, *, hidden: bool) -> None:
        """Shows a whole batch of format v2; `hidden` says that no consumer sees what it holds."""
        offsets = self._within(header.base_offset + self._shift, header.next_offset + self._shift)
        self._pass(header.next_offset + self._shift, LeaderEpoch(header.leader_epoch), len(batch))
        if hidden:
            self._fill(offsets, HIDDEN)
        elif offsets and header.record_count:
            try:
                self._put(_read(header, batch))
            except ValueError:
                shifted = header._replace(base_offset=header.base_offset + self._shift)
                self._seal(offsets, _fingerprint(shifted, batch))

    def add_message(self, entry: memoryview, next_offset: int) -> None:
        """Shows one whole entry of a message set, format v0 or v1."""
        offsets = self._within(self.next_offset, next_offset + self._shift)
        self._pass(next_offset + self._shift, UNKNOWN_EPOCH, len(entry))
        if offsets:
            try:
                self._put(read_entry(entry, BUDGET_BYTES).records)
            except ValueError:
                self._seal(offsets, _digest(entry))

    def _within(self, first: int, next_offset: int) -> range:
        return range(max(first, self._start), min(next_offset, self._end))

    def _pass(self, next_offset: int, epoch: LeaderEpoch, size: int) -> None:
        self.next_offset = next_offset
        self.leader_epoch = epoch
        self.size += size

    def _put(self, records: Iterable[RawRecord]) -> None:
        for record in records:
            offset = record.offset + self._shift
            if self._start <= offset < self._end:
                timestamp = (record.timestamp_ms & _TIMESTAMP_MASK).to_bytes(8, "big")
                at = DIGEST_BYTES * (offset - self._start)
                self._digests[at : at + DIGEST_BYTES] = _digest(timestamp + record.body)

    def _fill(self, offsets: range, digest: bytes) -> None:
        at = DIGEST_BYTES * (offsets.start - self._start)
        self._digests[at : at + DIGEST_BYTES * len(offsets)] = digest * len(offsets)

    def _seal(self, offsets: range, digest: bytes) -> None:
        self._fill(offsets, digest)
        self._unreadable.append(offsets)


def _read(header: Header, batch: memoryview) -> list[RawRecord]:
    if header.record_count > MOST_RECORDS:
        raise ValueError(f"a batch of {header.record_count} records")
    return read_records(header, batch, BUDGET_BYTES)


def _fingerprint(header: Header, batch: memoryview) -> bytes:
    """The same for two batches whose records are the same bytes at the same offsets with the same timestamps."""
    kept = header._replace(
        batch_length=0,
        leader_epoch=-1,
        crc=0,
        attributes=header.attributes & (CODEC_MASK | LOG_APPEND_TIME),
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
    )
    return _digest(repr(kept).encode() + batch[HEADER_BYTES:])


def _digest(content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()
