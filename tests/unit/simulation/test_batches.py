"""The simulation's decoder sees what consumers see; kafka-python and the product's own builder are the witnesses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from kmigrate.records.compression import Codec
from kmigrate.records.message_set import read_entry
from kmigrate.records.record import RawRecord, build_batch
from tests.simulation.batches import (
    LZ4,
    NONE,
    Marker,
    Record,
    StoredRecord,
    crc_holds,
    decode,
    make_batch,
    make_marker,
    make_message,
    read_marker,
    record_bytes,
    with_append_time,
    with_create_time,
)

RECORDS = st.lists(
    st.builds(
        Record,
        timestamp_ms=st.sampled_from([-1, 0, 2**31]) | st.integers(-1, 2**50),
        key=st.none() | st.binary(max_size=20),
        value=st.none() | st.binary(max_size=300),
        headers=st.lists(st.tuples(st.binary(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
)
CODECS = st.sampled_from(list(Codec))


def at(records: list[Record], base: int) -> list[StoredRecord]:
    return [StoredRecord(base + delta, *record) for delta, record in enumerate(records)]


def opaque(record: StoredRecord) -> RawRecord:
    """The record as the product moves it; between the deltas and the end nothing is looked into."""
    whole = record_bytes(record.record, 0, 0)
    return RawRecord(record.offset, record.timestamp_ms, whole[(1 if len(whole) <= 64 else 2) + 3 :])


@given(RECORDS, CODECS, st.integers(0, 2**60))
def test_what_the_builder_of_batches_wrote_is_read(records: list[Record], codec: int, base: int) -> None:
    assert decode(make_batch(records, base_offset=base, codec=codec)) == at(records, base)


@given(RECORDS, CODECS, st.integers(0, 2**60))
def test_what_the_product_re_encodes_is_read_with_its_own_framings(
    records: list[Record], codec: Codec, base: int
) -> None:
    expected = at(records, base)
    built = bytes(build_batch([opaque(record) for record in expected], codec))
    assert decode(base.to_bytes(8, "big") + built[8:]) == expected


@given(RECORDS, st.sampled_from([0, 1]))
def test_another_librarys_message_sets_are_read(records: list[Record], magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for offset, (timestamp_ms, key, value, _) in enumerate(records):
        builder.append(offset, timestamp_ms, key, value)
    found, left = [], bytes(builder.build())
    while left:
        size = 12 + int.from_bytes(left[8:12], "big")
        found += decode(left[:size])
        left = left[size:]
    assert found == [
        StoredRecord(offset, timestamp_ms if magic else -1, key, value, ())
        for offset, (timestamp_ms, key, value, _) in enumerate(records)
    ]


@given(RECORDS, st.sampled_from([1, 2, 3]), st.sampled_from([0, 1]), st.none() | st.integers(0, 2**50))
def test_wrapped_messages_are_read_as_the_product_and_kafka_python_read_them(
    records: list[Record], codec: int, magic: int, append_time_ms: int | None
) -> None:
    entry = make_message(at(records, 70), magic=magic, codec=codec, append_time_ms=append_time_ms if magic else None)
    found = decode(entry)
    assert [(r.offset, r.timestamp_ms) for r in found] == [
        (r.offset, r.timestamp_ms) for r in read_entry(entry, 1 << 20).records
    ]
    assert [(r.key, r.value) for r in found] == [(r.key, r.value) for r in records]
    if codec == 1:  # the one that needs no further library in the witness
        witness = MemoryRecords(entry).next_batch()
        assert witness is not None
        assert [(r.offset, r.timestamp if magic else -1, r.key, r.value) for r in witness] == [r[:4] for r in found]


@given(RECORDS, CODECS, st.integers(0, 2**50))
def test_append_time_hides_the_times_of_records_and_does_not_touch_them(
    records: list[Record], codec: int, now_ms: int
) -> None:
    original = make_batch(records, base_offset=5, codec=codec)
    stamped = with_append_time(original, now_ms)
    assert crc_holds(stamped)
    assert decode(stamped) == [record._replace(timestamp_ms=now_ms) for record in at(records, 5)]
    assert decode(with_create_time(stamped)) == at(records, 5)


@pytest.mark.parametrize("committed", [True, False])
def test_a_marker_says_how_its_transaction_ended(committed: bool) -> None:
    marker = make_marker(7, 3, committed=committed, coordinator_epoch=12, timestamp_ms=99)
    assert read_marker(marker) == Marker(committed, 12)
    assert len(marker) == 78, "what a real one takes on disk"
    witness = MemoryRecords(marker).next_batch()
    assert witness is not None
    assert (witness.is_control_batch, witness.is_transactional, witness.base_sequence) == (True, True, -1)
    assert next(iter(witness)).key == bytes([0, 0, 0, committed])


@pytest.mark.parametrize("damage", [20, 30, 57, 60, 65, -1])
@pytest.mark.parametrize("codec", [NONE, LZ4])
def test_damaged_batches_are_not_read(damage: int, codec: int) -> None:
    data = bytearray(make_batch([Record(5, b"key", b"value" * 5)] * 3, codec=codec))
    data[damage] ^= 1
    with pytest.raises(ValueError, match="batch"):
        decode(bytes(data))
