"""A census counts what headers tell: formats, codecs, transactions, holes, and the offsets nobody sees a record at."""

from __future__ import annotations

import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.records.batch import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL, Header
from kmigrate.records.census import Census, Stretch, census_of_nothing, take_census
from tests.simulation.batches import GZIP, ZSTD, Record, make_batch, seal


def batch(base: int, count: int, *, offsets: int | None = None, attributes: int = 0, body: int = 10) -> bytes:
    """A batch of so many records over so many offsets, as it lies in a log."""
    return seal(
        b"x" * body,
        base_offset=base,
        attributes=attributes,
        last_offset_delta=(count if offsets is None else offsets) - 1,
        record_count=count,
    )


def message(offset: int, *, magic: int, attributes: int = 0) -> bytes:
    """A message of an old format with an empty key and value."""
    tail = struct.pack(">bb", magic, attributes) + (b"\0" * 8 if magic else b"") + b"\xff" * 4 + b"\0" * 4
    return struct.pack(">qiI", offset, len(tail) + 4, zlib.crc32(tail)) + tail


def census(data: bytes, at: int = 0, end: int = 1_000_000, **options: object) -> Census:
    found = take_census(memoryview(data), at, end, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def seen(found: Census) -> tuple[int, int]:
    return found.offsets, found.records


def test_a_dense_log_has_a_record_at_every_offset() -> None:
    found = census(batch(0, 3) + batch(3, 4, body=500))
    assert found.stretches == (Stretch(7, 7, 61 + 10 + 61 + 500, 7),)
    assert (found.batches, found.formats, found.codecs) == (2, {2}, {"none"})
    assert found.largest_batch_bytes == 561
    assert (found.holed_batches, found.transactional_batches, found.control_batches) == (0, 0, 0)


def test_offsets_missing_inside_before_and_between_batches_hold_nothing() -> None:
    found = census(batch(4, 2, offsets=5) + batch(20, 0, offsets=3), at=1)
    assert seen(found) == (22, 2)
    assert found.holed_batches == 2


def test_control_batches_and_aborted_records_are_not_seen() -> None:
    data = batch(0, 3, attributes=TRANSACTIONAL) + batch(3, 2, attributes=TRANSACTIONAL)
    data += batch(5, 1, attributes=TRANSACTIONAL | CONTROL) + batch(6, 1)

    def is_aborted(header: Header) -> bool:
        return header.base_offset == 3

    found = census(data, is_aborted=is_aborted)
    assert seen(found) == (7, 4)
    assert (found.transactional_batches, found.aborted_batches, found.control_batches) == (2, 1, 1)
    assert found.holed_batches == 0


def test_codecs_and_stamps_are_named() -> None:
    records = [Record(1, None, b"v")]
    data = make_batch(records, codec=ZSTD, attributes=LOG_APPEND_TIME)
    data += make_batch(records, base_offset=1, codec=GZIP) + batch(2, 1, attributes=7)
    found = census(data)
    assert found.codecs == {"zstd", "gzip", "codec 7"}
    assert found.append_time_batches == 1


def test_a_log_start_or_a_place_inside_a_batch_counts_what_lies_behind_it() -> None:
    assert seen(census(batch(0, 10), at=7)) == (3, 3)
    assert seen(census(batch(0, 2, offsets=10), at=7)) == (3, 2)  # where the two lie is not told by the header


def test_a_batch_that_is_cut_counts_whole_if_its_header_is_there() -> None:
    whole = batch(0, 3) + batch(3, 5, body=1000)
    assert seen(census(whole[:-900])) == (8, 8)
    assert census(whole[:-900]).largest_batch_bytes == 1061
    assert seen(census(whole[: 71 + 60])) == (3, 3)
    assert take_census(memoryview(whole[:60]), 0, 100) is None
    assert take_census(memoryview(b""), 0, 100) is None


def test_what_lies_beyond_the_end_is_not_counted() -> None:
    assert seen(census(batch(0, 3) + batch(3, 3), end=3)) == (3, 3)


def test_old_messages_count_one_record_an_offset() -> None:
    found = census(message(0, magic=0) + message(5, magic=1, attributes=LOG_APPEND_TIME) + batch(6, 2))
    assert seen(found) == (8, 4)
    assert found.formats == {0, 1, 2}
    assert found.append_time_batches == 1
    compressed = census(message(9, magic=1, attributes=1))
    assert seen(compressed) == (10, 10)
    assert compressed.codecs == {"gzip"}


def test_damage_ends_the_census_where_it_begins() -> None:
    first = batch(0, 3)
    for damaged in (
        first[:8] + b"\0\0\0\1" + first[12:],  # shorter than its header
        first[:16] + b"\x07" + first[17:],  # no format of today
        message(3, magic=0)[:8] + b"\0\0\0\1" + message(3, magic=0)[12:],
    ):
        assert seen(census(first + damaged)) == (3, 3)


def test_censuses_add_up() -> None:
    one = census(batch(0, 3, attributes=TRANSACTIONAL, body=90))
    two = census(message(7, magic=0), at=5)
    both = one + two + census_of_nothing(8, 20)
    assert both.stretches == (*one.stretches, *two.stretches, Stretch(12, 0, 0, 12))
    assert (both.offsets, both.records) == (3 + 3 + 12, 3 + 1)
    assert (both.batches, both.transactional_batches) == (2, 1)
    assert both.formats == {0, 2}
    assert both.largest_batch_bytes == 151
    assert Census() + both == both


@given(st.binary(max_size=400), st.integers(0, 2**40), st.integers(0, 2**41))
def test_no_bytes_are_too_strange(data: bytes, at: int, end: int) -> None:
    found = take_census(memoryview(data), at, end)
    if found is not None:
        assert 0 <= found.records <= found.offsets


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 9)),
        min_size=1,
        max_size=20,
    )
)
def test_every_offset_is_a_record_or_a_gap(shape: list[tuple[int, int, int]]) -> None:
    data, base, records = b"", 0, 0
    for gap, offsets, count in shape:
        base += gap
        data += batch(base, min(count, offsets), offsets=offsets)
        base, records = base + offsets, records + min(count, offsets)
    assert seen(census(data)) == (base, records)
