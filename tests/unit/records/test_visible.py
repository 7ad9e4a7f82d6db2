"""Two logs look the same exactly where a consumer would see the same; batches are made by the second implementation."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.records import visible
from kmigrate.records.batch import LOG_APPEND_TIME, TRANSACTIONAL, parse_header
from kmigrate.records.visible import ABSENT, HIDDEN, UNSEEN, Visible
from tests.simulation.batches import GZIP, NONE, ZSTD, Record, compress, make_batch, record_bytes, seal

FIELD = st.none() | st.binary(max_size=20)
RECORDS = st.lists(
    st.builds(Record, st.integers(-1, 2**45), FIELD, FIELD, st.just(()) | st.just(((b"\xff", None), (b"\xff", b"2")))),
    min_size=1,
    max_size=8,
)
SOME = [Record(1_000 + n, None, bytes([n])) for n in range(6)]


def look(*batches: bytes, start: int = 0, end: int = 10, hidden: bool = False) -> Visible:
    seen = Visible(start, end)
    for batch in batches:
        seen.add_batch(parse_header(batch, 0), memoryview(batch), hidden=hidden)
    return seen


def all_of(seen: Visible, start: int = 0, end: int = 10) -> list[bytes]:
    return [seen[offset] for offset in range(start, end)]


def shown(seen: Visible, start: int = 0, end: int = 10) -> str:
    """One sign an offset: `.` absent, `x` hidden, `r` a record."""
    return "".join({ABSENT: ".", HIDDEN: "x"}.get(digest, "r") for digest in all_of(seen, start, end))


def with_holes(records: Sequence[tuple[int, Record]], *, length: int, base: int = 0, attributes: int = 0) -> bytes:
    """A batch over `length` offsets with records at some of them only, as compaction leaves it."""
    body = b"".join(record_bytes(each, delta, each.timestamp_ms) for delta, each in records)
    return seal(body, base_offset=base, attributes=attributes, last_offset_delta=length - 1, record_count=len(records))


def message(offset: int, magic: int, record: Record, *, attributes: int = 0) -> bytes:
    after = struct.pack(">bb", magic, attributes) + (struct.pack(">q", record.timestamp_ms) if magic else b"")
    for content in (record.key, record.value):
        after += struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content
    return struct.pack(">qiI", offset, 4 + len(after), zlib.crc32(after)) + after


# ── what looks the same ───────────────────────────────────────────────────────────────────────────────────────────


@given(RECORDS, st.integers(0, 8), st.sampled_from([NONE, GZIP, ZSTD]))
def test_records_look_the_same_however_they_are_batched(records: list[Record], cut: int, codec: int) -> None:
    parts = [(base, part) for base, part in ((0, records[:cut]), (cut, records[cut:])) if part]
    whole = look(make_batch(records, codec=codec, attributes=TRANSACTIONAL, producer_id=7, base_sequence=3))
    recut = look(*(make_batch(part, base_offset=base, leader_epoch=4) for base, part in parts))
    assert all_of(whole) == all_of(recut)
    assert shown(whole) == "r" * len(records) + "." * (10 - len(records))


@pytest.mark.parametrize("magic", [0, 1])
def test_records_of_older_formats_look_as_their_consumers_see_them(magic: int) -> None:
    seen = Visible(0, 3)
    for offset, record in enumerate(SOME[:3]):
        seen.add_message(memoryview(message(offset, magic, record)), offset + 1)
    stamped = [record if magic else record._replace(timestamp_ms=-1) for record in SOME[:3]]
    assert all_of(seen, 0, 3) == all_of(look(make_batch(stamped)), 0, 3)


def test_a_compressed_message_shows_all_its_records() -> None:
    inner = b"".join(message(offset, 1, record) for offset, record in enumerate(SOME[:3]))
    wrapper = message(7, 1, Record(0, None, compress(GZIP, inner)), attributes=GZIP)
    seen = Visible(6, 10)
    seen.add_message(memoryview(wrapper), 8)
    assert all_of(seen, 6, 8) == all_of(look(make_batch(SOME[:3], base_offset=5)), 6, 8)
    assert (shown(seen, 6, 10), seen.next_offset, seen.size) == ("rr..", 8, len(wrapper))


def test_an_append_time_is_every_records_timestamp() -> None:
    stamped = make_batch(SOME[:3], attributes=LOG_APPEND_TIME)
    append_time = SOME[2].timestamp_ms
    assert all_of(look(stamped)) == all_of(
        look(make_batch([each._replace(timestamp_ms=append_time) for each in SOME[:3]]))
    )


def test_timestamps_beyond_64_bits_wrap_as_they_do_for_consumers() -> None:
    body = record_bytes(SOME[0], 0, 2**63 - 1)
    beyond = seal(body, last_offset_delta=0, record_count=1, base_timestamp_ms=2**63 - 1)
    assert all_of(look(beyond)) == all_of(look(make_batch([SOME[0]._replace(timestamp_ms=-2)])))


# ── what does not ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "other",
    [
        Record(1_001, b"k", b"v"),
        Record(1_000, b"", b"v"),
        Record(1_000, None, b"v"),
        Record(1_000, b"k", None),
        Record(1_000, b"kv", b""),
        Record(1_000, b"k", b"v", ((b"h", None),)),
    ],
)
def test_every_part_of_a_record_is_looked_at(other: Record) -> None:
    one = Record(1_000, b"k", b"v")
    assert look(make_batch([one]))[0] != look(make_batch([other]))[0]


def test_what_compaction_left_out_is_absent() -> None:
    assert shown(look(with_holes([(1, SOME[1]), (4, SOME[4])], length=6))) == ".r..r....."


@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_an_empty_batch_shows_nothing(codec: int) -> None:
    emptied = with_holes([], length=4, attributes=codec)
    assert shown(look(emptied, make_batch(SOME[:2], base_offset=4))) == "....rr...."


def test_what_no_consumer_sees_is_hidden_at_each_of_its_offsets() -> None:
    assert shown(look(make_batch(SOME[:3], base_offset=4), hidden=True)) == "....xxx..."
    assert shown(look(with_holes([], length=3), hidden=True)) == "xxx......."


def test_only_the_offsets_that_were_asked_for_are_kept() -> None:
    batches = [make_batch(SOME, base_offset=base) for base in (0, 6, 12)]
    assert all_of(look(*batches, start=4, end=8), 4, 8) == all_of(look(*batches, start=0, end=18), 4, 8)
    assert shown(look(*batches, start=4, end=13, hidden=True), 4, 13) == "x" * 9


@pytest.mark.parametrize("hidden", [True, False])
def test_batches_outside_are_not_unpacked(hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visible, "read_records", lambda *_: pytest.fail("unpacked"))
    seen = look(make_batch(SOME), make_batch(SOME, base_offset=20), start=6, end=20, hidden=hidden)
    assert shown(seen, 6, 20) == "." * 14
    assert (seen.next_offset, seen.size) == (26, 2 * len(make_batch(SOME)))


def test_an_empty_stretch_keeps_nothing() -> None:
    assert look(make_batch(SOME), start=3, end=1).next_offset == 6


def test_the_last_batch_is_remembered_whatever_it_holds() -> None:
    seen = look(make_batch(SOME, leader_epoch=3))
    seen.add_batch(parse_header(marker := with_holes([], length=1, base=6), 0), memoryview(marker), hidden=True)
    assert (seen.next_offset, seen.leader_epoch) == (7, -1)
    later = make_batch(SOME, base_offset=9, leader_epoch=5)
    seen.add_batch(parse_header(later, 0), memoryview(later), hidden=False)
    assert (seen.next_offset, seen.leader_epoch) == (15, 5)
    seen.add_message(memoryview(message(15, 1, SOME[0])), 16)
    assert (seen.next_offset, seen.leader_epoch) == (16, -1)


# ── what cannot be read ───────────────────────────────────────────────────────────────────────────────────────────


def unreadable(content: bytes = b"not gzip", **fields: int) -> bytes:
    fields = {"last_offset_delta": 2, "record_count": 3, "base_offset": 4, "attributes": GZIP} | fields
    return seal(content, **fields)


def test_a_batch_that_cannot_be_read_is_known_by_its_bytes() -> None:
    ours = unreadable(attributes=GZIP, leader_epoch=3, producer_id=2**62, base_sequence=9)
    theirs = unreadable(attributes=GZIP | TRANSACTIONAL, leader_epoch=8, producer_id=5)
    seen = look(theirs)
    assert all_of(seen) == all_of(look(ours))
    assert seen[4] not in UNSEEN
    assert [offset for offset in range(10) if not seen.is_readable(offset)] == [4, 5, 6]


@pytest.mark.parametrize(
    "other",
    [
        unreadable(b"not gzip either"),
        unreadable(base_timestamp_ms=1),
        unreadable(max_timestamp_ms=1),
        unreadable(attributes=GZIP | LOG_APPEND_TIME),
        unreadable(record_count=2),
        unreadable(last_offset_delta=3),
        unreadable(base_offset=3),
    ],
)
def test_other_bytes_that_cannot_be_read_look_otherwise(other: bytes) -> None:
    assert look(unreadable())[5] != look(other)[5]


def test_a_batch_that_unpacks_to_more_than_the_budget_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visible, "BUDGET_BYTES", 500)
    bomb = make_batch([Record(0, None, bytes(10_000))], codec=ZSTD)
    assert not look(bomb).is_readable(0)
    assert look(make_batch(SOME, codec=ZSTD)).is_readable(0)


def test_a_batch_of_too_many_records_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visible, "MOST_RECORDS", 5)
    assert not look(make_batch(SOME)).is_readable(0)
    assert look(make_batch(SOME[:5])).is_readable(0)


def test_a_damaged_message_takes_up_the_offsets_up_to_its_own() -> None:
    damaged = message(6, 1, SOME[0])[:-1] + b"?"
    seen = look(make_batch(SOME[:4]))
    seen.add_message(memoryview(damaged), 7)
    assert [offset for offset in range(10) if not seen.is_readable(offset)] == [4, 5, 6]
    assert shown(seen) == "rrrrrrr..."
