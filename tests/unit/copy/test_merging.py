"""Small batches in a row go as one, large and lonely ones as they are, and nothing changes for whoever reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from kmigrate.copy.copier import Copier, Phase
from kmigrate.copy.judge import Treatment
from kmigrate.copy.merging import MERGED_BYTES, PLAINLY_RECORDS, SMALL_BYTES, SMALL_COMPRESSED_BYTES, Row
from kmigrate.copy.pieces import Batch, Gap, Room
from kmigrate.copy.standing import Quiet
from kmigrate.copy.states import StopKind
from kmigrate.kafka_types import Offset
from kmigrate.records.batch import parse_header
from kmigrate.records.splice import PLAIN, Splicer
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.fetch import FetchedPartition
from tests.simulation.batches import GZIP, LZ4, NONE, SNAPPY, ZSTD, Record, crc_holds, decode, make_batch, seal
from tests.simulation.log import validate
from tests.unit.copy.test_copier import GUARDED_MS, NOW, ORDER, OURS, bad, copying, fetch, good, known, send_all
from tests.unit.copy.test_copier_gaps import control, fetch_with, fill, holey, standing, transactional

ALWAYS = Splicer(PLAIN.join, is_compiled=True)
"""Merges batches of any number of records, on every machine."""


@pytest.fixture(autouse=True)
def _merges_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmigrate.copy.frontier.Row", lambda: Row(ALWAYS))


def small(base: int, count: int = 1, *, codec: int = NONE, at_ms: int = NOW, size: int = 10, epoch: int = 2) -> bytes:
    records = [Record(at_ms + n, b"%d" % (base + n), b"v" * size) for n in range(count)]
    return make_batch(records, base_offset=base, leader_epoch=epoch, codec=codec, producer_id=9, base_sequence=3)


def records_of(batches: Sequence[bytes]) -> list[Record]:
    return [each.record for batch in batches for each in decode(batch)]


def whole(sent: Batch) -> bytes:
    """The batch as the target would store it, after everything a broker looks at."""
    data = bytes(sent.view)
    assert crc_holds(data)
    assert validate(data) == 0
    header = parse_header(data, 0)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (OURS, 0, sent.sequence)
    assert (header.record_count, header.last_offset_delta) == (sent.records, sent.records - 1)
    assert (header.max_timestamp_ms, header.size) == (sent.newest_ms, sent.size)
    assert header.max_timestamp_ms == max(each.timestamp_ms for each in decode(data))
    return data


def pieces(copier: Copier) -> list[tuple[str, int, int]]:
    return [
        ("gap" if isinstance(piece, Gap) else piece.treatment.name, piece.base, piece.next) for piece in copier.pending
    ]


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_small_batches_in_a_row_go_as_one(codec: int) -> None:
    copier = copying()
    batches = [
        small(0, 2, codec=codec, at_ms=NOW + 7),
        small(2, 1, codec=codec),
        small(3, 3, codec=codec, at_ms=NOW - 9, epoch=4),
    ]
    fetch(copier, *batches)
    (sent,) = send_all(copier)
    assert (sent.base, sent.next, sent.target, sent.records, sent.epoch) == (0, 6, 0, 6, 4)
    assert sent.treatment is Treatment.MERGE
    assert parse_header(sent.view, 0).attributes == codec
    assert records_of([whole(sent)]) == records_of(batches)
    good(copier, sent)
    assert (copier.position, copier.records, copier.reencoded, copier.converted) == (6, 6, 0, 0)
    assert copier.fetch_wish() == (6, 4)


def test_one_alone_goes_as_it_is() -> None:
    copier = copying()
    fetch(copier, original := small(0, 3))
    (sent,) = send_all(copier)
    assert (sent.treatment, bytes(sent.view[61:])) == (Treatment.AS_IS, original[61:])


def test_large_batches_go_as_they_are_and_part_a_row() -> None:
    copier = copying()
    large = small(4, size=SMALL_BYTES)
    fetch(copier, small(0), small(1), small(2, 2), large, small(5), small(6, 2))
    assert pieces(copier) == [("MERGE", 0, 4), ("AS_IS", 4, 5), ("MERGE", 5, 8)]
    known_sequences = [piece.sequence for piece in copier.pending if isinstance(piece, Batch)]
    assert known_sequences == [0, 4, 5]


def test_of_compressed_ones_only_tiny_ones_are_merged_and_only_those_of_one_codec() -> None:
    copier = copying()
    noise = bytes(range(256)) * (SMALL_COMPRESSED_BYTES // 256)
    loud = make_batch([Record(NOW, noise[n:], noise) for n in range(9)], base_offset=6, codec=SNAPPY, leader_epoch=2)
    many = [small(base, 11, codec=SNAPPY) for base in (15, 26)]
    tiny = [small(0, codec=LZ4), small(1, codec=LZ4), small(2), small(3), small(4, codec=ZSTD), small(5)]
    fetch(copier, *tiny, loud, *many)
    assert pieces(copier)[:2] == [("MERGE", 0, 2), ("MERGE", 2, 4)]
    assert pieces(copier)[2:] == [("AS_IS", *ends) for ends in ((4, 5), (5, 6), (6, 15), (15, 26), (26, 37))]


def test_merged_batches_have_a_size() -> None:
    copier = copying()
    each = small(0, size=10_000)
    number = 4 * MERGED_BYTES // len(each)
    fetch(copier, *[small(base, size=10_000) for base in range(number)], high_watermark=number)
    sizes = [piece.size for piece in copier.pending if isinstance(piece, Batch)]
    assert len(sizes) == 4
    assert all(MERGED_BYTES - 2 * len(each) < size <= MERGED_BYTES for size in sizes[:-1])


def test_without_a_compiled_loop_only_batches_of_few_records_are_merged() -> None:
    row = Row(PLAIN)
    assert row.takes(500, 0, PLAINLY_RECORDS)
    assert not row.takes(500, 0, PLAINLY_RECORDS + 1)
    assert Row(ALWAYS).takes(500, 0, 400)


def test_between_gaps_rows_are_merged_and_kept_within_the_room() -> None:
    copier = copying()
    batches = [transactional(0), transactional(2), control(4), transactional(5, 1), transactional(6, 1), control(7)]
    fetch(copier, *batches)
    assert pieces(copier) == [("MERGE", 0, 4), ("gap", 4, 5), ("MERGE", 5, 7), ("gap", 7, 8)]
    first, second = (piece for piece in copier.pending if isinstance(piece, Batch))
    assert (first.lent, second.lent) == (True, False)
    room = copier.backlog.left_bytes
    (sent,) = send_all(copier)
    good(copier, sent)
    assert records_of([whole(sent)]) == records_of(batches[:2])
    fill(copier)
    (sent,) = send_all(copier)
    assert records_of([whole(sent)]) == records_of(batches[3:5])
    assert copier.backlog.left_bytes > room


def test_decided_batches_beside_aborted_ones_are_merged_too() -> None:
    copier = copying()
    aborted = [transactional(4, producer_id=45), control(6, producer_id=45)]
    fetch_with(copier, transactional(0), transactional(2), *aborted, small(7), small(8), aborted=[(45, 4)])
    assert pieces(copier) == [("MERGE", 0, 4), ("gap", 4, 7), ("MERGE", 7, 9)]


def test_holes_and_rebuilt_batches_part_a_row() -> None:
    copier = copying()
    batches = [small(0), small(1), holey(2, (0, 1), 2), small(5), small(6)]
    fetch(copier, *batches)
    assert pieces(copier) == [("MERGE", 0, 2), ("REENCODE", 2, 4), ("gap", 4, 5), ("MERGE", 5, 7)]
    assert [piece.sequence for piece in copier.pending] == [0, 2, 4, 4]


def test_a_row_before_a_refused_batch_is_sent_first() -> None:
    copier = copying()
    broken = bytearray(small(2))
    broken[70] ^= 1
    fetch(copier, small(0), small(1), bytes(broken))
    assert pieces(copier) == [("MERGE", 0, 2)]
    (sent,) = send_all(copier)
    good(copier, sent)
    fetch(copier, bytes(broken))
    assert copier.stop is not None
    assert copier.stop.offset == 2


def test_records_that_are_not_what_a_header_says_go_as_they_are() -> None:
    copier = copying()
    odd = seal(b"\x02\x00", base_offset=1, leader_epoch=2, last_offset_delta=0, record_count=1)
    batches = [small(0), odd, small(2)]
    fetch(copier, *batches)
    assert pieces(copier) == [("AS_IS", 0, 1), ("AS_IS", 1, 2), ("AS_IS", 2, 3)]
    assert [bytes(piece.view[61:]) for piece in copier.pending if isinstance(piece, Batch)] == [
        batch[61:] for batch in batches
    ]
    assert [piece.sequence for piece in copier.pending] == [0, 1, 2]


def test_tiny_batches_that_inflate_far_go_as_they_are() -> None:
    copier = copying()
    bombs = [small(base, codec=ZSTD, size=900_000) for base in range(3)]
    assert all(len(bomb) < SMALL_COMPRESSED_BYTES for bomb in bombs)
    fetch(copier, *bombs)
    assert pieces(copier) == [("AS_IS", 0, 1), ("AS_IS", 1, 2), ("AS_IS", 2, 3)]


@pytest.mark.parametrize("error", [ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE])
def test_what_the_target_calls_too_large_is_merged_less(error: ErrorCode) -> None:
    copier = copying()
    known(copier)
    batches = [small(base, size=1000) for base in range(1, 21)]
    fetch(copier, *batches)
    (sent,) = send_all(copier)
    bad(copier, sent, error)
    assert copier.stop is None
    assert copier.wants_standing()
    copier.on_standing(standing(1))
    fetch(copier, *batches)
    again = [piece for piece in copier.pending if isinstance(piece, Batch)]
    assert {piece.treatment for piece in again} == {Treatment.MERGE}
    assert max(piece.size for piece in again) <= sent.size // 2
    assert records_of([whole(piece) for piece in again]) == records_of(batches)


def test_a_limit_below_two_batches_ends_merging_and_asks_nobody_to_raise_it() -> None:
    copier = copying()
    known(copier)
    batches = [small(base, size=1000) for base in range(1, 5)]
    for _ in range(3):
        fetch(copier, *batches)
        (sent, *_) = send_all(copier)
        if sent.treatment is Treatment.AS_IS:
            break
        bad(copier, sent, ErrorCode.MESSAGE_TOO_LARGE)
        for other in list(copier.in_flight):
            bad(copier, other, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        assert copier.progress(paused=False, hindrance="").limit_wish_bytes == 0
        assert copier.wants_standing()
        copier.on_standing(standing(1))
    assert (sent.treatment, sent.base) == (Treatment.AS_IS, 1)
    assert pieces(copier) == [("AS_IS", 2, 3), ("AS_IS", 3, 4), ("AS_IS", 4, 5)]


@pytest.mark.parametrize("error", [ErrorCode.INVALID_RECORD, ErrorCode.CORRUPT_MESSAGE])
def test_a_record_that_the_target_refuses_is_named_and_those_before_it_are_copied(error: ErrorCode) -> None:
    copier = copying()
    known(copier)
    batches = [small(base) for base in range(1, 8)]
    for _ in range(20):
        if copier.stop is not None:
            break
        if copier.wants_standing():
            copier.on_standing(standing(copier.position))
        fetch(copier, *(batch for batch in batches if parse_header(batch, 0).base_offset >= copier.fetch_offset))
        for sent in send_all(copier):
            if sent.base <= 5 < sent.next:
                bad(copier, sent, error)
            elif sent.base < 5:
                good(copier, sent)
            else:
                bad(copier, sent, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    assert copier.stop is not None
    assert (copier.stop.kind, copier.stop.offset) == (StopKind.TARGET_REJECTED, 5)
    assert copier.position == 5


def test_after_the_operators_answer_what_was_refused_is_tried_again() -> None:
    copier = copying()
    known(copier)
    batches = [small(base, size=1_000) for base in range(1, 9)]
    fetch(copier, *batches)
    (sent,) = send_all(copier)
    bad(copier, sent, ErrorCode.MESSAGE_TOO_LARGE)
    assert copier.wants_standing()
    copier.on_standing(standing(1))
    fetch(copier, *batches)
    assert len(pieces(copier)) > 1
    copier._stop(StopKind.TARGET_REJECTED, Offset(1), "made up")
    copier.on_order(ORDER._replace(revision=1))
    assert copier.wants_standing()
    copier.on_standing(standing(1))
    fetch(copier, *batches)
    assert pieces(copier) == [("MERGE", 1, 9)]


@pytest.mark.parametrize(("size", "count"), [(20, 50), (20, 100), (80, 50), (200, 50), (200, 100), (1000, 16)])
def test_of_many_records_a_batch_nearly_all_are_merged_and_as_large_as_they_may_be(size: int, count: int) -> None:
    copier = copying()
    batches = [small(base, count, size=size, at_ms=NOW + base) for base in range(0, 200 * count, count)]
    fetch(copier, *batches)
    found = [piece for piece in copier.pending if isinstance(piece, Batch)]
    assert {piece.treatment for piece in found} == {Treatment.MERGE}
    assert all(MERGED_BYTES * 0.7 < piece.size <= MERGED_BYTES for piece in found[:-1])


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_compressed_batches_are_merged_however_far_they_inflate(codec: int) -> None:
    copier = copying()
    records = [Record(NOW, None, b'{"customer": 4711, "state": "PAID", "items": []}' * 4)] * 10
    batches = [make_batch(records, base_offset=base, leader_epoch=2, codec=codec) for base in range(0, 24_000, 10)]
    fetch(copier, *batches)
    found = [piece for piece in copier.pending if isinstance(piece, Batch)]
    assert sum(piece.records for piece in found if piece.treatment is Treatment.MERGE) > 20_000
    assert len(found) < 100


def test_batches_that_begin_without_a_timestamp_are_merged_among_themselves() -> None:
    copier = copying()
    times = (NOW, NOW, -1, -1, NOW)
    fetch(copier, *(small(base, at_ms=at_ms) for base, at_ms in enumerate(times)))
    assert pieces(copier) == [("MERGE", 0, 2), ("MERGE", 2, 4), ("AS_IS", 4, 5)]


def test_a_row_that_is_kept_stays_within_the_room_even_if_it_cannot_be_merged() -> None:
    room = Room(100_000)
    copier = Copier(ORDER, OURS, GUARDED_MS, room)
    copier.wants_standing()
    copier.on_standing(standing(0))
    odd = seal(b"\x02\x00", base_offset=2, leader_epoch=2, last_offset_delta=0, record_count=1)
    fetch(copier, control(0), small(1), odd, *(small(base) for base in range(3, 900)))
    assert pieces(copier)[:3] == [("gap", 0, 1), ("AS_IS", 1, 2), ("AS_IS", 2, 3)]
    assert 0 <= room.left_bytes < 2_000


def test_merged_bytes_take_no_more_memory_than_they_are_long() -> None:
    copier = copying()
    fetch(copier, *(small(base, 100, size=20) for base in range(0, 5_000, 100)))
    for piece in copier.pending:
        assert isinstance(piece, Batch)
        assert sys.getsizeof(piece.view.obj) < piece.size * 1.1 + 17_000


def test_fetches_go_by_the_sources_batches_not_by_what_became_of_them() -> None:
    copier = copying()
    fetch(copier, *(small(base, size=1_000) for base in range(50)))
    assert copier.frontier.largest_bytes == len(small(49, size=1_000))


def test_a_dropped_row_is_read_again_from_its_beginning() -> None:
    copier = copying()
    known(copier)
    fetch(copier, small(1), small(2, epoch=3), control(3), small(4), small(5))
    copier.release()
    assert (copier.phase, copier.fetch_wish()) == (Phase.COPYING, (1, 2))
    fetch(copier, small(1), small(2, epoch=3), control(3))
    assert pieces(copier) == [("MERGE", 1, 3), ("gap", 3, 4)]


def test_the_newest_timestamp_of_a_row_is_that_of_its_newest_record() -> None:
    copier = copying()
    fetch(copier, small(0, at_ms=NOW), small(1, at_ms=NOW - 40 * GUARDED_MS))
    (sent,) = send_all(copier)
    assert sent.newest_ms == NOW
    whole(sent)


def test_old_records_in_a_row_of_new_ones_wait_as_they_would_alone() -> None:
    """What was sent of them before may still come, and have the target forget our id: then it would let the row in."""
    copier = copying(order=ORDER._replace(fresh=False), end=4)
    fetch(copier, small(4, at_ms=NOW), small(5, at_ms=NOW - 2 * GUARDED_MS))
    assert (copier.phase, copier.quiet) == (Phase.DOUBT, Quiet.NEEDED)


def test_nothing_is_merged_beyond_what_the_source_allows() -> None:
    copier = copying(order=ORDER._replace(batch_bytes=4_000))
    batches = [small(base, size=1_000) for base in range(9)]
    fetch(copier, *batches)
    sizes = [piece.size for piece in copier.pending if isinstance(piece, Batch)]
    assert len(sizes) == 3
    assert max(sizes) <= 4_000
    copier.release()
    copier.on_order(ORDER._replace(batch_bytes=2_000))
    fetch(copier, *batches)
    assert pieces(copier) == [("AS_IS", base, base + 1) for base in range(9)]


def test_sequences_wrap_inside_a_row() -> None:
    copier = Copier(ORDER, OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.on_standing(standing(10, sequence=2**31 - 3))
    fetch(copier, small(10, 3), small(13), small(14, size=SMALL_BYTES))
    assert [piece.sequence for piece in copier.pending] == [2**31 - 2, 2]


def test_nothing_in_a_row_outlives_the_answer() -> None:
    copier = copying()
    data = bytearray(small(0) + small(1))
    fetched = FetchedPartition(b"", 0, 0, 1000, 1000, 0, None, 0, len(data))
    copier.on_fetched(fetched, 0, memoryview(data), NOW)
    data[:] = bytes(len(data))
    (sent,) = send_all(copier)
    assert [each.key for each in records_of([whole(sent)])] == [b"0", b"1"]
