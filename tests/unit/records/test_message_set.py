"""Message sets v0 and v1 are read as their consumers see them; kafka-python's builder makes them."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from kmigrate.records.batch import parse_header
from kmigrate.records.compression import Codec, compress
from kmigrate.records.message_set import Entry, entry_bytes, read_entry
from kmigrate.records.record import RawRecord, build_batch
from tests.simulation.batches import zigzag

BUDGET = 1 << 20
OLD_CODECS = [Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4]
FIELD = st.none() | st.binary(max_size=30)
CONTENT = st.lists(st.tuples(st.integers(-1, 2**45), FIELD, FIELD), min_size=1, max_size=6)
MAGICS = st.sampled_from([0, 1])


def field(content: bytes | None) -> bytes:
    return zigzag(-1) if content is None else zigzag(len(content)) + content


def message(
    offset: int, magic: int, attributes: int, timestamp_ms: int, key: bytes | None, value: bytes | None
) -> bytes:
    """One message by the book."""
    after = struct.pack(">bb", magic, attributes) + (struct.pack(">q", timestamp_ms) if magic else b"")
    for content in (key, value):
        after += struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content
    return struct.pack(">qiI", offset, 4 + len(after), zlib.crc32(after)) + after


def wrapper(magic: int, codec: Codec, last: int, inner: list[bytes], *, attributes: int = 0, time_ms: int = 7) -> bytes:
    return message(last, magic, codec | attributes, time_ms, None, compress(codec, b"".join(inner)))


def entries(message_set: bytes) -> list[Entry]:
    found, at = [], 0
    while at < len(message_set):
        size = entry_bytes(message_set, at)
        found.append(read_entry(memoryview(message_set)[at : at + size], BUDGET))
        at += size
    return found


@given(CONTENT, MAGICS)
def test_plain_messages_are_records_of_their_own(
    content: list[tuple[int, bytes | None, bytes | None]], magic: int
) -> None:
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for at, (timestamp_ms, key, value) in enumerate(content):
        builder.append(at, timestamp_ms, key, value)
    found = entries(bytes(builder.build()))
    assert [entry.next_offset for entry in found] == list(range(1, len(content) + 1))
    assert [record for entry in found for record in entry.records] == [
        RawRecord(at, timestamp_ms if magic else -1, field(key) + field(value) + b"\0")
        for at, (timestamp_ms, key, value) in enumerate(content)
    ]


@given(CONTENT, MAGICS, st.sampled_from(OLD_CODECS[1:]), st.integers(0, 2**40))
def test_compressed_sets_begin_where_their_wrapper_says(
    content: list[tuple[int, bytes | None, bytes | None]], magic: int, codec: Codec, base: int
) -> None:
    """v0 counts inside as outside; v1 counts from 0, and the wrapper has the last record's offset."""
    first = 0 if magic else base
    inner = [message(first + at, magic, 0, *each) for at, each in enumerate(content)]
    (entry,) = entries(wrapper(magic, codec, base + len(content) - 1, inner))
    assert entry.magic == magic
    assert entry.codec is codec
    assert entry.next_offset == base + len(content)
    assert entry.records == [
        RawRecord(base + at, timestamp_ms if magic else -1, field(key) + field(value) + b"\0")
        for at, (timestamp_ms, key, value) in enumerate(content)
    ]


@given(st.sets(st.integers(0, 50), min_size=1, max_size=8), MAGICS)
def test_compacted_sets_keep_their_holes(offsets: set[int], magic: int) -> None:
    inner = [message(at, magic, 0, 5, b"k", b"v") for at in sorted(offsets)]
    last = max(offsets) + (1000 if magic else 0)
    (entry,) = entries(wrapper(magic, Codec.GZIP, last, inner))
    assert [r.offset for r in entry.records] == [at + (1000 if magic else 0) for at in sorted(offsets)]


def test_log_append_time_of_a_wrapper_counts_for_all_its_records() -> None:
    inner = [message(at, 1, 0, at, b"k", b"v") for at in range(3)]
    (entry,) = entries(wrapper(1, Codec.SNAPPY, 2, inner, attributes=0x08, time_ms=99))
    assert [record.timestamp_ms for record in entry.records] == [99] * 3
    (entry,) = entries(message(0, 1, 0x08, 99, None, b"alone"))
    assert entry.records[0].timestamp_ms == 99


@given(CONTENT, MAGICS, st.sampled_from([Codec.NONE, Codec.GZIP]))
def test_kafka_python_reads_the_same(
    content: list[tuple[int, bytes | None, bytes | None]], magic: int, codec: Codec
) -> None:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for at, (timestamp_ms, key, value) in enumerate(content):
        builder.append(at, timestamp_ms, key, value)
    message_set = bytes(builder.build())
    if codec:  # what a broker does on appending: the wrapper gets the last record's offset
        message_set = (len(content) - 1).to_bytes(8, "big") + message_set[8:]
    theirs = []
    memory = MemoryRecords(message_set)
    while memory.has_next():
        theirs += [(r.offset, r.timestamp if magic else -1, field(r.key) + field(r.value)) for r in memory.next_batch()]
    ours = [(r.offset, r.timestamp_ms, r.body[:-1]) for entry in entries(message_set) for r in entry.records]
    assert ours == theirs


@given(CONTENT, MAGICS)
def test_they_become_a_batch_of_today(content: list[tuple[int, bytes | None, bytes | None]], magic: int) -> None:
    inner = [message(at, magic, 0, *each) for at, each in enumerate(content)]
    (entry,) = entries(wrapper(magic, Codec.LZ4, len(content) - 1, inner))
    built = bytes(build_batch(entry.records, Codec.GZIP))
    assert parse_header(built, 0).record_count == len(content)
    batch = MemoryRecords(built).next_batch()
    assert [(r.timestamp, r.key, r.value, r.headers) for r in batch] == [
        (timestamp_ms if magic else -1, key, value, []) for timestamp_ms, key, value in content
    ]


@given(CONTENT, MAGICS, st.sampled_from(OLD_CODECS), st.data())
def test_damage_is_told_as_such(
    content: list[tuple[int, bytes | None, bytes | None]], magic: int, codec: Codec, draw: st.DataObject
) -> None:
    inner = [message(at, magic, 0, *each) for at, each in enumerate(content)]
    whole = bytearray(inner[0] if codec is Codec.NONE else wrapper(magic, codec, len(content) - 1, inner))
    whole[draw.draw(st.integers(12, len(whole) - 1))] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"CRC|claims|format v"):
        read_entry(bytes(whole), BUDGET)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (message(0, 1, Codec.GZIP, 0, None, None), "without a value"),
        (wrapper(1, Codec.GZIP, 0, []), "holds nothing"),
        (wrapper(1, Codec.GZIP, 0, [message(0, 0, 0, 0, None, b"x")]), "inside one of format v1"),
        (wrapper(0, Codec.GZIP, 9, [message(5, 0, 0, 0, None, b"x")]), "at offset 9 ends at 5"),
        (wrapper(0, Codec.GZIP, 5, [message(5, 0, 0, 0, None, b"x")] * 2), "do not rise"),
        (wrapper(1, Codec.GZIP, 0, [wrapper(1, Codec.GZIP, 0, [])]), "inside another"),
        (wrapper(1, Codec.GZIP, 0, [message(0, 1, 0, 0, None, b"x"), b"\0" * 5]), "ends early"),
        (message(0, 2, 0, 0, None, b"x"), "format v2"),
        (b"\0" * 20, "ends early"),
    ],
)
def test_what_no_broker_would_hold_is_refused_in_words(entry: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_entry(entry, BUDGET)


def test_a_bomb_is_refused_at_the_budget() -> None:
    with pytest.raises(ValueError, match="hold more than"):
        read_entry(wrapper(1, Codec.GZIP, 0, [message(0, 1, 0, 0, None, bytes(5_000_000))]), BUDGET)
