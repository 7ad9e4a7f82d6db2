"""The records of one side's log in order, without regard to their offsets, with as much ahead as is asked for.  (pure)

What no consumer sees is passed over. Where a log start moved on while it was read, the first record behind that is
noted: what lies before it is not missing, it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kmigrate.kafka_types import Side
from kmigrate.records.record import RawRecord
from kmigrate.verify.pieces import Damaged, Piece, Trimmed, crc_holds, read_piece

AHEAD_BYTES = 32 << 20
"""What records that are looked ahead to may hold together; one batch more may be taken apart."""
_TIDY_RECORDS = 10_000

Content = tuple[int, bytes]
"""What is compared of a record: its timestamp, and key, value and headers."""


class Stream:
    """The records from offset `start` of this side on."""

    def __init__(self, side: Side, pieces: Iterator[Piece | Trimmed], start: int) -> None:
        self.next_offset = start
        """Up to here records were taken."""
        self.gaps: set[int] = set()
        """Offsets of records before which some were deleted while they were read."""
        self.has_ended = False
        self._side = side
        self._pieces = pieces
        self._start = start
        self._read_to = start
        self._records: list[RawRecord] = []
        self._at = 0
        self._held_bytes = 0
        self._bytes = 0
        self._is_trimmed = False

    def fill(self, count: int) -> int:
        """How many records lie ahead, at least so many unless the log ends, or they hold too much."""
        while len(self._records) - self._at < count and not self.has_ended and self._held_bytes < AHEAD_BYTES:
            self._bring()
        return len(self._records) - self._at

    def ahead(self, count: int) -> list[RawRecord]:
        """The next records, at most so many; they are not taken."""
        return self._records[self._at : self._at + count]

    def take(self, count: int) -> None:
        """So many records are done with."""
        taken = self._records[self._at : self._at + count]
        if taken:
            self.next_offset = taken[-1].offset + 1
            self._held_bytes -= sum(len(record.body) for record in taken)
        self._at += count
        if self._at == len(self._records):
            self.next_offset = max(self.next_offset, self._read_to)
        if self._at == len(self._records) or self._at > _TIDY_RECORDS:
            del self._records[: self._at]
            self._at = 0

    def take_bytes(self) -> int:
        """Bytes of the batches that came since this was asked last."""
        taken, self._bytes = self._bytes, 0
        return taken

    def _bring(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self.has_ended = True
            return
        if isinstance(piece, Trimmed):
            self._is_trimmed = True
            return
        self._bytes += piece.view.nbytes
        if not crc_holds(piece):
            raise Damaged(self._side, piece.base, f"the CRC-32C of the {self._side}'s batch does not match")
        if not piece.hidden and (piece.header is None or piece.header.record_count):
            self._hold([each for each in read_piece(self._side, piece) if each.offset >= self._start])
        self._read_to = piece.next

    def _hold(self, records: Sequence[RawRecord]) -> None:
        if not records:
            return
        if self._is_trimmed:
            self.gaps.add(records[0].offset)
            self._is_trimmed = False
        self._records += records
        self._held_bytes += sum(len(record.body) for record in records)


def content_of(record: RawRecord) -> Content:
    """What is compared of a record."""
    return record.timestamp_ms, record.body
