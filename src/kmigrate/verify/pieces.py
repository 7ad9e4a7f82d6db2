"""What a walk over a log meets: batches where they lie, and a log start that moved on meanwhile.  (pure)"""

from __future__ import annotations

from typing import NamedTuple

from kmigrate.kafka_types import Side
from kmigrate.records.batch import CRC_START, Header, crc32c
from kmigrate.records.compression import InflatesTooFarError
from kmigrate.records.message_set import read_entry
from kmigrate.records.record import RawRecord, read_records
from kmigrate.records.visible import BUDGET_BYTES, MOST_RECORDS


class Piece(NamedTuple):
    """A whole batch in the offsets of its own side; one message of an older format (v0, v1) has no header.

    `hidden`: no consumer of decided data sees anything of it. `view` need not outlive the next but one piece's answer.
    """

    base: int
    next: int
    header: Header | None
    view: memoryview
    hidden: bool


class Trimmed(NamedTuple):
    """The source's log begins here now: what lies below cannot be compared any more."""

    source: int


class CannotTakeApart(Exception):
    """A batch that must be taken apart to be compared, and is too large for that; nothing is known of it."""

    def __init__(self, side: Side, offset: int, reason: str) -> None:
        super().__init__(f"the batch at offset {offset} of the {side}: {reason}")


class Damaged(Exception):
    """A batch that no consumer could read: its CRC does not match, or its records are not what its header says."""

    def __init__(self, side: Side, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.side = side
        self.offset = offset
        """On that side."""


def crc_holds(piece: Piece) -> bool:
    """Whether a batch's CRC-32C matches its bytes; messages are checked when they are read."""
    return piece.header is None or crc32c(piece.view[CRC_START:]) == piece.header.crc


def read_piece(side: Side, piece: Piece) -> list[RawRecord]:
    """The records of a piece that is not hidden, in its side's offsets; raises Damaged or CannotTakeApart."""
    header = piece.header
    if header is not None and header.record_count > MOST_RECORDS:
        raise CannotTakeApart(side, piece.base, f"{header.record_count:,} records in one batch")
    try:
        if header is None:
            return read_entry(piece.view, BUDGET_BYTES).records
        return read_records(header, piece.view, BUDGET_BYTES)
    except InflatesTooFarError as error:
        raise CannotTakeApart(side, piece.base, str(error)) from error
    except ValueError as error:
        raise Damaged(side, piece.base, str(error)) from error
