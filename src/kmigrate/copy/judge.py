"""Says of a record batch that cannot go to the target as it is why not, and how its partition stops.  (pure)

The copier's loop handles *as it is* by itself; everything else comes here, and the first case of the table that holds
decides. A refusal is believed only the second time in a row at the same offset, freshly fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import Offset
from kmigrate.records.batch import (
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

SPECIAL_BITS = LOG_APPEND_TIME | TRANSACTIONAL | CONTROL
"""Attribute bits of batches that cannot go as they are."""


class Suspect(NamedTuple):
    """A batch that does not go as it is: its header, the offset that was wanted, and whether its CRC holds."""

    header: Header
    wanted: int
    crc_holds: bool


class Case(NamedTuple):
    """One row of the table: what the batch is, when it is that, and how its partition stops."""

    name: str
    holds: Callable[[Suspect], bool]
    kind: StopKind
    evidence: Callable[[Suspect], str]


CASES: tuple[Case, ...] = (
    Case(
        "an impossible length",
        lambda s: s.header.magic >= 2 and s.header.batch_length < HEADER_BYTES - LENGTH_OVERHEAD,
        StopKind.SOURCE_CORRUPT,
        lambda s: f"a batch claims {s.header.batch_length} bytes, less than its own header",
    ),
    Case(
        "a message set of format v0 or v1",
        lambda s: s.header.magic < 2,
        StopKind.UNSUPPORTED,
        lambda s: f"records in message format v{s.header.magic}",
    ),
    Case(
        "a format newer than v2",
        lambda s: s.header.magic > 2,
        StopKind.UNSUPPORTED,
        lambda s: f"records in message format v{s.header.magic}",
    ),
    Case(
        "a wrong CRC",
        lambda s: not s.crc_holds,
        StopKind.SOURCE_CORRUPT,
        lambda s: "a batch whose CRC-32C does not match its bytes",
    ),
    Case(
        "a control batch",
        lambda s: bool(s.header.attributes & CONTROL),
        StopKind.UNSUPPORTED,
        lambda s: f"a transaction marker of producer id {s.header.producer_id}",
    ),
    Case(
        "a transactional batch",
        lambda s: bool(s.header.attributes & TRANSACTIONAL),
        StopKind.UNSUPPORTED,
        lambda s: f"transactional records of producer id {s.header.producer_id}",
    ),
    Case(
        "a batch stamped with LogAppendTime",
        lambda s: bool(s.header.attributes & LOG_APPEND_TIME),
        StopKind.UNSUPPORTED,
        lambda s: "records stamped with LogAppendTime",
    ),
    Case(
        "offsets missing before it",
        lambda s: s.header.base_offset > s.wanted,
        StopKind.UNSUPPORTED,
        lambda s: f"a gap: no record from offset {s.wanted} to {s.header.base_offset - 1}",
    ),
    Case(
        "a beginning below the wanted offset",
        lambda s: s.header.base_offset < s.wanted,
        StopKind.UNSUPPORTED,
        lambda s: f"a batch that begins at offset {s.header.base_offset}, before the wanted one",
    ),
    Case(
        "offsets missing inside, or no record at all",
        lambda s: s.header.record_count != s.header.last_offset_delta + 1 or s.header.record_count <= 0,
        StopKind.UNSUPPORTED,
        lambda s: f"a batch of {s.header.record_count} records over {s.header.last_offset_delta + 1} offsets",
    ),
)
"""Why a batch does not go as it is, in the order in which it is asked."""


def judge(buffer: memoryview, at: int, end: int, wanted: int) -> Stop:
    """Why the batch at `at` cannot go as it is; only for batches of which the copier's loop said so.

    `end` bounds the bytes that were fetched; a whole header of magic 2 or 17 bytes of an older one must lie before it.
    """
    magic = buffer[at + MAGIC_OFFSET]
    if magic < 2:
        base = int.from_bytes(buffer[at : at + 8], "big", signed=True)
        length = int.from_bytes(buffer[at + 8 : at + 12], "big", signed=True)
        suspect = Suspect(Header(base, length, -1, magic, 0, 0, 0, 0, 0, -1, -1, -1, 1), wanted, True)
    else:
        header = parse_header(buffer, at)
        whole = HEADER_BYTES <= header.size <= end - at
        suspect = Suspect(header, wanted, whole and crc32c(buffer[at + CRC_START : at + header.size]) == header.crc)
    for case in CASES:
        if case.holds(suspect):
            return Stop(kind=case.kind, offset=Offset(wanted), evidence=case.evidence(suspect))
    raise AssertionError(f"the batch at offset {wanted} can go as it is")
