"""Records are taken apart and put together without a change; kafka-python's reader is the witness."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords

from kmigrate.records.batch import Header, parse_header
from kmigrate.records.compression import Codec
from kmigrate.records.record import RawRecord, build_batch, read_records, read_varint, stretches, varint
from tests.simulation.batches import Record, compress, crc_holds, make_batch, record_bytes, seal, zigzag

BUDGET = 1 << 20
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.sampled_from([-1, 0, 1, 2**31, 2**40]) | st.integers(-1, 2**50)
RECORDS = st.lists(
    st.builds(
        Record,
        timestamp_ms=TIMES,
        key=st.none() | st.binary(max_size=20),
        value=st.none() | st.binary(max_size=200),
        headers=st.lists(st.tuples(st.binary(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=8,
)
CODECS = st.sampled_from(list(Codec))


def read(batch: bytes | bytearray) -> list[RawRecord]:
    return read_records(parse_header(batch, 0), memoryview(batch), BUDGET)


def body(record: Record) -> bytes:
    """What follows the two deltas: they take a byte each when they are zero, behind a length and the attributes."""
    whole = record_bytes(record, 0, 0)
    return whole[len(zigzag(read_varint(whole, 0)[0])) + 3 :]


def with_holes(records: list[Record], offsets: list[int], codec: Codec, attributes: int = 0) -> bytes:
    """A batch as compaction leaves it: base offset and last offset are those from before."""
    first = records[0].timestamp_ms
    section = b"".join(record_bytes(r, o, r.timestamp_ms - first) for r, o in zip(records, offsets, strict=True))
    return seal(
        compress(codec, section),
        base_offset=1000,
        leader_epoch=3,
        attributes=attributes | codec,
        last_offset_delta=offsets[-1],
        base_timestamp_ms=first,
        max_timestamp_ms=max(r.timestamp_ms for r in records),
        producer_id=5,
        producer_epoch=0,
        base_sequence=0,
        record_count=len(records),
    )


# -- Varints --------------------------------------------------------------------------------------


@given(INT64)
def test_a_varint_is_written_as_the_format_says_and_read_back(value: int) -> None:
    written = varint(value)
    assert written == zigzag(value)
    assert read_varint(b"x" + written + b"y", 1) == (value, 1 + len(written))


def test_a_varint_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        read_varint(b"\xff" * 20, 0)
    with pytest.raises(IndexError):
        read_varint(b"\xff" * 3, 0)


# -- Reading --------------------------------------------------------------------------------------


@given(RECORDS, CODECS)
def test_every_record_is_found_with_its_offset_and_time(records: list[Record], codec: Codec) -> None:
    found = read(make_batch(records, base_offset=70, codec=codec))
    assert found == [RawRecord(70 + at, r.timestamp_ms, body(r)) for at, r in enumerate(records)]


@given(RECORDS, CODECS, st.data())
def test_holes_stay_holes(records: list[Record], codec: Codec, draw: st.DataObject) -> None:
    offsets = sorted(draw.draw(st.sets(st.integers(0, 60), min_size=len(records), max_size=len(records))))
    found = read(with_holes(records, offsets, codec))
    assert [record.offset - 1000 for record in found] == offsets
    parts = list(stretches(found, 0))
    assert [record for part in parts for record in part] == found
    for part in parts:
        assert part[-1].offset - part[0].offset == len(part) - 1
    for before, after in pairwise(parts):
        assert after[0].offset > before[-1].offset + 1


@given(RECORDS)
def test_log_append_time_is_what_a_consumer_sees(records: list[Record]) -> None:
    batch = make_batch(records, attributes=0x08)
    assert {record.timestamp_ms for record in read(batch)} == {parse_header(batch, 0).max_timestamp_ms}


@given(RECORDS, st.data())
def test_a_wish_inside_a_batch_begins_there(records: list[Record], draw: st.DataObject) -> None:
    found = read(make_batch(records, base_offset=10))
    wanted = draw.draw(st.integers(10, 10 + len(records)))
    assert [r.offset for part in stretches(found, wanted) for r in part] == list(range(wanted, 10 + len(records)))


def test_an_empty_batch_has_no_stretch() -> None:
    empty = seal(
        b"",
        base_offset=5,
        leader_epoch=0,
        attributes=0,
        last_offset_delta=9,
        base_timestamp_ms=-1,
        max_timestamp_ms=-1,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        record_count=0,
    )
    assert list(stretches(read(empty), 0)) == []


@given(RECORDS, CODECS, st.data())
def test_damage_is_told_as_such(records: list[Record], codec: Codec, draw: st.DataObject) -> None:
    batch = bytearray(make_batch(records, codec=codec))
    header = parse_header(batch, 0)
    batch[draw.draw(st.integers(61, len(batch) - 1))] ^= draw.draw(st.integers(1, 255))
    try:
        found = read_records(header, memoryview(batch), BUDGET)
    except ValueError:
        return
    assert len(found) == len(records)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_lying_count_is_refused(count: int) -> None:
    batch = make_batch([Record(1, None, b"a"), Record(2, None, b"b")])
    with pytest.raises(ValueError, match=f"a batch of {count} records holds 2"):
        read_records(parse_header(batch, 0)._replace(record_count=count), memoryview(batch), BUDGET)


# -- Building -------------------------------------------------------------------------------------


@given(RECORDS, CODECS, st.integers(0, 2**40))
def test_what_is_built_another_reader_reads(records: list[Record], codec: Codec, base: int) -> None:
    raw = read(make_batch(records, base_offset=base))
    built = bytes(build_batch(raw, codec))
    assert crc_holds(built)
    header = parse_header(built, 0)
    assert header == Header(
        base_offset=0,
        batch_length=len(built) - 12,
        leader_epoch=-1,
        magic=2,
        crc=header.crc,
        attributes=codec,
        last_offset_delta=len(records) - 1,
        base_timestamp_ms=records[0].timestamp_ms,
        max_timestamp_ms=max(r.timestamp_ms for r in records),
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        record_count=len(records),
    )
    assert [record._replace(offset=record.offset + base) for record in read(built)] == raw
    if codec in (Codec.NONE, Codec.GZIP) and all(name.isascii() for r in records for name, _ in r.headers):
        batch = MemoryRecords(built).next_batch()
        assert [(r.offset, r.timestamp, r.key, r.value) for r in batch] == [
            (at, r.timestamp_ms, r.key, r.value) for at, r in enumerate(records)
        ]


def test_records_with_a_hole_are_not_built() -> None:
    with pytest.raises(ValueError, match="cannot fill the offsets 3 to 5"):
        build_batch([RawRecord(3, 0, b"\x01\x01\x00"), RawRecord(5, 0, b"\x01\x01\x00")], Codec.NONE)
