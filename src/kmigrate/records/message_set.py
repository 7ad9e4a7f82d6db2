"""Message sets of the formats v0 and v1, as brokers before 0.11 wrote them.  (pure)

::

    offset i64 · size i32 · crc u32 · magic i8 · attributes i8 · [v1: timestamp i64] · key bytes · value bytes

A compressed set lies in the value of one *wrapper* message, which has the offset of its last record. Inside, v0
offsets are absolute; v1 offsets are relative, and the wrapper's says where they end. The CRC-32 covers everything from
the magic on. v0 knows no timestamps: its records get −1, as consumers see them.

Source: LegacyRecord.java, AbstractLegacyRecordBatch.java.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from kmigrate.records.batch import CODEC_MASK, LOG_APPEND_TIME
from kmigrate.records.compression import Codec, decompress
from kmigrate.records.record import NO_TIMESTAMP, RawRecord, varint

ENTRY_OVERHEAD = 12
"""offset and size, which the size does not count."""
_HEAD = struct.Struct(">qiIbb")
_SMALLEST_BYTES = {0: 14, 1: 22}
_CRC_START = 16
_NO_HEADERS = b"\0"


class Entry(NamedTuple):
    """One message of the outer set; `next_offset` follows its last record, also if it is a wrapper."""

    next_offset: int
    magic: int
    codec: Codec
    records: list[RawRecord]


def entry_bytes(buffer: memoryview | bytes, at: int) -> int:
    """How long the entry at `at` is, of which 12 bytes must lie there; raises ValueError if it cannot be one."""
    size = int.from_bytes(buffer[at + 8 : at + ENTRY_OVERHEAD], "big", signed=True)
    if size < _SMALLEST_BYTES[0]:
        raise ValueError(f"a message claims {size} bytes")
    return size + ENTRY_OVERHEAD


def read_entry(entry: memoryview | bytes, budget_bytes: int) -> Entry:
    """The records of one whole entry with the timestamps that consumers see.

    Raises ValueError if it is damaged or inflates beyond the budget.
    """
    outer = _read_message(bytes(entry))
    codec = Codec(outer.attributes & CODEC_MASK)
    if codec is Codec.NONE:
        return Entry(outer.offset + 1, outer.magic, codec, [outer.record(outer.offset, outer.timestamp_ms)])
    if outer.value is None:
        raise ValueError("a compressed message without a value")
    inner = list(_iterate(decompress(codec, outer.value, budget_bytes), outer.magic))
    if not inner:
        raise ValueError("a compressed message that holds nothing")
    base = outer.offset - inner[-1].offset if outer.magic == 1 else 0
    appended_at = outer.timestamp_ms if outer.attributes & LOG_APPEND_TIME else None
    records = [
        each.record(base + each.offset, each.timestamp_ms if appended_at is None else appended_at) for each in inner
    ]
    if any(after.offset <= before.offset for before, after in pairwise(records)):
        raise ValueError("the offsets in a compressed message do not rise")
    if records[-1].offset != outer.offset:
        raise ValueError(f"a compressed message at offset {outer.offset} ends at {records[-1].offset}")
    return Entry(outer.offset + 1, outer.magic, codec, records)


class _Message(NamedTuple):
    offset: int
    magic: int
    attributes: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None

    def record(self, offset: int, timestamp_ms: int) -> RawRecord:
        return RawRecord(offset, timestamp_ms, _field(self.key) + _field(self.value) + _NO_HEADERS)


def _field(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def _iterate(messages: bytes, magic: int) -> Iterator[_Message]:
    at = 0
    while at < len(messages):
        if at + ENTRY_OVERHEAD > len(messages):
            raise ValueError("a message set ends early")
        size = entry_bytes(messages, at)
        message = _read_message(messages[at : at + size])
        if message.magic != magic:
            raise ValueError(f"a message of format v{message.magic} inside one of format v{magic}")
        if message.attributes & CODEC_MASK:
            raise ValueError("a compressed message inside another")
        yield message
        at += size


def _read_message(message: bytes) -> _Message:
    if len(message) < ENTRY_OVERHEAD + _SMALLEST_BYTES[0]:
        raise ValueError("a message ends early")
    offset, size, crc, magic, attributes = _HEAD.unpack_from(message)
    if magic not in _SMALLEST_BYTES:
        raise ValueError(f"a message of format v{magic} in a set of format v0 or v1")
    if size != len(message) - ENTRY_OVERHEAD or size < _SMALLEST_BYTES[magic]:
        raise ValueError(f"a message of {len(message)} bytes claims {size}")
    if zlib.crc32(memoryview(message)[_CRC_START:]) != crc:
        raise ValueError(f"the CRC of the message at offset {offset} does not match its bytes")
    at, timestamp_ms = _HEAD.size, NO_TIMESTAMP
    if magic == 1:
        timestamp_ms = int.from_bytes(message[at : at + 8], "big", signed=True)
        at += 8
    key, at = _read_field(message, at)
    value, at = _read_field(message, at)
    if at != len(message):
        raise ValueError(f"{len(message) - at} bytes follow the message at offset {offset}")
    return _Message(offset, magic, attributes, timestamp_ms, key, value)


def _read_field(message: bytes, at: int) -> tuple[bytes | None, int]:
    size = int.from_bytes(message[at : at + 4], "big", signed=True)
    at += 4
    if size == -1 and at <= len(message):
        return None, at
    if size < 0 or at + size > len(message):
        raise ValueError(f"a key or value claims {size} bytes of {len(message) - at}")
    return message[at : at + size], at + size
