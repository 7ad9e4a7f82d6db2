"""Small batches that follow each other go as one: each batch costs the target's broker, and a request of ours.  (pure)

A partition sends one batch in a request. Where a fetch answer brings several small ones in a row, they are spliced
(`records/splice.py`): the records stay what they are. Nothing waits for others to come.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.copy.judge import Treatment
from kmigrate.copy.pieces import PIECE_BYTES, Batch
from kmigrate.kafka_types import LeaderEpoch, Offset
from kmigrate.records.batch import (
    CODEC_MASK,
    HEADER_BYTES,
    LENGTH_OVERHEAD,
    SEQUENCES,
    parse_header,
    write_header,
)
from kmigrate.records.compression import Codec, InflatesTooFarError, compress, decompress
from kmigrate.records.scan import SCAN, Run, Scan
from kmigrate.records.splice import GROWTH_BYTES, SPLICER, Splicer

MERGED_BYTES = 256 << 10
"""What is merged grows up to about this: from here on a broker gains little, and a standing reads whole batches."""
SMALL_BYTES = 32 << 10
"""Batches above this go as they are."""
SCANNED_BYTES = 4 << 10
"""Batches up to this are looked for many at once; for larger ones a look at each costs little."""
SCANNED_BATCHES = 512
"""How many at once."""
SMALL_COMPRESSED_BYTES = 2 << 10
"""The same for compressed ones, which have to be inflated and compressed again."""
SMALL_COMPRESSED_RECORDS = 10
"""Of more records a batch costs more to compress again than it saves."""
INFLATED_BYTES = 4 * MERGED_BYTES
"""What the batches of a row may inflate to."""
PLAINLY_RECORDS = 8
"""Where splicing is not compiled, batches of more records cost more than they save."""
_WIDENED_BYTES = 6
"""What a record takes more than before, at most in practice: its deltas are counted from farther away."""
_FIRST_RATIO = 8.0
"""How far compressed batches inflate, until some have told."""
_SLACK_BYTES = 16 << 10
_NO_TIMESTAMP = 0x100
"""Beside the codec: batches that begin with a record without a timestamp are no company for others. Some clients read
every timestamp otherwise where the first one of a batch is negative."""
_ANY_NUMBER = 1 << 31
_LONG_AGO_MS, _NEVER_MS = -(1 << 63), (1 << 63) - 1
_NOTHING = memoryview(b"")


class Row:
    """Batches in a row that may become one: all small, of one codec, without a gap between them.

    `starts` say where they begin in the buffer, `size` is that of all of them.
    """

    def __init__(self, splicer: Splicer = SPLICER, scan: Scan | None = SCAN) -> None:
        self.starts: list[int] = []
        self.size = 0
        self.limit_bytes = MERGED_BYTES
        """No batch is made larger: what the source's topic allows."""
        self._refused_bytes = _ANY_NUMBER
        self._buffer = _NOTHING
        self._kind = 0
        self._base = 0
        self._sequence = 0
        self._records = 0
        self._newest_ms, self._oldest_ms = _LONG_AGO_MS, _NEVER_MS
        self._ratio = _FIRST_RATIO
        self._most_records = _ANY_NUMBER if splicer.is_compiled else PLAINLY_RECORDS
        self._splicer = splicer
        self._scan = scan if splicer.is_compiled else None

    @property
    def most_bytes(self) -> int:
        """What a merged batch may take."""
        return min(self.limit_bytes, self._refused_bytes - 1)

    def refuse(self, size: int) -> None:
        """The target takes no batch of this size: from now on they are half as large."""
        self._refused_bytes = min(self._refused_bytes, size // 2 + 1)

    def forget_refusals(self) -> None:
        """What the target took or not before counts no more."""
        self._refused_bytes = _ANY_NUMBER

    @property
    def kept_bytes(self) -> int:
        """What the row takes where it has to be kept, whatever becomes of it."""
        return self.size + PIECE_BYTES * len(self.starts)

    def takes(self, size: int, attributes: int, records: int) -> bool:
        """Whether a batch of decided records is small enough to be merged with others."""
        most_bytes, most_records = SMALL_BYTES, self._most_records
        if attributes & CODEC_MASK:
            most_bytes, most_records = SMALL_COMPRESSED_BYTES, min(SMALL_COMPRESSED_RECORDS, most_records)
        return size <= most_bytes and records <= most_records and 2 * size <= min(self.most_bytes, MERGED_BYTES)

    def fits(self, size: int, attributes: int, base_timestamp_ms: int, records: int) -> bool:
        """Whether a batch may follow those that are in the row."""
        if not self.starts:
            return True
        kind = _kind_of(attributes, base_timestamp_ms)
        if kind != self._kind:
            return False
        after = self.size + size
        if kind & CODEC_MASK:
            return after * self._ratio <= MERGED_BYTES and after <= self.most_bytes
        widened = _WIDENED_BYTES * (self._records + records) - HEADER_BYTES * len(self.starts)
        return after + max(0, widened) <= min(self.most_bytes, MERGED_BYTES)

    def add(
        self,
        buffer: memoryview,
        at: int,
        size: int,
        attributes: int,
        base_timestamp_ms: int,
        newest_ms: int,
        records: int,
        base: int,
        sequence: int,
    ) -> None:
        """The next batch; `sequence` is what it would have by itself."""
        if not self.starts:
            self._buffer, self._base, self._sequence = buffer, base, sequence
            self._kind = _kind_of(attributes, base_timestamp_ms)
        self.starts.append(at)
        self.size += size
        self._records += records
        if newest_ms > self._newest_ms:
            self._newest_ms = newest_ms
        if newest_ms < self._oldest_ms:
            self._oldest_ms = newest_ms

    def scan(self, buffer: memoryview, at: int, end: int, base: int, forbidden_bits: int) -> Run | None:
        """Adds the batches that follow at once, up to the first one that has to be looked at by itself, if it is one.

        None if that cannot be told here. `forbidden_bits` are those attributes that do not simply go into a row.
        """
        if self._scan is None or self._kind & CODEC_MASK:
            return None
        most_bytes = min(self.most_bytes, MERGED_BYTES)
        found, starts = self._scan(
            buffer,
            end,
            Run(
                at=at,
                next=base,
                forbidden_bits=forbidden_bits,
                without_timestamp=self._kind != 0,
                most_batch_bytes=min(SCANNED_BYTES, most_bytes // 2),
                most_bytes=most_bytes,
                most_batches=SCANNED_BATCHES,
                widened_bytes=_WIDENED_BYTES,
                batches=len(self.starts),
                records=self._records,
                size=self.size,
                newest_ms=self._newest_ms,
                oldest_ms=self._oldest_ms,
                largest_bytes=0,
                epoch=0,
            ),
        )
        if not starts:
            return None
        self.starts += starts
        self.size, self._records = found.size, found.records
        self._newest_ms, self._oldest_ms = found.newest_ms, found.oldest_ms
        return found

    def take(self, *, lent: bool, shift: int, entries: int) -> Iterator[Batch]:
        """Empties the row: one batch, if they can be merged, else each of them as it is. None is stamped.

        They go to offset + `shift`, and those that are not `lent` are copied.
        """
        merged = self._merge() if len(self.starts) > 1 else None
        if merged is not None:
            last = parse_header(self._buffer, self.starts[-1])
            yield Batch(
                base=Offset(self._base),
                next=Offset(last.next_offset),
                target=Offset(self._base + shift),
                sequence=self._sequence,
                records=self._records,
                size=len(merged),
                newest_ms=self._newest_ms,
                oldest_ms=self._oldest_ms,
                epoch=LeaderEpoch(last.leader_epoch),
                view=memoryview(merged),
                lent=lent,
                treatment=Treatment.MERGE,
                entries=entries,
            )
        else:
            yield from self._each(lent=lent, shift=shift, entries=entries)
        self.clear()

    def clear(self) -> None:
        """Nothing is in the row, and the buffer is not held."""
        self.starts, self._buffer = [], _NOTHING
        self.size = self._records = 0
        self._newest_ms, self._oldest_ms = _LONG_AGO_MS, _NEVER_MS

    def _each(self, *, lent: bool, shift: int, entries: int) -> Iterator[Batch]:
        sequence = self._sequence
        for start in self.starts:
            header = parse_header(self._buffer, start)
            view = self._buffer[start : start + header.size]
            yield Batch(
                base=Offset(header.base_offset),
                next=Offset(header.next_offset),
                target=Offset(header.base_offset + shift),
                sequence=sequence,
                records=header.record_count,
                size=header.size,
                newest_ms=header.max_timestamp_ms,
                oldest_ms=header.max_timestamp_ms,
                epoch=LeaderEpoch(header.leader_epoch),
                view=view if lent else memoryview(bytearray(view)),
                lent=lent,
                treatment=Treatment.AS_IS,
                entries=entries,
            )
            sequence = (sequence + header.record_count) % SEQUENCES

    def _merge(self) -> bytearray | None:
        """One batch of all records, nobody's yet; None where they cannot be merged: then each goes as it is."""
        codec = Codec(self._kind & CODEC_MASK)
        buffer, starts, size = self._buffer, self.starts, self.size
        first = parse_header(buffer, starts[0])
        if codec is not Codec.NONE:
            try:
                buffer, starts = self._inflate(codec)
            except InflatesTooFarError:
                self._ratio *= 2
                return None
            except ValueError:
                return None
            size = len(buffer)
            self._ratio = max(1.0, size / self.size)
        room_bytes = size + GROWTH_BYTES * self._records
        batch = self._splicer.join(buffer, starts, room_bytes)
        if batch is None:
            return None
        if codec is not Codec.NONE:
            batch[HEADER_BYTES:] = compress(codec, bytes(memoryview(batch)[HEADER_BYTES:]))
        if len(batch) > self.most_bytes:
            return None
        if HEADER_BYTES + room_bytes - len(batch) > _SLACK_BYTES:
            batch = batch[:]  # what was too much of its memory is given back
        write_header(
            batch,
            codec=codec,
            record_count=self._records,
            base_timestamp_ms=first.base_timestamp_ms,
            max_timestamp_ms=self._newest_ms,
        )
        return batch

    def _inflate(self, codec: Codec) -> tuple[memoryview, list[int]]:
        """The batches uncompressed, and where each begins; raises ValueError if they are damaged or inflate too far."""
        out, starts = bytearray(), []
        for start in self.starts:
            header = parse_header(self._buffer, start)
            section = self._buffer[start + HEADER_BYTES : start + header.size]
            left = INFLATED_BYTES - len(out)
            if left <= 0:
                raise InflatesTooFarError("the batches of a row inflate too far")
            records = decompress(codec, section, left)
            starts.append(len(out))
            out += self._buffer[start : start + HEADER_BYTES]
            out += records
            out[starts[-1] + 8 : starts[-1] + 12] = (HEADER_BYTES + len(records) - LENGTH_OVERHEAD).to_bytes(4, "big")
        return memoryview(out), starts


def _kind_of(attributes: int, base_timestamp_ms: int) -> int:
    """What all batches of a row have in common."""
    return attributes & CODEC_MASK | (_NO_TIMESTAMP if base_timestamp_ms < 0 else 0)
