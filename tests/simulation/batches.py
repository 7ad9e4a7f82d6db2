"""Real record batches and message sets, written and read without any code of the product, fast enough for many runs.

Sources: https://kafka.apache.org/documentation/#recordbatch, and #messageset for the formats v0 and v1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cramjam
import fastcrc

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODEC_BITS, APPEND_TIME, TRANSACTIONAL, CONTROL, DELETE_HORIZON = 0x07, 0x08, 0x10, 0x20, 0x40

MAGIC_AT = 16
HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_FROM = 21
_XERIAL = b"\x82SNAPPY\0"


class Record(NamedTuple):
    """One record as a producer has it in hand."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()


class StoredRecord(NamedTuple):
    """One record as a consumer sees it, at its offset."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]

    @property
    def record(self) -> Record:
        """The same without its offset: what a producer had in hand."""
        return Record(*self[1:])


class StoredBatch(NamedTuple):
    """A batch as it lies in a log; `data` has its base offset and leader epoch filled in.

    Or an entry of an older format: then producer id, sequence and newest timestamp are -1.
    """

    base: int
    next: int
    epoch: int
    newest_ms: int
    producer_id: int
    sequence: int
    count: int
    data: bytes


class Marker(NamedTuple):
    """What a transaction marker says."""

    committed: bool
    coordinator_epoch: int


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


# ── what brokers write ────────────────────────────────────────────────────────────────────────────────────────────


def make_marker(
    producer_id: int, producer_epoch: int, *, committed: bool, coordinator_epoch: int, timestamp_ms: int
) -> bytes:
    """A control batch that ends a transaction, as a broker builds it (MemoryRecords.withEndTransactionMarker)."""
    record = Record(timestamp_ms, struct.pack(">hh", 0, committed), struct.pack(">hi", 0, coordinator_epoch))
    return make_batch(
        [record], attributes=TRANSACTIONAL | CONTROL, producer_id=producer_id, producer_epoch=producer_epoch
    )


def read_marker(batch: bytes) -> Marker | None:
    """What a control batch says; None if the cleaner took its record."""
    records = decode(batch)
    if not records:
        return None
    (record,) = records
    assert record.key is not None, "a control record has a key"
    assert record.value is not None, "a marker says who wrote it"
    return Marker(record.key == b"\0\0\0\1", int.from_bytes(record.value[2:6], "big"))


def with_append_time(batch: bytes, now_ms: int) -> bytes:
    """The batch as a topic with LogAppendTime stores it: one bit and one time, the records as they were."""
    return _stamped(batch, batch[22] | APPEND_TIME, now_ms)


def with_create_time(batch: bytes) -> bytes:
    """The batch as a topic with CreateTime stores it, whatever its producer said."""
    return _stamped(batch, batch[22] & ~APPEND_TIME, int.from_bytes(batch[35:43], "big", signed=True))


def _stamped(batch: bytes, attributes: int, max_timestamp_ms: int) -> bytes:
    rest = bytes([batch[21], attributes]) + batch[23:35] + max_timestamp_ms.to_bytes(8, "big", signed=True) + batch[43:]
    return batch[:17] + fastcrc.crc32.iscsi(rest).to_bytes(4, "big") + rest


# ── message sets of the formats v0 and v1 ─────────────────────────────────────────────────────────────────────────


def make_message(
    records: Sequence[StoredRecord], *, magic: int, codec: int = NONE, append_time_ms: int | None = None
) -> bytes:
    """One entry of a message set: a single message, or several compressed into one that wraps them.

    v0 keeps neither timestamps nor headers, v1 no headers.
    """
    last = records[-1].offset
    if codec == NONE:
        (record,) = records
        return _message(last, magic, 0, record.timestamp_ms, record.key, record.value, append_time_ms)
    first = records[0].offset if magic == 1 else 0
    inner = b"".join(
        _message(each.offset - first, magic, 0, each.timestamp_ms, each.key, each.value, None) for each in records
    )
    newest = max(each.timestamp_ms for each in records)
    return _message(last, magic, codec, newest, None, compress(codec, inner), append_time_ms)


def _message(
    offset: int,
    magic: int,
    attributes: int,
    timestamp_ms: int,
    key: bytes | None,
    value: bytes | None,
    append_time_ms: int | None,
) -> bytes:
    if append_time_ms is not None:
        attributes, timestamp_ms = attributes | APPEND_TIME, append_time_ms
    body = struct.pack(">bb", magic, attributes)
    if magic == 1:
        body += struct.pack(">q", timestamp_ms)
    for field in (key, value):
        body += struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + field
    return struct.pack(">qiI", offset, len(body) + 4, zlib.crc32(body)) + body


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────


def decompress(codec: int, body: bytes) -> bytes:
    """The other way round, for every framing that is in use."""
    if codec == SNAPPY:
        return _unpack_snappy(body)
    decompressors = {GZIP: cramjam.gzip.decompress, LZ4: cramjam.lz4.decompress, ZSTD: cramjam.zstd.decompress}
    try:
        return bytes(decompressors[codec](body)) if codec else body
    except (cramjam.DecompressionError, KeyError) as error:
        raise ValueError(f"codec {codec}: {error}") from error


def _unpack_snappy(body: bytes) -> bytes:
    """One bare block, or the stream of blocks that snappy-java writes."""
    blocks, at = [], 16
    if not body.startswith(_XERIAL):
        blocks, at = [body], len(body)
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        blocks.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    try:
        return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)
    except cramjam.DecompressionError as error:
        raise ValueError(f"snappy: {error}") from error


def decode(data: bytes) -> list[StoredRecord]:
    """The records of one stored batch, or of one entry of an older format, as a consumer sees them.

    A control batch has records too. Raises ValueError where the bytes are not what the header says.
    """
    try:
        return _decode_message(data) if data[MAGIC_AT] < 2 else _decode_batch(data)
    except (IndexError, struct.error) as error:
        raise ValueError(f"the batch ends early: {error}") from error


def _decode_batch(data: bytes) -> list[StoredRecord]:
    base, length, _, magic, crc, attributes, delta, base_timestamp_ms, newest_ms, _, _, _, count = HEADER.unpack_from(
        data
    )
    if magic != 2 or length + 12 != len(data) or fastcrc.crc32.iscsi(data[_CRC_FROM:]) != crc:
        raise ValueError(f"no whole and true batch at offset {base}")
    body = decompress(attributes & CODEC_BITS, data[HEADER.size :]) if count else b""
    found = list(_records(body, base, base_timestamp_ms))
    if attributes & APPEND_TIME:
        found = [each._replace(timestamp_ms=newest_ms) for each in found]
    offsets = [each.offset for each in found]
    if len(found) != count or sorted(set(offsets)) != offsets or (offsets and offsets[-1] > base + delta):
        raise ValueError(f"the batch at offset {base} claims {count} records over {delta + 1} offsets: {offsets}")
    return found


def _records(body: bytes, base: int, base_timestamp_ms: int) -> Iterator[StoredRecord]:
    at = 0
    while at < len(body):
        size, at = _read_zigzag(body, at)
        end = at + size
        timestamp_delta, at = _read_zigzag(body, at + 1)
        offset_delta, at = _read_zigzag(body, at)
        key, at = _read_data(body, at)
        value, at = _read_data(body, at)
        count, at = _read_zigzag(body, at)
        headers = []
        for _ in range(count):
            name, at = _read_data(body, at)
            content, at = _read_data(body, at)
            headers.append((name or b"", content))
        if at != end or end > len(body):
            raise ValueError(f"a record of {size} bytes ends elsewhere")
        yield StoredRecord(base + offset_delta, base_timestamp_ms + timestamp_delta, key, value, tuple(headers))


def _read_zigzag(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = body[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7


def _read_data(body: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _read_zigzag(body, at)
    return (None, at) if size < 0 else (body[at : at + size], at + size)


def _decode_message(data: bytes) -> list[StoredRecord]:
    offset, size, crc, magic, attributes = struct.unpack_from(">qiIbb", data)
    if size + 12 != len(data) or zlib.crc32(data[MAGIC_AT:]) != crc:
        raise ValueError(f"no whole and true message at offset {offset}")
    timestamp_ms = int.from_bytes(data[18:26], "big", signed=True) if magic == 1 else -1
    fields, at = [], 26 if magic == 1 else 18
    for _ in range(2):
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        fields.append(None if length < 0 else data[at : at + length])
        at += max(0, length)
    key, value = fields
    codec = attributes & CODEC_BITS
    if not codec:
        return [StoredRecord(offset, timestamp_ms, key, value, ())]
    inner = [record for message in _messages(decompress(codec, value or b"")) for record in _decode_message(message)]
    shift = offset - inner[-1].offset if magic == 1 else 0
    found = [each._replace(offset=each.offset + shift) for each in inner]
    return [each._replace(timestamp_ms=timestamp_ms) for each in found] if attributes & APPEND_TIME else found


def _messages(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        after = at + 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        yield data[at:after]
        at = after
