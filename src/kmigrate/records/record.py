"""The records inside a batch, taken apart and put together again with other offsets and timestamps.  (pure)

::

    length varint · attributes i8 · timestampDelta varlong · offsetDelta varint ·
    keyLength varint · key · valueLength varint · value · headersCount varint · headers …

Only what stands before the key depends on the batch around it. The rest, the *body*, is never looked into and so
cannot be damaged: header names that are not UTF-8, repeated ones, null against empty. All numbers are zigzag varints.

Source: DefaultRecord.java.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kmigrate.records.batch import (
    CODEC_MASK,
    CRC_START,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    Header,
    crc32c,
    write_header,
)
from kmigrate.records.compression import Codec, compress, decompress

NO_TIMESTAMP = -1
_LONGEST_VARINT = 10


class RawRecord(NamedTuple):
    """A record as it is moved: where it lies, when it was made, and everything else, opaque."""

    offset: int
    timestamp_ms: int
    body: bytes


def read_records(header: Header, batch: memoryview | bytes, budget_bytes: int) -> list[RawRecord]:
    """The records of a whole batch of format v2, with the timestamps that consumers see.

    Raises ValueError if the records are damaged, are not as many as the header says, or inflate beyond the budget.
    """
    section = decompress(Codec(header.attributes & CODEC_MASK), batch[HEADER_BYTES:], budget_bytes)
    try:
        records = _split(section, header)
    except IndexError:
        raise ValueError("the records of a batch end early") from None
    if len(records) != header.record_count:
        raise ValueError(f"a batch of {header.record_count} records holds {len(records)}")
    return records


def _split(section: bytes, header: Header) -> list[RawRecord]:
    """Numbers that fit into one byte are read here: a call for each would double the time."""
    records: list[RawRecord] = []
    base_offset, base_timestamp = header.base_offset, header.base_timestamp_ms
    appended_at = header.max_timestamp_ms if header.attributes & LOG_APPEND_TIME else None
    last, at, end = -1, 0, len(section)
    while at < end:
        byte = section[at]
        size, at = (byte >> 1 ^ -(byte & 1), at + 1) if byte < 0x80 else read_varint(section, at)
        after = at + size
        if size < 0 or after > end:
            raise ValueError(f"a record claims {size} bytes of {end - at}")
        at += 1  # attributes, of which none is in use
        byte = section[at]
        timestamp, at = (byte >> 1 ^ -(byte & 1), at + 1) if byte < 0x80 else read_varint(section, at)
        byte = section[at]
        delta, at = (byte >> 1 ^ -(byte & 1), at + 1) if byte < 0x80 else read_varint(section, at)
        if not last < delta <= header.last_offset_delta or at > after:
            raise ValueError(f"a record claims offset delta {delta} behind {last}")
        made_at = base_timestamp + timestamp if appended_at is None else appended_at
        records.append(RawRecord(base_offset + delta, made_at, section[at:after]))
        last, at = delta, after
    return records


def build_batch(records: Sequence[RawRecord], codec: Codec) -> bytearray:
    """A batch of format v2 with base offset 0 around records whose offsets follow each other without a hole.

    Producer id, epoch and sequence are those of nobody: whoever sends it stamps it.
    """
    first, last = records[0], records[-1]
    if last.offset - first.offset != len(records) - 1:
        raise ValueError(f"{len(records)} records cannot fill the offsets {first.offset} to {last.offset}")
    base = first.timestamp_ms
    section = compress(codec, b"".join(_lay_out(records, base)))
    batch = bytearray(HEADER_BYTES) + section
    newest = max(record.timestamp_ms for record in records)
    write_header(batch, codec=codec, record_count=len(records), base_timestamp_ms=base, max_timestamp_ms=newest)
    batch[CRC_START - 4 : CRC_START] = crc32c(memoryview(batch)[CRC_START:]).to_bytes(4, "big")
    return batch


def _lay_out(records: Iterable[RawRecord], base_timestamp_ms: int) -> Iterator[bytes]:
    for delta, (_, timestamp_ms, body) in enumerate(records):
        head = b"\0" + varint(timestamp_ms - base_timestamp_ms) + varint(delta)
        yield varint(len(head) + len(body))
        yield head
        yield body


def stretches(records: Sequence[RawRecord], from_offset: int) -> Iterator[Sequence[RawRecord]]:
    """The records from this offset on, cut wherever an offset is missing."""
    begin = next((at for at, record in enumerate(records) if record.offset >= from_offset), len(records))
    for at in range(begin + 1, len(records) + 1):
        if at == len(records) or records[at].offset != records[at - 1].offset + 1:
            yield records[begin:at]
            begin = at


# ── varints ───────────────────────────────────────────────────────────────────────────────────────────────────────


def varint(value: int) -> bytes:
    """A zigzag varint of up to 64 bits."""
    if 0 <= value < len(_SMALL):
        return _SMALL[value]
    rest = value << 1 ^ value >> 63
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_SMALL: tuple[bytes, ...] = ()
_SMALL = tuple(map(varint, range(4096)))


def read_varint(buffer: bytes | memoryview, at: int) -> tuple[int, int]:
    """(value, where it ends); raises IndexError at the buffer's end, ValueError for more than 64 bits."""
    byte = buffer[at]
    if byte < 0x80:
        return byte >> 1 ^ -(byte & 1), at + 1
    value, shift, end = byte & 0x7F, 7, at + _LONGEST_VARINT
    while byte > 0x7F:
        at += 1
        if at == end:
            raise ValueError("a varint of more than 64 bits")
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        shift += 7
    value &= 0xFFFFFFFFFFFFFFFF
    return value >> 1 ^ -(value & 1), at + 1
