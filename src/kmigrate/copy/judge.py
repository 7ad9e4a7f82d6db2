"""Says of a record batch that is not simply copied what becomes of it.  (pure)

The copier's loop handles *as it is* by itself; everything else comes here, and the first case of the table that holds
decides. Offsets that are missing before a batch are a gap, whatever the batch is. A refusal is believed only the second
time in a row at the same offset, freshly fetched.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.copy.states import StopKind
from kmigrate.records.batch import (
    CODEC_MASK,
    CONTROL,
    CRC_START,
    HEADER_BYTES,
    LENGTH_OVERHEAD,
    LOG_APPEND_TIME,
    MAGIC_OFFSET,
    TRANSACTIONAL,
    Header,
    crc32c,
    parse_header,
)
from kmigrate.records.compression import Codec

SPECIAL_BITS = LOG_APPEND_TIME | TRANSACTIONAL | CONTROL
"""Attribute bits of batches that come here."""


class Treatment(enum.Enum):
    """What becomes of a batch."""

    AS_IS = "copied as it is"
    MERGE = "small ones in a row go as one"
    REENCODE = "its records are laid into new batches"
    CONVERT = "converted to format v2"
    GAP = "its offsets are filled with markers"
    FILLER = "made to take up offsets below the log start"
    REFUSE = "the partition stops"


class Suspect(NamedTuple):
    """A batch that is not simply copied: header, wanted offset, whether its CRC holds, whether it was aborted."""

    header: Header
    wanted: int
    crc_holds: bool
    aborted: bool


class Case(NamedTuple):
    """One row of the table: what the batch is, when it is that, what becomes of it.

    `kind` and `evidence` are those of the stop, where it is refused.
    """

    name: str
    holds: Callable[[Suspect], bool]
    treatment: Treatment
    kind: StopKind | None = None
    evidence: Callable[[Suspect], str] = lambda _suspect: ""


CASES: tuple[Case, ...] = (
    Case(
        "an impossible length",
        lambda s: s.header.magic >= 2 and s.header.batch_length < HEADER_BYTES - LENGTH_OVERHEAD,
        Treatment.REFUSE,
        StopKind.SOURCE_CORRUPT,
        lambda s: f"a batch claims {s.header.batch_length} bytes, less than its own header",
    ),
    Case("a message set of format v0 or v1", lambda s: s.header.magic < 2, Treatment.CONVERT),
    Case(
        "a format newer than v2",
        lambda s: s.header.magic > 2,
        Treatment.REFUSE,
        StopKind.UNSUPPORTED,
        lambda s: f"records in message format v{s.header.magic}",
    ),
    Case(
        "a wrong CRC",
        lambda s: not s.crc_holds,
        Treatment.REFUSE,
        StopKind.SOURCE_CORRUPT,
        lambda s: "a batch whose CRC-32C does not match its bytes",
    ),
    Case(
        "an end below the wanted offset",
        lambda s: s.header.next_offset <= s.wanted,
        Treatment.REFUSE,
        StopKind.SOURCE_CORRUPT,
        lambda s: f"a batch of the offsets {s.header.base_offset} to {s.header.next_offset - 1} came instead",
    ),
    Case(
        "more records than offsets",
        lambda s: not 0 <= s.header.record_count <= s.header.last_offset_delta + 1,
        Treatment.REFUSE,
        StopKind.SOURCE_CORRUPT,
        lambda s: f"a batch of {s.header.record_count} records over {s.header.last_offset_delta + 1} offsets",
    ),
    Case("a control batch", lambda s: bool(s.header.attributes & CONTROL), Treatment.GAP),
    Case("records of an aborted transaction", lambda s: s.aborted, Treatment.GAP),
    Case("no record at all", lambda s: s.header.record_count == 0, Treatment.GAP),
    Case(
        "an unknown codec",
        lambda s: s.header.attributes & CODEC_MASK > max(Codec),
        Treatment.REFUSE,
        StopKind.UNSUPPORTED,
        lambda s: f"records compressed with codec {s.header.attributes & CODEC_MASK}",
    ),
    Case("a stamp of LogAppendTime", lambda s: bool(s.header.attributes & LOG_APPEND_TIME), Treatment.REENCODE),
    Case("a beginning below the wanted offset", lambda s: s.header.base_offset < s.wanted, Treatment.REENCODE),
    Case(
        "offsets missing inside",
        lambda s: s.header.record_count != s.header.last_offset_delta + 1,
        Treatment.REENCODE,
    ),
    Case("decided records", lambda _s: True, Treatment.AS_IS),
)
"""What a batch is, and what becomes of it, in the order in which it is asked."""


class Verdict(NamedTuple):
    """The case that holds, and the batch it holds for."""

    case: Case
    suspect: Suspect

    @property
    def treatment(self) -> Treatment:
        return self.case.treatment

    @property
    def evidence(self) -> str:
        return self.case.evidence(self.suspect)


def judge(buffer: memoryview, at: int, end: int, wanted: int, aborted: AbortedTransactions) -> Verdict:
    """What becomes of the batch at `at`; only for batches of which the copier's loop said that they are special.

    `end` bounds the bytes that were fetched; a whole header of magic 2 or 17 bytes of an older one must lie before it.
    """
    magic = buffer[at + MAGIC_OFFSET]
    if magic < 2:
        base = int.from_bytes(buffer[at : at + 8], "big", signed=True)
        length = int.from_bytes(buffer[at + 8 : at + 12], "big", signed=True)
        suspect = Suspect(Header(base, length, -1, magic, 0, 0, 0, 0, 0, -1, -1, -1, 1), wanted, True, False)
    else:
        header = parse_header(buffer, at)
        whole = HEADER_BYTES <= header.size <= end - at
        crc_holds = whole and crc32c(buffer[at + CRC_START : at + header.size]) == header.crc
        suspect = Suspect(header, wanted, crc_holds, crc_holds and aborted.covers(header))
    return Verdict(next(case for case in CASES if case.holds(suspect)), suspect)
