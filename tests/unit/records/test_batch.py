"""The header is read and rewritten as Kafka's format says; kafka-python's reader is the witness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords

from kmigrate.records.batch import (
    CODEC_MASK,
    HEADER_BYTES,
    TRANSACTIONAL,
    Header,
    iterate_batches,
    parse_header,
    same_content,
    stamp,
)
from tests.simulation.batches import GZIP, LZ4, NONE, SNAPPY, ZSTD, Record, crc_holds, make_batch, seal

TIMES = st.integers(-1, 2**50)
NAMES = st.text(max_size=5).map(str.encode)
RECORDS = st.lists(
    st.builds(
        Record,
        timestamp_ms=TIMES,
        key=st.none() | st.binary(max_size=20),
        value=st.none() | st.binary(max_size=40),
        headers=st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
)
CODECS = st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD])
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT16 = st.integers(-(2**15), 2**15 - 1)


def parsed(batch: bytes) -> tuple[Header, memoryview]:
    return parse_header(batch, 0), memoryview(batch)


@given(RECORDS, CODECS, st.integers(0, 2**62), st.integers(0, 2**31 - 1), st.integers(0, 100))
def test_a_stamped_batch_holds_the_same_records_for_another_reader(
    records: list[Record], codec: int, producer_id: int, sequence: int, at: int
) -> None:
    original = make_batch(
        records, base_offset=77, leader_epoch=3, codec=codec, attributes=0x40, producer_id=5, base_sequence=8
    )
    buffer = bytearray(b"\xaa" * at + original + b"\xbb" * 9)
    stamp(
        memoryview(buffer),
        at,
        len(original),
        producer_id=producer_id,
        producer_epoch=0,
        sequence=sequence,
        attributes=codec,
    )
    ours = bytes(buffer[at : at + len(original)])
    reader = MemoryRecords(ours).next_batch()
    assert isinstance(reader, DefaultRecordBatch)
    assert reader.validate_crc()
    assert (reader.base_offset, reader.leader_epoch, reader.attributes) == (0, -1, codec)
    assert (reader.producer_id, reader.producer_epoch, reader.base_sequence) == (producer_id, 0, sequence)
    if codec in (NONE, GZIP):  # the codecs that need no further library in the witness
        assert [
            (r.offset, r.timestamp, r.key, r.value, tuple((name.encode(), value) for name, value in r.headers))
            for r in reader
        ] == [(n, r.timestamp_ms, r.key, r.value, r.headers) for n, r in enumerate(records)]
    assert ours[HEADER_BYTES:] == original[HEADER_BYTES:], "the records must stay byte for byte"
    assert ours[23:43] == original[23:43], "counts and timestamps must stay"
    assert bytes(buffer[:at]) == b"\xaa" * at
    assert bytes(buffer[at + len(original) :]) == b"\xbb" * 9


@given(
    INT64, INT32, st.integers(0, 127), INT16, INT32, INT64, INT64, INT64, INT16, INT32, INT32, st.binary(max_size=30)
)
def test_a_header_is_read_as_another_reader_reads_it(
    base: int,
    epoch: int,
    magic: int,
    attributes: int,
    delta: int,
    first: int,
    newest: int,
    producer_id: int,
    producer_epoch: int,
    sequence: int,
    count: int,
    body: bytes,
) -> None:
    batch = seal(
        body,
        base_offset=base,
        leader_epoch=epoch,
        magic=magic,
        attributes=attributes,
        last_offset_delta=delta,
        base_timestamp_ms=first,
        max_timestamp_ms=newest,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=sequence,
        record_count=count,
    )
    header = parse_header(b"x" + batch, 1)
    witness = DefaultRecordBatch(batch)
    assert header.size == len(batch) == witness.size_in_bytes
    assert header.next_offset == witness.next_offset
    assert header == (
        witness.base_offset,
        len(batch) - 12,
        witness.leader_epoch,
        witness.magic,
        witness.crc,
        witness.attributes,
        witness.last_offset_delta,
        witness.first_timestamp,
        witness.max_timestamp,
        witness.producer_id,
        witness.producer_epoch,
        witness.base_sequence,
        witness.records_count,
    )


@given(st.lists(RECORDS, min_size=1, max_size=4), st.integers(0, 400))
def test_whole_batches_are_iterated_and_a_cut_one_is_left_out(groups: list[list[Record]], cut: int) -> None:
    batches, base = [], 5
    for records in groups:
        batches.append(make_batch(records, base_offset=base))
        base += len(records)
    whole = b"".join(batches)
    kept = whole[: max(0, len(whole) - cut)]
    expected, used = [], 0
    for batch in batches:
        if used + len(batch) > len(kept):
            break
        used += len(batch)
        expected.append(batch)
    found = list(iterate_batches(kept))
    assert [bytes(view) for _, view in found] == expected
    assert [header for header, _ in found] == [parse_header(batch, 0) for batch in expected]


@pytest.mark.parametrize("magic", [0, 1, 3])
def test_another_format_is_not_iterated(magic: int) -> None:
    with pytest.raises(ValueError, match=f"magic {magic}"):
        list(iterate_batches(seal(b"", magic=magic, last_offset_delta=0, record_count=1)))


@pytest.mark.parametrize("length", [48, 0, -1, -(2**31)])
def test_a_batch_shorter_than_its_header_is_not_iterated(length: int) -> None:
    batch = bytearray(make_batch([Record(1, None, b"v")]))
    batch[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises(ValueError, match=f"claims {length} bytes"):
        list(iterate_batches(batch))


@given(RECORDS, CODECS)
def test_what_the_writer_of_a_log_adds_is_not_content(records: list[Record], codec: int) -> None:
    source = make_batch(records, base_offset=9, leader_epoch=4, codec=codec, producer_id=3, base_sequence=1)
    target = bytearray(make_batch(records, base_offset=9, leader_epoch=1, codec=codec, attributes=TRANSACTIONAL))
    stamp(memoryview(target), 0, len(target), producer_id=2**62, producer_epoch=0, sequence=4, attributes=codec)
    target[0:8] = (9).to_bytes(8, "big")
    assert same_content(parsed(source), parsed(bytes(target)))


ONE = [Record(1000, b"k", b"value"), Record(1001, None, None)]


@pytest.mark.parametrize(
    "other",
    [
        make_batch(ONE, base_offset=8),
        make_batch(ONE[:1], base_offset=7),
        make_batch([ONE[0], Record(1002, None, None)], base_offset=7),
        make_batch([ONE[0]._replace(timestamp_ms=999), ONE[1]], base_offset=7),
        make_batch([ONE[0]._replace(value=b"Value"), ONE[1]], base_offset=7),
        make_batch([ONE[0]._replace(key=b"K"), ONE[1]], base_offset=7),
        make_batch([ONE[0]._replace(headers=((b"h", b""),)), ONE[1]], base_offset=7),
        make_batch(ONE, base_offset=7, attributes=0x08),
        make_batch(ONE, base_offset=7, codec=GZIP),
    ],
    ids=["offset", "count", "timestamp", "first timestamp", "value", "key", "header", "timestamp type", "codec"],
)
def test_any_other_difference_is_content(other: bytes) -> None:
    assert not same_content(parsed(make_batch(ONE, base_offset=7)), parsed(other))


def test_our_own_builder_of_test_batches_agrees_with_kafka_python() -> None:
    batch = make_batch(ONE, base_offset=7, codec=GZIP)
    assert crc_holds(batch)
    assert [r.value for r in MemoryRecords(batch).next_batch()] == [b"value", None]
    assert batch[22] & CODEC_MASK == GZIP
