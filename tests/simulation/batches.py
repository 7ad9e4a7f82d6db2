"""Real record batches (format v2), written without any code of the product, and fast enough for thousands of runs.

Source: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import cramjam
import fastcrc

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

_HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_FROM = 21


class Record(NamedTuple):
    """One record as a producer has it in hand."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()


def zigzag(number: int) -> bytes:
    """Kafka's signed variable-length integer."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _data(value: bytes | None) -> bytes:
    return zigzag(-1) if value is None else zigzag(len(value)) + value


def record_bytes(record: Record, offset_delta: int, timestamp_delta: int) -> bytes:
    """One record as it lies in a batch."""
    body = b"\0" + zigzag(timestamp_delta) + zigzag(offset_delta) + _data(record.key) + _data(record.value)
    body += zigzag(len(record.headers)) + b"".join(_data(name) + _data(value) for name, value in record.headers)
    return zigzag(len(body)) + body


def compress(codec: int, body: bytes) -> bytes:
    """A batch's records under one of Kafka's codecs."""
    match codec:
        case 0:
            return body
        case 1:
            return bytes(cramjam.gzip.compress(body))
        case 2:
            return bytes(cramjam.snappy.compress_raw(body))
        case 3:
            return bytes(cramjam.lz4.compress(body))
        case 4:
            return bytes(cramjam.zstd.compress(body))
    raise ValueError(f"no codec {codec}")


def make_batch(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    leader_epoch: int = -1,
    codec: int = NONE,
    attributes: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
) -> bytes:
    """A whole batch; `attributes` are added to the codec's bits."""
    first = records[0].timestamp_ms
    body = b"".join(record_bytes(each, delta, each.timestamp_ms - first) for delta, each in enumerate(records))
    return seal(
        compress(codec, body),
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        attributes=attributes | codec,
        last_offset_delta=len(records) - 1,
        base_timestamp_ms=first,
        max_timestamp_ms=max(each.timestamp_ms for each in records),
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        record_count=len(records),
    )


def seal(
    body: bytes,
    *,
    base_offset: int = 0,
    leader_epoch: int = -1,
    magic: int = 2,
    attributes: int = 0,
    last_offset_delta: int,
    base_timestamp_ms: int = 0,
    max_timestamp_ms: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    record_count: int,
) -> bytes:
    """A batch with any header at all over the given record section, and a true CRC."""
    tail = struct.pack(
        ">hiqqqhii",
        attributes,
        last_offset_delta,
        base_timestamp_ms,
        max_timestamp_ms,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count,
    )
    crc = fastcrc.crc32.iscsi(tail + body)
    return struct.pack(">qiibI", base_offset, len(tail) + len(body) + 9, leader_epoch, magic, crc) + tail + body


def crc_holds(batch: bytes | memoryview) -> bool:
    """Whether a batch's CRC-32C is that of its bytes."""
    return int.from_bytes(batch[17:21], "big") == fastcrc.crc32.iscsi(batch[_CRC_FROM:])


def appended(batch: bytes, base_offset: int, leader_epoch: int) -> bytes:
    """The batch as a broker stores it: its place and the leader's epoch lie outside the CRC."""
    return base_offset.to_bytes(8, "big") + batch[8:12] + leader_epoch.to_bytes(4, "big", signed=True) + batch[16:]
