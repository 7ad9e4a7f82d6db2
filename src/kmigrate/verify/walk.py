"""The walk over both logs in step, in the order of the source's offsets.  (pure)

The batches of both sides are cut differently wherever something was merged, split, packed anew or converted, and
markers stand on the target where the source has aborted data, control batches or nothing. So what no consumer sees is
passed over, and then there are three cases. Two batches that begin at the same place and hold the same bytes are the
same: nothing is taken apart. A row of small batches that went as one is put together as the copy did, and again the
bytes are compared. Else both are taken apart, up to where the shorter of the two ends, and records are compared; what
is left of the longer one waits. At most one batch of each side is taken apart at any time.

What lies below the source's log start cannot be compared any more: a log start that moves on meanwhile is a `Trimmed`
among the pieces of either side, and takes away what both sides have below it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kmigrate.kafka_types import Side
from kmigrate.records.batch import HEADER_BYTES, same_records
from kmigrate.records.record import RawRecord
from kmigrate.records.splice import GROWTH_BYTES
from kmigrate.verify.differences import Difference, DifferenceKind
from kmigrate.verify.heads import Head, holds_row, is_plain
from kmigrate.verify.judging import Judge
from kmigrate.verify.pieces import Damaged, Piece, Trimmed, crc_holds, read_piece
from kmigrate.verify.places import Places

Pieces = Iterator[Piece | Trimmed]
_MOST_HIDDEN = 4_096


class Amounts(NamedTuple):
    """What was compared so far: records and bytes of the source, bytes of the target, and records taken apart."""

    records: int = 0
    source_bytes: int = 0
    target_bytes: int = 0
    taken_apart: int = 0

    def __add__(self, other: Amounts) -> Amounts:  # type: ignore[override]
        return Amounts(*(one + another for one, another in zip(self, other, strict=True)))


NOTHING_YET = Amounts()


class Walk:
    """One walk over the source's offsets start ≤ o < end; `difference` ends it.

    `compared_to` is the offset below which everything was compared, `trimmed_to` the source's log start if it moved
    past `start` meanwhile.
    """

    def __init__(self, source: Pieces, target: Pieces, places: Places, start: int, end: int, judge: Judge) -> None:
        self.compared_to = start
        self.trimmed_to: int | None = None
        self.difference: Difference | None = None
        self.amounts = NOTHING_YET
        self._end = end
        self._places = places
        self._floor = _Floor(start)
        self._source = _Cursor(Side.SOURCE, source, self._floor, None)
        self._target = _Cursor(Side.TARGET, target, self._floor, None if places.are_equal else places)
        self._judge = judge
        self._no_row_below = start

    def steps(self) -> Iterator[None]:
        """Compares a stretch at each step; raises CannotTakeApart, and what the iterators of the pieces raise."""
        try:
            while self.difference is None and self._step():
                yield
        except Damaged as damage:
            kind, offset = DifferenceKind.DAMAGED_SOURCE, damage.offset
            if damage.side is Side.TARGET:
                kind, offset = DifferenceKind.DAMAGED_TARGET, self._places.source_of(offset) or 0
            self.difference = Difference(kind, max(self._floor.offset, offset), note=str(damage))
        self.trimmed_to = self._floor.trimmed_to

    def _step(self) -> bool:
        one, other = self._heads()
        if one is None and other is None:
            self._count(0)
            self._advance(self._end)
            return False
        if one is not None and other is not None and (self._take_as_bytes(one, other) or self._take_as_row(one, other)):
            return True
        ends = [head.next for head in (one, other) if head is not None]
        limit = min(*ends, self._end)
        source, target = self._source.take_below(limit), self._target.take_below(limit)
        self.difference = self._judge.compare(source, target, self._source.hidden)
        if self.difference is None:
            self._count(len(source), taken_apart=len(source) + len(target))
            self._advance(limit)
        return True

    def _advance(self, offset: int) -> None:
        self._floor.advance(offset)
        self.compared_to = self._floor.offset

    def _heads(self) -> tuple[Head | None, Head | None]:
        """What both sides go on with, above the same floor."""
        while True:
            floor = self._floor.offset
            heads = self._source.head(self._end), self._target.head(self._end)
            if self._floor.offset == floor:
                return heads

    def _take_as_bytes(self, one: Head, other: Head) -> bool:
        """Whether both are the same batch, which then is done with."""
        mine, theirs = one.piece.header, other.piece.header
        if (
            mine is None
            or theirs is None
            or one.records is not None
            or other.records is not None
            or one.base != other.base
            or one.next != other.next
            or one.base < self._floor.offset  # the records below are not wanted
            or one.next > self._end
            or not other.is_straight
            or not same_records((mine, one.piece.view), (theirs, other.piece.view))
        ):
            return False
        if self._judge.wants_records:
            self._judge.agree(records := read_piece(Side.SOURCE, one.piece))
            self._count(0, taken_apart=len(records))
        self._source.drop()
        self._target.drop()
        self._count(mine.record_count)
        self._advance(one.next)
        return True

    def _take_as_row(self, one: Head, other: Head) -> bool:
        """Whether a row of batches of one side holds what a single one of the other does, which then is done with."""
        if (
            self._judge.wants_records
            or one.base != other.base
            or one.next == other.next
            or one.base < max(self._no_row_below, self._floor.offset)
        ):
            return False
        short, cursor, long = (one, self._source, other) if one.next < other.next else (other, self._target, one)
        if long.next > self._end or not is_plain(short) or not is_plain(long):
            return False
        self._no_row_below = long.next  # what does not fit is looked at once
        row = cursor.gather(long.next, long.piece.view.nbytes)
        if row is None or not holds_row(long, row):
            return False
        self._count(sum(head.piece.header.record_count for head in row if head.piece.header is not None))
        cursor.drop(len(row))
        (self._target if cursor is self._source else self._source).drop()
        self._advance(long.next)
        return True

    def _count(self, records: int, taken_apart: int = 0) -> None:
        source_bytes, target_bytes = self._source.take_bytes(), self._target.take_bytes()
        self.amounts += Amounts(records, source_bytes, target_bytes, taken_apart)


class _Floor:
    """The offset of the source below which nothing is compared any more: it was, or is gone."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.trimmed_to: int | None = None

    def advance(self, offset: int) -> None:
        self.offset = max(self.offset, offset)

    def trim(self, offset: int) -> None:
        if offset > self.offset:
            self.offset = self.trimmed_to = offset


class _HiddenRanges:
    """Where a side has what no consumer sees: the last few thousand places."""

    def __init__(self) -> None:
        self._ranges: list[range] = []

    def add(self, first: int, after: int) -> None:
        if len(self._ranges) > 2 * _MOST_HIDDEN:
            del self._ranges[:_MOST_HIDDEN]
        self._ranges.append(range(first, after))

    def __contains__(self, offset: object) -> bool:
        return any(offset in each for each in self._ranges)


class _Cursor:
    """One side of a walk; `places` lead to the source's offsets, None where they are the same."""

    def __init__(self, side: Side, pieces: Pieces, floor: _Floor, places: Places | None) -> None:
        self.hidden = _HiddenRanges()
        self._side = side
        self._pieces = pieces
        self._floor = floor
        self._places = places
        self._heads: deque[Head] = deque()
        self._bytes = 0

    def head(self, end: int) -> Head | None:
        """The first piece above the floor that a consumer sees anything of; None at the end."""
        while not self._heads or self._heads[0].next <= self._floor.offset:
            if self._heads:
                self._heads.popleft()
            elif not self._bring():
                return None
        head = self._heads[0]
        return head if head.base < end else None

    def take_below(self, limit: int) -> Sequence[RawRecord]:
        """The records from the floor up to this offset of the source; they are done with."""
        if not self._heads or self._heads[0].base >= limit:
            return ()
        head = self._heads[0]
        if head.records is None:
            head.records = self._read(head.piece)
        first = bisect_left(head.records, self._floor.offset, key=_offset)
        after = bisect_left(head.records, limit, key=_offset)
        taken = head.records[first:after] if first or after < len(head.records) else head.records
        if head.next <= limit:
            self._heads.popleft()
        else:
            head.records = head.records[after:]
            head.base = limit
        return taken

    def gather(self, end: int, most_bytes: int) -> Sequence[Head] | None:
        """The pieces from the head on, if they fill all offsets up to `end`, are plain, and no more bytes by far.

        They are moved to memory of their own: more answers may come meanwhile.
        """
        row: list[Head] = []
        size = number = 0
        while True:
            if number == len(self._heads):
                if not self._bring():
                    return None
                continue
            head = self._heads[number]
            if not is_plain(head) or (row and head.base != row[-1].next) or head.next > end:
                return None
            head.keep()
            row.append(head)
            size += head.piece.view.nbytes - HEADER_BYTES
            if head.next == end:
                return row
            if size > most_bytes + GROWTH_BYTES * (end - row[0].base):
                return None
            number += 1

    def drop(self, count: int = 1) -> None:
        """So many heads are done with."""
        for _ in range(count):
            self._heads.popleft()

    def take_bytes(self) -> int:
        """Bytes of the pieces that came since this was asked last."""
        taken, self._bytes = self._bytes, 0
        return taken

    def _bring(self) -> bool:
        """One more piece is looked at, which may be nothing that a consumer sees; False at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        if isinstance(piece, Trimmed):
            self._floor.trim(piece.source)
            return True
        self._bytes += piece.view.nbytes
        if not crc_holds(piece):
            raise Damaged(self._side, piece.base, f"the CRC-32C of the {self._side}'s batch does not match")
        if piece.hidden:
            self.hidden.add(piece.base, piece.next)
        elif piece.header is None or piece.header.record_count:
            self._heads.append(self._place(piece))
        return True

    def _place(self, piece: Piece) -> Head:
        if self._places is None:
            return Head(piece, piece.base, piece.next, is_straight=True)
        difference = self._places.difference_over(piece.base, piece.next)
        if difference is not None:
            return Head(piece, piece.base + difference, piece.next + difference, is_straight=True)
        first, last = self._places.source_of(piece.base), self._places.source_of(piece.next - 1)
        base = 0 if first is None else first
        after = self._places.ends.source if last is None else last + 1
        return Head(piece, base, after, is_straight=False)

    def _read(self, piece: Piece) -> list[RawRecord]:
        records = read_piece(self._side, piece)
        places = self._places
        if places is None:
            return records
        placed = ((places.source_of(record.offset), record) for record in records)
        return [RawRecord(offset, record.timestamp_ms, record.body) for offset, record in placed if offset is not None]


def _offset(record: RawRecord) -> int:
    return record.offset
