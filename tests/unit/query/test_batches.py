"""What is found in batches is what a naive decoder finds that looks at every record; nothing else decides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.cluster.reader import whole_batches
from kmigrate.query.batches import BatchReader
from kmigrate.query.conditions import Condition, Field, Filter, Operator
from kmigrate.query.contents import Contents, FoundRecord
from kmigrate.records.batch import Header
from tests.simulation.batches import (
    CONTROL,
    GZIP,
    LZ4,
    NONE,
    SNAPPY,
    ZSTD,
    Record,
    StoredRecord,
    make_batch,
    make_marker,
    make_message,
    with_append_time,
)
from tests.simulation.committed import with_holes
from tests.simulation.log import PartitionLog
from tests.simulation.readers import commit, new_log, partition_of, visible

ORDERS = partition_of("orders")
WORDS = st.sampled_from([b"", b"a", b"ab", b"aba", b"\x00", b"\xff\xfe", b"a" * 130, b"key"])
RECORDS = st.builds(
    Record,
    timestamp_ms=st.integers(0, 40),
    key=st.none() | WORDS,
    value=st.none() | WORDS | st.binary(max_size=6),
    headers=st.lists(st.tuples(WORDS, st.none() | WORDS), max_size=2).map(tuple),
)
OLD_RECORDS = st.lists(
    st.builds(Record, timestamp_ms=st.integers(0, 40), key=WORDS, value=st.none() | WORDS), min_size=1
)
CONDITIONS = st.builds(
    Condition,
    field=st.sampled_from([Field.KEY, Field.VALUE, Field.TEXT]),
    operator=st.sampled_from(list(Operator)),
    wanted=WORDS,
) | st.builds(
    Condition,
    field=st.just(Field.HEADER),
    operator=st.sampled_from(list(Operator)),
    wanted=st.none() | WORDS,
    name=WORDS,
)
FILTERS = st.builds(
    Filter,
    conditions=st.lists(CONDITIONS, max_size=2).map(tuple),
    since_ms=st.none() | st.integers(0, 40),
    until_ms=st.none() | st.integers(0, 40),
)


@st.composite
def logs(draw: st.DrawFn) -> PartitionLog:
    """A log as brokers hold it: every framing, codec and fate of a batch."""
    log = new_log()
    for _ in range(draw(st.integers(1, 6))):
        records = draw(st.lists(RECORDS, min_size=1, max_size=6))
        codec = draw(st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]))
        match draw(st.sampled_from(["plain", "append time", "committed", "aborted", "marker", "holes", "old"])):
            case "plain":
                log.write(make_batch(records, codec=codec))
            case "append time":
                log.write(with_append_time(make_batch(records, codec=codec), draw(st.integers(0, 40))))
            case "committed":
                commit(log, records)
            case "aborted":
                commit(log, records, committed=False)
            case "marker":
                log.write(make_marker(9, 0, committed=True, coordinator_epoch=0, timestamp_ms=3))
            case "holes":
                kept = {2 * at: record for at, record in enumerate(records)}
                log.write(with_holes(kept, length=2 * len(records) + 1))
            case "old":
                magic = draw(st.sampled_from([0, 1]))
                some = records if codec in (GZIP, SNAPPY) else records[:1]
                old = [
                    StoredRecord(log.end + at, each.timestamp_ms, each.key, each.value, ())
                    for at, each in enumerate(some)
                ]
                log.write(make_message(old, magic=magic, codec=codec if len(some) > 1 or codec else NONE))
    return log


def naive(records: Sequence[FoundRecord], wanted: Filter) -> list[FoundRecord]:
    """The records that are wanted, by nothing but Python's own comparisons of whole records."""

    def compare(operator: Operator, there: bytes | None, text: bytes | None) -> bool:
        if there is None or text is None:
            return False
        return {
            Operator.EQUALS: there == text,
            Operator.CONTAINS: there.find(text) >= 0,
            Operator.STARTS_WITH: there[: len(text)] == text,
        }[operator]

    def holds(each: Condition, contents: Contents) -> bool:
        fields = {
            Field.KEY: [contents.key],
            Field.VALUE: [contents.value],
            Field.TEXT: [contents.key, contents.value],
            Field.HEADER: [value for name, value in contents.headers if name == each.name],
        }[each.field]
        if each.field is Field.HEADER and each.wanted is None:
            return bool(fields)
        return any(compare(each.operator, there, each.wanted) for there in fields)

    return [
        record
        for record in records
        if all(holds(each, record.contents) for each in wanted.conditions)
        and (wanted.since_ms is None or wanted.since_ms <= record.timestamp_ms)
        and (wanted.until_ms is None or record.timestamp_ms < wanted.until_ms)
    ]


def read(
    log: PartitionLog, wanted: Filter, start: int, end: int, *, at: int | None = None, keep: int = 0
) -> BatchReader:
    reader = BatchReader(ORDERS, wanted, start, end, at=start if at is None else at, keep_newest=keep)
    data = b"".join(batch.data for batch in log.batches if batch.next <= log.last_stable_offset)

    def is_aborted(header: Header) -> bool:
        return (
            any(
                each.producer_id == header.producer_id and each.first <= header.base_offset < each.last
                for each in log.transactions.aborted
            )
            and not header.attributes & CONTROL
        )

    batches, is_damaged = whole_batches(memoryview(data))
    assert not is_damaged
    reader.show(batches, is_aborted)
    return reader


@given(log=logs(), wanted=FILTERS, bounds=st.tuples(st.integers(0, 20), st.integers(0, 40)))
def test_exactly_the_wanted_records_are_found(log: PartitionLog, wanted: Filter, bounds: tuple[int, int]) -> None:
    start, end = bounds[0], bounds[0] + bounds[1]
    found = read(log, wanted, start, end)
    assert list(found.found) == naive([each for each in visible(log, ORDERS) if start <= each.offset < end], wanted)
    assert not found.unreadable


@given(log=logs(), wanted=FILTERS, keep=st.integers(1, 3))
def test_only_the_newest_are_kept(log: PartitionLog, wanted: Filter, keep: int) -> None:
    assert list(read(log, wanted, 0, 99, keep=keep).found) == naive(visible(log, ORDERS), wanted)[-keep:]


@given(log=logs(), at=st.integers(0, 20))
def test_records_before_the_place_count_if_their_batch_lies_there(log: PartitionLog, at: int) -> None:
    found = read(log, Filter(), 0, 99, at=at)
    if found.first_offset is None:
        return
    assert list(found.found) == [each for each in visible(log, ORDERS) if each.offset >= min(at, found.first_offset)]
    assert found.next_offset == max(at, log.batches[-1].next)


def test_what_is_damaged_is_told_and_the_rest_is_found() -> None:
    log = new_log()
    for value in (b"one", b"two", b"six"):
        log.write(make_batch([Record(0, None, value)]))
    data = bytearray(log.batches[1].data)
    data[-2] ^= 1
    log.batches[1] = log.batches[1]._replace(data=bytes(data))
    reader = BatchReader(ORDERS, Filter(), 0, 3, at=0)
    batches, _ = whole_batches(memoryview(b"".join(batch.data for batch in log.batches)))
    reader.show(batches, lambda _header: False)
    assert [each.contents.value for each in reader.found] == [b"one", b"six"]
    assert reader.unreadable == [(1, "the CRC of the batch does not match its bytes")]


def test_a_batch_without_the_needle_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    log = new_log()
    log.write(make_batch([Record(0, None, b"nothing")] * 3, codec=ZSTD))
    log.write(make_batch([Record(0, None, b"nothing"), Record(0, b"k", b"a needle"), Record(0, None, b"nothing")]))
    looked_at: list[bytes] = []

    def parse(body: bytes) -> Contents:
        looked_at.append(body)
        return Contents(b"k", b"a needle")

    monkeypatch.setattr("kmigrate.query.batches.parse_contents", parse)
    condition = Condition(field=Field.VALUE, operator=Operator.CONTAINS, wanted=b"needle")
    found = read(log, Filter(conditions=(condition,)), 0, 6)
    assert [each.offset for each in found.found] == [4]
    assert len(looked_at) == 1


def test_what_no_consumer_sees_is_told_as_hidden() -> None:
    log = new_log()
    commit(log, [Record(0, None, b"a")] * 2, committed=False)
    log.write(make_batch([Record(0, None, b"b")]))
    found = read(log, Filter(), 0, 9)
    assert found.hidden == [range(2), range(2, 3)]
    assert [each.offset for each in found.found] == [3]


def test_a_batch_beyond_the_end_says_that_nothing_lies_before_it() -> None:
    log = new_log()
    for _ in range(3):
        log.write(make_batch([Record(0, None, b"a")] * 2))
    reader = BatchReader(ORDERS, Filter(), 0, 4, at=2)
    reader.show(whole_batches(memoryview(log.batches[2].data))[0], lambda _header: False)
    assert (reader.next_offset, [*reader.found]) == (4, [])
