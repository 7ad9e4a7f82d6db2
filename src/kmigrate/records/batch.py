"""The header of a record batch, read from and written into the bytes it lies in.

::

    0 baseOffset i64 · 8 batchLength i32 · 12 partitionLeaderEpoch i32 · 16 magic i8 · 17 crc u32 · 21 attributes i16
    23 lastOffsetDelta i32 · 27 baseTimestamp i64 · 35 maxTimestamp i64 · 43 producerId i64 · 51 producerEpoch i16
    53 baseSequence i32 · 57 recordsCount i32 · 61 records

The CRC-32C covers everything from the attributes on. baseOffset and partitionLeaderEpoch lie outside it: the broker
that appends a batch writes them anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import fastcrc

HEADER_BYTES = 61
LENGTH_OVERHEAD = 12
"""batchLength does not count baseOffset and itself."""
MAGIC_OFFSET = 16
MAGIC = 2
CRC_START = 21
SEQUENCES = 1 << 31

CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40

crc32c = fastcrc.crc32.iscsi

HEADER = struct.Struct(">qiibIhiqqqhii")
_STAMP_HEAD = struct.Struct(">qiibI")
_STAMP_TAIL = struct.Struct(">qhi")
_ATTRIBUTES = struct.Struct(">h")


class Header(NamedTuple):
    """The fields of a batch header, in wire order."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def size(self) -> int:
        return self.batch_length + LENGTH_OVERHEAD


def parse_header(buffer: memoryview | bytes | bytearray, at: int) -> Header:
    """The header of the batch that begins at `at`; at least HEADER_BYTES must follow."""
    return Header._make(HEADER.unpack_from(buffer, at))


def iterate_batches(buffer: memoryview | bytes | bytearray) -> Iterator[tuple[Header, memoryview]]:
    """Every whole batch of magic 2 with its bytes; a last one that is cut is left out.

    Raises ValueError for a length that no batch can have, and for older formats.
    """
    view = memoryview(buffer)
    at = 0
    while at + HEADER_BYTES <= len(view):
        if view[at + MAGIC_OFFSET] != 2:
            raise ValueError(f"magic {view[at + MAGIC_OFFSET]} is not a record batch")
        header = parse_header(view, at)
        if header.batch_length < HEADER_BYTES - LENGTH_OVERHEAD:
            raise ValueError(f"a batch at offset {header.base_offset} claims {header.batch_length} bytes")
        if at + header.size > len(view):
            return
        yield header, view[at : at + header.size]
        at += header.size


def stamp(
    view: memoryview, at: int, size: int, producer_id: int, producer_epoch: int, sequence: int, attributes: int
) -> None:
    """Makes the batch at `at` one of ours, in place: base offset 0, no leader epoch, our id and sequence, its CRC.

    `attributes` are the new ones; the records stay as they are.
    """
    _STAMP_TAIL.pack_into(view, at + 43, producer_id, producer_epoch, sequence)
    _ATTRIBUTES.pack_into(view, at + CRC_START, attributes)
    _STAMP_HEAD.pack_into(view, at, 0, size - LENGTH_OVERHEAD, -1, MAGIC, crc32c(view[at + CRC_START : at + size]))


def write_header(
    batch: bytearray, *, codec: int, record_count: int, base_timestamp_ms: int, max_timestamp_ms: int
) -> None:
    """Writes the header of a batch without holes, of base offset 0 and nobody's, in front of its records.

    Its CRC is left 0: `stamp` gives it.
    """
    length, last_delta = len(batch) - LENGTH_OVERHEAD, record_count - 1
    head = (0, length, -1, MAGIC, 0, codec, last_delta, base_timestamp_ms, max_timestamp_ms, -1, -1, -1, record_count)
    HEADER.pack_into(batch, 0, *head)


def same_content(one: tuple[Header, memoryview], other: tuple[Header, memoryview]) -> bool:
    """Whether two batches hold the same records at the same offsets with the same timestamps.

    What the writer of a log adds (leader epoch, producer id, sequence, and the bits that follow from them) may differ.
    """
    return one[0].base_offset == other[0].base_offset and same_records(one, other)


def same_records(one: tuple[Header, memoryview], other: tuple[Header, memoryview]) -> bool:
    """The same of two batches that may begin at different offsets."""
    a, b = one[0], other[0]
    return (
        a.last_offset_delta == b.last_offset_delta
        and a.record_count == b.record_count
        and a.base_timestamp_ms == b.base_timestamp_ms
        and a.max_timestamp_ms == b.max_timestamp_ms
        and (a.attributes ^ b.attributes) & (CODEC_MASK | LOG_APPEND_TIME) == 0
        and a.batch_length == b.batch_length
        and one[1][HEADER_BYTES:].tobytes() == other[1][HEADER_BYTES:].tobytes()  # views compare byte by byte, slowly
    )
