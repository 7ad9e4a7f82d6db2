"""The piece that a side of a walk goes on with, and whether a row of them is what the other side has in one.  (pure)"""

from __future__ import annotations

from collections.abc import Sequence

from kmigrate.records.batch import CODEC_MASK, HEADER_BYTES, LOG_APPEND_TIME
from kmigrate.records.record import RawRecord
from kmigrate.records.splice import GROWTH_BYTES, SPLICER
from kmigrate.verify.pieces import Piece


class Head:
    """The piece that a side goes on with, in the offsets of the source; its records once it is taken apart.

    `is_straight`: all offsets of the piece are as far from the source's.
    """

    __slots__ = ("base", "is_kept", "is_straight", "next", "piece", "records")

    def __init__(self, piece: Piece, base: int, after: int, *, is_straight: bool) -> None:
        self.piece = piece
        self.base = base
        self.next = after
        self.is_straight = is_straight
        self.is_kept = False
        self.records: list[RawRecord] | None = None

    def keep(self) -> None:
        """Moves the piece to memory of its own."""
        if not self.is_kept:
            self.piece, self.is_kept = self.piece._replace(view=memoryview(bytes(self.piece.view))), True


def is_plain(head: Head) -> bool:
    """Whether it is not taken apart, not compressed, and has a record with a time of its own at each of its offsets."""
    header = head.piece.header
    return (
        header is not None
        and head.records is None
        and head.is_straight
        and not header.attributes & (CODEC_MASK | LOG_APPEND_TIME)
        and header.record_count == header.last_offset_delta + 1
    )


def holds_row(long: Head, row: Sequence[Head]) -> bool:
    """Whether a plain batch is what the copy would make of a row of plain ones: then they hold the same records.

    False says nothing: the same records may be laid out in another way.
    """
    mine, first = long.piece.header, row[0].piece.header
    if mine is None or first is None or mine.base_timestamp_ms != first.base_timestamp_ms:
        return False
    joined, starts = bytearray(), []
    for head in row:
        starts.append(len(joined))
        joined += head.piece.view
    made = SPLICER.join(memoryview(joined), starts, len(joined) + GROWTH_BYTES * mine.record_count)
    return made is not None and memoryview(made)[HEADER_BYTES:].tobytes() == long.piece.view[HEADER_BYTES:].tobytes()
