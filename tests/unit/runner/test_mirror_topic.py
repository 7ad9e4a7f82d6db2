"""What is written to the topic of a mirrored state is what is read from it; a damaged record is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.records.batch import parse_header, stamp
from kmigrate.records.compression import Codec
from kmigrate.records.record import RawRecord, build_batch, read_records
from kmigrate.runner.mirror_topic import Record, fold, parse_record, serialize_record


@given(st.lists(st.builds(Record, st.binary(max_size=300), st.none() | st.binary(max_size=9000)), min_size=1))
def test_records_survive_a_batch(records: list[Record]) -> None:
    raw = [RawRecord(number, 7, serialize_record(record)) for number, record in enumerate(records)]
    batch = build_batch(raw, Codec.ZSTD)
    stamp(memoryview(batch), 0, len(batch), 1, 2, 3, Codec.ZSTD)
    read = read_records(parse_header(batch, 0), memoryview(batch), 1 << 26)
    assert [parse_record(each.body) for each in read] == records


def test_the_last_value_of_a_key_counts() -> None:
    records = [Record(b"a", b"1"), Record(b"b", b"1"), Record(b"a", b"2"), Record(b"b", None), Record(b"c", None)]
    assert fold(records) == {b"a": b"2"}


@pytest.mark.parametrize("body", [b"", b"\x01\x01\x00", b"\x10ab", b"\x02a\x10b"])
def test_a_damaged_record_is_told(body: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_record(body)
