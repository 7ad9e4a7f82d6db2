"""What consumers see of the source becomes one batch, exactly: kafka-python's reader is the witness."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords

from kmigrate.kafka_types import Offset, ProducerId
from kmigrate.late.gathering import Gathered, Limits, Shown, gather
from kmigrate.records.batch import Header, iterate_batches, stamp
from tests.simulation.batches import APPEND_TIME, CONTROL, TRANSACTIONAL, Record, StoredRecord, make_batch, make_message

APPLICATION, BACK, OURS = 5, 77, 1 << 62
TIMES = st.sampled_from([0, 1, 2**31]) | st.integers(0, 2**50)
HEADERS = st.lists(st.tuples(st.text(max_size=3).map(str.encode), st.binary(max_size=5)), max_size=3)
RECORDS = st.builds(
    Record,
    timestamp_ms=TIMES,
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=200),
    headers=HEADERS.map(tuple),
)


def shown(*batches: bytes) -> list[Shown]:
    return [(header, header.next_offset, view) for batch in batches for header, view in iterate_batches(batch)]


def never(_: Header) -> bool:
    return False


def take(batches: list[Shown], start: int, end: int | None = None, **more: object) -> Gathered:
    is_aborted: Callable[[Header], bool] = more.pop("is_aborted", never)  # type: ignore[assignment]
    return gather(
        batches,
        is_aborted,
        start=Offset(start),
        end=None if end is None else Offset(end),
        **more,  # type: ignore[arg-type]
    )


def records(*values: bytes, time: int = 1000) -> list[Record]:
    return [Record(time + number, b"k", value) for number, value in enumerate(values)]


def seen(batch: bytearray) -> list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
    (read,) = list(MemoryRecords(bytes(batch)))
    return [(each.timestamp, each.key, each.value, list(each.headers)) for each in read]


@given(st.lists(st.lists(RECORDS, min_size=1, max_size=4), min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_records_stay_what_they_are(batches: list[list[Record]], codec: int) -> None:
    base, source = 100, []
    for each in batches:
        source.append(
            make_batch(each, base_offset=base, codec=codec, attributes=TRANSACTIONAL, producer_id=APPLICATION)
        )
        base += len(each)
    found = take(shown(*source), 100)
    built = found.build()
    stamp(memoryview(built), 0, len(built), OURS, 0, 0, found.codec)
    wanted = [record for each in batches for record in each]
    assert seen(built) == [
        (each.timestamp_ms, each.key, each.value, [(name.decode(), value) for name, value in each.headers])
        for each in wanted
    ]
    ((header, _),) = list(iterate_batches(built))
    assert (header.record_count, header.last_offset_delta) == (len(wanted), len(wanted) - 1)
    assert header.attributes == found.codec, "no transaction, no producer's time"
    assert found.next == base


def test_what_no_consumer_sees_and_what_came_back_is_left_out() -> None:
    batches = shown(
        make_batch(records(b"a"), base_offset=10, producer_id=APPLICATION),
        make_batch(records(b"aborted"), base_offset=11, producer_id=9, attributes=TRANSACTIONAL),
        make_batch(records(b"marker"), base_offset=12, producer_id=9, attributes=TRANSACTIONAL | CONTROL),
        make_batch(records(b"back"), base_offset=13, producer_id=BACK),
        make_batch(records(b"b"), base_offset=14, producer_id=APPLICATION),
        make_batch(records(b"marker"), base_offset=15, producer_id=9, attributes=TRANSACTIONAL | CONTROL),
    )
    found = take(batches, 10, is_aborted=lambda header: header.base_offset == 11, ignored={ProducerId(BACK)})
    assert [value for _, _, value, _ in seen(found.build())] == [b"a", b"b"]
    assert found.next == 16
    assert take(batches[1:4], 11, is_aborted=lambda header: header.base_offset == 11, ignored={ProducerId(BACK)}) == (
        Gathered((), Offset(14))
    )


def test_it_begins_and_ends_in_the_middle_of_batches() -> None:
    batches = shown(make_batch(records(b"a", b"b", b"c"), base_offset=10), make_batch(records(b"d"), base_offset=13))
    found = take(batches, 11, 13)
    assert [value for _, _, value, _ in seen(found.build())] == [b"b", b"c"]
    assert found.next == 13
    assert take(batches, 12, 12) == Gathered((), Offset(12))


def test_one_batch_holds_no_more_than_its_limits() -> None:
    batches = shown(make_batch(records(b"a" * 10, b"b" * 90, b"c"), base_offset=10))
    assert take(batches, 10, limits=Limits(records=2)).next == 12
    assert take(batches, 10, limits=Limits(bytes=50)).next == 11
    large = take(batches, 11, limits=Limits(bytes=50))
    assert (len(large.records), large.next) == (1, 12), "one that is larger goes alone"


def test_the_broker_s_time_is_what_consumers_see() -> None:
    batches = shown(make_batch(records(b"a", b"b", time=7), base_offset=1, attributes=APPEND_TIME))
    times = {time for time, *_ in seen(take(batches, 1).build())}
    assert times == {batches[0][0].max_timestamp_ms}  # type: ignore[union-attr]


def test_messages_of_old_formats_are_records_too() -> None:
    entry = make_message([StoredRecord(3, 5, b"k", b"old", ())], magic=1)
    found = take([(None, 4, memoryview(entry))], 3)
    assert seen(found.build()) == [(5, b"k", b"old", [])]


def test_what_is_damaged_is_not_stamped_anew() -> None:
    whole = bytearray(make_batch(records(b"abc"), base_offset=1))
    whole[-3] ^= 1
    with pytest.raises(ValueError, match="CRC"):
        take(shown(bytes(whole)), 1)
