"""What a partition can hold besides plain batches: gaps, transactions, holes, stamps, old formats, sizes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kmigrate.copy import merging, recast
from kmigrate.copy.copier import MOST_REFUSALS, Copier, Filling, Phase
from kmigrate.copy.course import Place
from kmigrate.copy.orders import Limit, PartitionOrder, Saved
from kmigrate.copy.pieces import PIECE_BYTES, Batch, Gap, Room
from kmigrate.copy.standing import EMPTY_TAIL, Quiet
from kmigrate.copy.states import StopKind
from kmigrate.kafka_types import Offset
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Cut, Run
from kmigrate.records.batch import LOG_APPEND_TIME, parse_header
from kmigrate.records.record import RawRecord, read_records
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.fetch import FetchedPartition
from kmigrate.wire.gap_calls import LogStart
from kmigrate.wire.produce import AppendAnswer
from tests.simulation.batches import ZSTD, Record, compress, make_batch, record_bytes, seal
from tests.simulation.log import DAY_MS, validate
from tests.unit.copy.test_copier import (
    EQUAL,
    GUARDED_MS,
    NOW,
    ORDER,
    OURS,
    batch,
    copying,
    fetch,
    good,
    send_all,
    standing,
)

TERM = 7


@pytest.fixture(autouse=True)
def _every_batch_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said here is about single batches; merging has tests of its own."""
    monkeypatch.setattr(merging, "MERGED_BYTES", 0)


def control(base: int, *, producer_id: int = 44, epoch: int = 2) -> bytes:
    return seal(
        b"marker",
        base_offset=base,
        leader_epoch=epoch,
        attributes=0x30,
        producer_id=producer_id,
        last_offset_delta=0,
        record_count=1,
    )


def transactional(base: int, count: int = 2, *, producer_id: int = 44) -> bytes:
    records = [Record(NOW, b"k", b"v%d" % n) for n in range(count)]
    return make_batch(records, base_offset=base, leader_epoch=2, attributes=0x10, producer_id=producer_id)


def holey(base: int, deltas: Sequence[int], last: int, *, codec: int = ZSTD, epoch: int = 2) -> bytes:
    """A batch of offsets base to base + last that holds records only at these deltas."""
    body = b"".join(record_bytes(Record(NOW, b"k", b"v%d" % d), d, d) for d in deltas)
    return seal(
        compress(codec, body) if deltas else b"",
        base_offset=base,
        leader_epoch=epoch,
        attributes=codec if deltas else 0,
        last_offset_delta=last,
        base_timestamp_ms=NOW,
        max_timestamp_ms=NOW + last,
        record_count=len(deltas),
    )


def see_twice(copier: Copier, *batches: bytes) -> None:
    """A place that no CRC covers is believed the second time."""
    fetch(copier, *batches)
    if copier.phase is Phase.COPYING and not copier.pending:
        fetch(copier, *batches)


def fetch_with(copier: Copier, *batches: bytes, aborted: Sequence[tuple[int, int]]) -> None:
    data = b"".join(batches)
    fetched = FetchedPartition(b"", 0, 0, 1000, 1000, 0, None, 0, len(data), tuple(aborted))
    copier.on_fetched(fetched, copier.fetch_offset, memoryview(bytearray(data)), NOW)


def shape(copier: Copier) -> list[tuple[str, int, int]]:
    return [
        ("gap" if isinstance(piece, Gap) else "lent" if piece.lent else "kept", piece.base, piece.next)
        for piece in copier.pending
    ]


def fill(copier: Copier, *, most: int = 1000, error: int = 0, end: int | None = -1) -> Filling:
    """The gap that comes next is answered: with the end of the gap, unless another is said."""
    filling = copier.take_gap(TERM, most)
    at = filling.gap.next if end == -1 else None if end is None else Offset(end)
    copier.on_filled(filling, error, at)
    return filling


def records_of(sent: Batch) -> list[RawRecord]:
    data = bytes(sent.view)
    assert validate(data) == 0, "a broker takes it"
    found = read_records(parse_header(data, 0), data, 1 << 20)
    return [record._replace(offset=record.offset + sent.base) for record in found]


# ── transactions ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_committed_records_lose_their_bit_and_their_marker_becomes_a_gap() -> None:
    copier = copying()
    fetch_with(copier, transactional(0), control(2), batch(3), aborted=())
    assert shape(copier) == [("lent", 0, 2), ("gap", 2, 3), ("kept", 3, 5)]
    (sent,) = send_all(copier)
    assert parse_header(bytes(sent.view), 0).attributes == 0
    assert validate(bytes(sent.view)) == 0
    assert not copier.has_gap, "what is in flight is answered first"
    good(copier, sent)
    assert (copier.has_gap, copier.has_batch) == (True, False)
    filling = copier.take_gap(TERM, 1000)
    assert (filling.gap.base, filling.gap.next) == (2, 3)
    assert not copier.can_append(NOW), "nothing is sent behind markers before they are answered"
    copier.on_filled(filling, 0, Offset(3))
    assert (copier.position, copier.markers) == (3, 1)
    (after,) = send_all(copier)
    assert (after.base, after.sequence) == (3, 2), "markers take offsets but no sequence"
    assert validate(bytes(after.view)) == 0


def test_aborted_records_are_never_sent() -> None:
    copier = copying()
    fetch_with(copier, transactional(0), transactional(2, producer_id=45), control(4), control(5), aborted=[(44, 0)])
    assert shape(copier) == [("gap", 0, 2), ("kept", 2, 4), ("gap", 4, 6)]
    assert [piece.shown for piece in copier.pending if isinstance(piece, Gap)] == [True, True]


def test_the_buffer_is_free_while_a_gap_is_filled() -> None:
    copier = copying()
    fetch_with(copier, control(0), batch(1), aborted=())
    assert not copier.backlog.borrows
    assert copier.fetch_wish() == (3, 2), "a little is kept, and more is read meanwhile"
    fetch_with(copier, batch(3), control(5), aborted=())
    assert shape(copier) == [("gap", 0, 1), ("kept", 1, 3), ("kept", 3, 5), ("gap", 5, 6)]
    fill(copier)
    for _ in range(2):
        (sent,) = send_all(copier)
        good(copier, sent)
    fill(copier)
    assert (copier.position, copier.fetch_wish()) == (6, (6, 2))


def test_where_much_is_kept_it_is_written_before_more_is_read() -> None:
    size = len(batch(0))
    copier = Copier(ORDER, OURS, GUARDED_MS, Room(64 * (size + 2 * PIECE_BYTES)))
    copier.wants_standing()
    copier.on_standing(standing(0))
    fetch_with(copier, control(0), batch(1), aborted=())
    assert copier.fetch_wish() == (3, 2), "one share is kept"
    fetch_with(copier, batch(3), aborted=())
    assert copier.fetch_wish() is None
    fill(copier)
    send_all(copier)
    assert copier.fetch_wish() == (5, 2), "one share is left"


def test_what_did_not_fit_is_not_fetched_again_before_it_does() -> None:
    size = len(batch(0))
    room = Room(size - 1)
    copier = Copier(ORDER, OURS, GUARDED_MS, room)
    copier.wants_standing()
    copier.on_standing(standing(0))
    fetch_with(copier, control(0), batch(1), aborted=())
    assert shape(copier) == [("gap", 0, 1)]
    assert copier.fetch_wish() is None
    fill(copier)
    assert copier.fetch_wish() == (1, 2), "the first piece may always be kept"


def test_kept_bytes_have_a_limit_and_give_it_back() -> None:
    limit = len(batch(0)) * 2 + 3 * PIECE_BYTES
    room = Room(limit)
    copier = Copier(ORDER, OURS, GUARDED_MS, room)
    copier.wants_standing()
    copier.on_standing(standing(0))
    fetch_with(copier, control(0), batch(1), batch(3), batch(5), batch(7), aborted=())
    assert shape(copier) == [("gap", 0, 1), ("kept", 1, 3), ("kept", 3, 5)]
    assert room.left_bytes == 0
    copier.release()
    assert (room.left_bytes, copier.fetch_wish()) == (limit, (0, -1))


# ── holes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_holes_inside_a_batch_become_stretches_with_gaps_between() -> None:
    copier = copying()
    fetch(copier, holey(0, [1, 2, 5], 7), batch(8))
    assert shape(copier) == [
        ("gap", 0, 1),
        ("kept", 1, 3),
        ("gap", 3, 5),
        ("kept", 5, 6),
        ("gap", 6, 8),
        ("kept", 8, 10),
    ]
    sent = [piece for piece in copier.pending if isinstance(piece, Batch)]
    assert [piece.sequence for piece in sent] == [0, 2, 3]
    assert [record.offset for piece in sent[:2] for record in records_of(piece)] == [1, 2, 5]
    assert [record.timestamp_ms - NOW for piece in sent[:2] for record in records_of(piece)] == [1, 2, 5]
    assert parse_header(bytes(sent[0].view), 0).attributes == ZSTD


def test_offsets_missing_between_batches_are_a_gap() -> None:
    copier = copying()
    fetch(copier, batch(0, epoch=1), batch(7, epoch=2))
    assert shape(copier) == [("lent", 0, 2)], "no CRC covers a place: it is looked at once more"
    fetch(copier, batch(7, epoch=2))
    assert shape(copier) == [("lent", 0, 2), ("gap", 2, 7), ("kept", 7, 9)]
    (gap,) = (piece for piece in copier.pending if isinstance(piece, Gap))
    assert (gap.shown, gap.epoch) == (False, -1)


def test_a_batch_that_follows_confirms_a_hole_before() -> None:
    copier = copying()
    fetch(copier, batch(7), batch(9))
    assert shape(copier) == [("gap", 0, 7), ("kept", 7, 9), ("kept", 9, 11)]


def test_records_that_inflate_too_far_are_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recast, "INFLATED_BYTES", 1_000)
    copier = copying()
    bomb = make_batch([Record(NOW, None, bytes(10_000))], codec=ZSTD, attributes=LOG_APPEND_TIME)
    see_twice(copier, bomb)
    assert copier.stop is not None
    assert (copier.stop.kind, copier.stop.offset) == (StopKind.UNSUPPORTED, 0)
    assert "hold more than 1000 bytes" in copier.stop.evidence
    assert copier.crc_errors == 0


@pytest.mark.parametrize("place", [1, 3])
def test_batches_that_overlap_are_never_believed(place: int) -> None:
    """The second of three batches claims to begin one offset before its place, or one behind it."""
    copier = copying()
    fetch(copier, batch(0), batch(place), batch(4))
    assert shape(copier) == [("lent", 0, 2)]
    (sent,) = send_all(copier)
    good(copier, sent)
    assert copier.stop is None
    fetch(copier, batch(place), batch(4))
    assert not copier.pending
    assert copier.stop is not None
    assert (copier.stop.kind, copier.stop.offset) == (StopKind.SOURCE_CORRUPT, 2)


def test_a_batch_that_overlaps_once_is_fetched_again() -> None:
    copier = copying()
    fetch(copier, batch(0), batch(1), batch(4))
    for sent in send_all(copier):
        good(copier, sent)
    fetch(copier, batch(2), batch(4))
    assert shape(copier) == [("lent", 2, 4), ("lent", 4, 6)]


@pytest.mark.parametrize("at_edge", [False, True])
def test_only_where_copying_goes_on_inside_a_batch_may_one_begin_below(at_edge: bool) -> None:
    copier = Copier(ORDER, OURS, GUARDED_MS, Room(1 << 20))
    assert copier.wants_standing()
    here = standing(1)
    copier.on_standing(here._replace(tail=here.tail._replace(at_edge=at_edge)))
    see_twice(copier, batch(0), batch(2))
    assert shape(copier) == ([] if at_edge else [("kept", 1, 2), ("kept", 2, 4)])
    assert (copier.stop is not None) is at_edge


def test_a_place_that_is_another_one_the_second_time_is_not_believed() -> None:
    copier = copying()
    for base in (7, 5, 7, 3):
        fetch(copier, batch(base))
        assert (shape(copier), copier.stop) == ([], None)
    fetch(copier, batch(3))
    assert shape(copier) == [("gap", 0, 3), ("kept", 3, 5)]


def test_behind_a_hole_the_last_fetched_epoch_is_not_told() -> None:
    """Its true epoch is not known; an older one would make the leader report a false divergence."""
    copier = copying(2)
    see_twice(copier, batch(7, epoch=4))
    fill(copier)
    copier.release()
    assert copier.fetch_wish() == (7, -1)


def test_an_empty_batch_is_a_gap_that_may_have_had_records() -> None:
    copier = copying()
    fetch(copier, holey(0, [], 4))
    (gap,) = copier.pending
    assert isinstance(gap, Gap)
    assert (gap.base, gap.next, gap.shown) == (0, 5, False)


def test_copying_goes_on_inside_a_batch() -> None:
    copier = copying(3)
    see_twice(copier, batch(0, 6))
    assert shape(copier) == [("kept", 3, 6)]
    (sent,) = send_all(copier)
    assert [record.offset for record in records_of(sent)] == [3, 4, 5]
    good(copier, sent)
    assert (copier.position, copier.reencoded) == (6, 3)


def test_log_append_time_becomes_the_records_own() -> None:
    copier = copying()
    records = [Record(NOW - n, b"k", b"v") for n in range(3)]
    stamped = bytearray(make_batch(records, leader_epoch=2, attributes=0x08))
    fetch(
        copier,
        seal(
            bytes(stamped[61:]),
            leader_epoch=2,
            attributes=0x08,
            last_offset_delta=2,
            record_count=3,
            base_timestamp_ms=NOW,
            max_timestamp_ms=NOW + 99,
        ),
    )
    (sent,) = send_all(copier)
    assert [record.timestamp_ms for record in records_of(sent)] == [NOW + 99] * 3


# ── markers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_large_gap_is_filled_in_parts() -> None:
    copier = copying()
    see_twice(copier, batch(50))
    assert [fill(copier, most=20).gap.next for _ in range(3)] == [20, 40, 50]
    assert (copier.position, copier.markers, copier.has_batch) == (50, 50, True)


def test_what_is_left_of_a_gap_is_written_again() -> None:
    copier = copying()
    see_twice(copier, batch(5))
    fill(copier, end=3)
    assert (copier.position, shape(copier)) == (3, [("gap", 3, 5), ("kept", 5, 7)])
    fill(copier)
    assert copier.has_batch


def test_markers_that_went_too_far_stop_the_partition() -> None:
    copier = copying()
    see_twice(copier, batch(5))
    fill(copier, end=8)
    assert copier.stop is not None
    assert (copier.stop.kind, copier.stop.offset) == (StopKind.GAP_OVERSHOT, 5)
    assert send_all(copier) == [], "never copied past"


@pytest.mark.parametrize(("error", "end"), [(0, None), (6, 0), (7, None), (52, 0), (-1, None)])
def test_an_unclear_answer_to_markers_is_a_doubt(error: int, end: int | None) -> None:
    copier = copying()
    see_twice(copier, batch(5))
    fill(copier, error=error, end=end)
    assert (copier.phase, copier.stop, copier.fruitless) == (Phase.DOUBT, None, 1)
    assert copier.wants_standing()
    assert copier.quiet is Quiet.NEEDLESS, "the answer came: nothing is on its way"


def test_markers_that_are_always_refused_stop_the_partition() -> None:
    copier = copying()
    for _ in range(MOST_REFUSALS):
        see_twice(copier, batch(5))
        fill(copier, error=47, end=0)
        copier.wants_standing()
        copier.on_standing(standing(0))
    assert copier.stop is not None
    assert (copier.stop.kind, copier.stop.offset) == (StopKind.TARGET_REJECTED, 0)


def test_without_the_right_to_write_markers_the_partition_stops() -> None:
    copier = copying()
    see_twice(copier, batch(5))
    fill(copier, error=ErrorCode.CLUSTER_AUTHORIZATION_FAILED, end=0)
    assert copier.stop is not None
    assert copier.stop.kind is StopKind.CLASS_QUESTION
    assert "ALTER (before 3.8: CLUSTER_ACTION) on the target cluster is missing" in copier.stop.evidence


def test_each_standing_takes_a_higher_coordinator_epoch_than_was_found() -> None:
    copier = copying()
    see_twice(copier, batch(5))
    assert copier.take_gap(TERM, 100).coordinator_epoch == TERM
    copier.on_lost("reset")
    copier.wants_standing()
    copier.on_standing(standing(0, quiet=True)._replace(marker_epoch=12))
    see_twice(copier, batch(5))
    assert copier.take_gap(TERM, 100).coordinator_epoch == 13


# ── what may be late ──────────────────────────────────────────────────────────────────────────────────────────────

NOT_FRESH = ORDER._replace(fresh=False)


def resumed(order: PartitionOrder = NOT_FRESH) -> Copier:
    return copying(10, order=order)


def test_after_a_crash_markers_wait_for_a_quiet_log_end() -> None:
    copier = resumed()
    fetch_with(copier, control(10), aborted=())
    assert (copier.phase, copier.quiet) == (Phase.DOUBT, Quiet.BRIEF)
    copier.wants_standing()
    copier.on_standing(standing(10))
    fetch_with(copier, control(10), aborted=())
    assert copier.has_gap
    assert copier.quiet is Quiet.UNLESS_GUARDED, "data of ours may still be late"


def test_where_records_may_have_been_the_longer_quiet_is_needed() -> None:
    copier = resumed()
    see_twice(copier, batch(12))
    assert (copier.phase, copier.quiet) == (Phase.DOUBT, Quiet.NEEDED)
    copier.wants_standing()
    copier.on_standing(standing(10, quiet=True))
    see_twice(copier, batch(12))
    assert copier.has_gap
    assert copier.quiet is Quiet.NEEDLESS


def test_lost_markers_make_the_next_ones_wait() -> None:
    copier = copying()
    fetch_with(copier, control(0), batch(1), aborted=())
    copier.take_gap(TERM, 100)
    copier.on_lost("reset")
    copier.wants_standing()
    copier.on_standing(standing(0))
    fetch_with(copier, control(0), batch(1), aborted=())
    assert (copier.phase, copier.quiet) == (Phase.DOUBT, Quiet.BRIEF)


def test_lost_data_does_not_make_markers_wait_where_there_never_was_data() -> None:
    copier = copying()
    fetch(copier, batch(0))
    send_all(copier)
    copier.on_lost("reset")
    copier.wants_standing()
    copier.on_standing(standing(2))
    fetch_with(copier, control(2), aborted=())
    assert copier.has_gap


def test_an_answer_after_the_partition_stopped_is_listed() -> None:
    copier = copying()
    see_twice(copier, batch(5))
    filling = copier.take_gap(TERM, 100)
    copier.on_order(ORDER._replace(source_topic_id=None, revision=0))
    copier.on_filled(filling, 0, Offset(5))
    assert copier.stop is not None
    assert "our markers of offsets 0 to 4 may have landed too" in copier.stop.evidence


# ── sizes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_is_too_large_is_split_until_it_fits() -> None:
    copier = copying()
    sizes = []
    while copier.position < 10:
        (fetch if copier.position == 0 else see_twice)(copier, batch(0, 10))
        (first, *_) = send_all(copier)
        sizes.append((first.base, first.records))
        if first.records > 3:
            copier.on_appended(first, AppendAnswer(ErrorCode.MESSAGE_TOO_LARGE, -1, ""))
            assert copier.stop is None
        else:
            good(copier, first)
            copier.on_doubt("the rest is asked for again")
        while copier.in_flight:
            copier.on_appended(copier.in_flight[0], AppendAnswer(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1, ""))
        copier.wants_standing()
        copier.on_standing(standing(max(copier.position, 0), sequence=copier.position - 1 if copier.position else None))
    assert sizes[:3] == [(0, 10), (0, 5), (0, 2)]
    assert copier.reencoded == 10


def test_a_single_record_that_is_too_large_stops_with_the_remedy() -> None:
    copier = copying()
    fetch(copier, batch(0, 1))
    (sent,) = send_all(copier)
    copier.on_appended(sent, AppendAnswer(ErrorCode.MESSAGE_TOO_LARGE, -1, ""))
    assert copier.stop is not None
    assert copier.stop.kind is StopKind.TARGET_REJECTED
    assert f"takes {sent.size} bytes: raise the target topic's max.message.bytes" in copier.stop.evidence


def test_old_records_in_new_batches_are_guarded_by_their_own_time() -> None:
    copier = copying(3)
    old = make_batch([Record(NOW - 30 * DAY_MS, None, b"v")] * 6, leader_epoch=2)
    see_twice(copier, old)
    (sent,) = send_all(copier)
    assert sent.newest_ms == NOW - 30 * DAY_MS


# ── other classes ─────────────────────────────────────────────────────────────────────────────────────────────────


def in_class(offset_class: OffsetClass, *, start: int = 0) -> Copier:
    """A copier of an empty target, whose source's log starts there."""
    copier = Copier(ORDER._replace(offset_class=offset_class, life=3), OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.on_standing(standing(0)._replace(source_start=Offset(start), place=None))
    assert copier.phase is Phase.COPYING
    return copier


def save(copier: Copier) -> list[Run | Cut]:
    """What is not saved yet is saved."""
    entries = list(copier.progress(paused=False, hindrance="").entries)
    copier.on_saved(Saved(3, copier.course.made))
    copier.pass_gaps()
    return entries


def test_a_shifted_copy_begins_at_zero_once_its_map_is_saved() -> None:
    copier = in_class(OffsetClass.SHIFTED, start=30)
    fetch(copier, batch(30, 2))
    assert send_all(copier) == []
    assert save(copier) == [Run(Offset(30), Offset(0))]
    (sent,) = send_all(copier)
    assert (sent.base, sent.target) == (30, 0)
    copier.on_appended(sent, AppendAnswer(0, Offset(0), ""))
    assert (copier.position, copier.floor) == (32, 2)
    fetch_with(copier, control(32), aborted=())
    fill(copier, end=3)
    assert (copier.position, copier.floor, copier.markers) == (33, 3, 1)


def test_markers_too_wait_until_the_map_is_saved() -> None:
    copier = in_class(OffsetClass.SHIFTED, start=30)
    fetch_with(copier, control(30), aborted=())
    assert not copier.has_gap, "without its map nobody could tell where such a log stands"
    save(copier)
    assert copier.has_gap
    fill(copier, end=1)
    assert (copier.position, copier.floor) == (31, 1)


def test_a_mapped_copy_leaves_gaps_out_and_writes_its_map_ahead() -> None:
    copier = in_class(OffsetClass.MAPPED)
    save(copier)
    fetch(copier, holey(0, [1, 2, 5], 7), batch(8))
    assert not copier.has_gap, "no markers"
    assert send_all(copier) == []
    assert save(copier) == [Run(Offset(1), Offset(0)), Run(Offset(5), Offset(2)), Run(Offset(8), Offset(3))]
    sent = []
    while copier.can_append(NOW):
        each = copier.take_append()
        sent.append(each)
        copier.on_appended(each, AppendAnswer(0, each.target, ""))
        copier.pass_gaps()
    assert [(each.base, each.next, each.target, each.records) for each in sent] == [(1, 6, 0, 3), (8, 10, 3, 2)]
    assert [record.offset for record in records_of(sent[0])] == [1, 2, 3], "numbered anew, in one batch"
    assert [record.timestamp_ms - NOW for record in records_of(sent[0])] == [1, 2, 5]
    assert (copier.position, copier.floor) == (10, 5)


def test_a_batch_across_holes_that_is_dropped_takes_its_runs_back() -> None:
    copier = in_class(OffsetClass.MAPPED)
    save(copier)
    fetch(copier, batch(0, 1), holey(1, [0, 3, 6], 7))
    first = Run(Offset(0), Offset(0))
    made = [Run(Offset(4), Offset(2)), Run(Offset(7), Offset(3)), Run(Offset(9), Offset(4))]
    (sent,) = send_all(copier)
    copier.release()
    assert save(copier) == [*made, Cut(Offset(1))]
    copier.on_appended(sent, AppendAnswer(0, Offset(0), ""))
    assert (copier.fetch_offset, copier.course.shift, copier.course.runs) == (1, 0, (first,))
    fetch(copier, holey(1, [0, 3, 6], 7))
    assert save(copier) == made
    (again,) = send_all(copier)
    assert (again.base, again.next, again.target, again.records, again.sequence) == (1, 8, 1, 3, 1)


def test_a_gap_at_the_end_is_passed_when_the_map_says_so() -> None:
    copier = in_class(OffsetClass.MAPPED)
    save(copier)
    fetch_with(copier, transactional(0), control(2), aborted=())
    (sent,) = send_all(copier)
    copier.on_appended(sent, AppendAnswer(0, Offset(0), ""))
    assert copier.position == 2
    assert save(copier) == [Run(Offset(3), Offset(2))]
    assert (copier.position, copier.floor) == (3, 2)


def test_a_gap_that_is_passed_at_the_end_is_in_sync() -> None:
    copier = in_class(OffsetClass.MAPPED)
    save(copier)
    data = transactional(0) + control(2)
    fetched = FetchedPartition(b"", 0, 0, 3, 3, 0, None, 0, len(data), ())
    copier.on_fetched(fetched, copier.fetch_offset, memoryview(bytearray(data)), NOW)
    (sent,) = send_all(copier)
    copier.on_appended(sent, AppendAnswer(0, Offset(0), ""))
    assert not copier.in_sync, "the gap is still to come"
    save(copier)
    assert (copier.position, copier.in_sync) == (3, True), "nothing else would tell where nothing more is written"


def test_a_mapped_copy_moves_its_log_start_where_the_owner_says() -> None:
    copier = in_class(OffsetClass.MAPPED, start=30)
    save(copier)
    fetch(copier, batch(30, 3))
    save(copier)
    (sent,) = send_all(copier)
    copier.on_appended(sent, AppendAnswer(0, Offset(0), ""))
    copier.source_start = 32
    assert not copier.wants_trim(100.0), "only the whole map can tell"
    copier.on_saved(Saved(2, 9, Offset(1)))
    assert not copier.wants_trim(100.0), "that is about another life"
    copier.on_saved(Saved(3, copier.course.made, Offset(2)))
    assert (copier.wants_trim(100.0), copier.wanted_start) == (True, 2)
    copier.on_trimmed(LogStart(0, Offset(2)), 100.0)
    assert not copier.wants_trim(500.0)
    copier.on_saved(Saved(3, copier.course.made, Offset(900)))
    assert copier.wanted_start == 3, "never beyond what is copied"


def test_what_is_dropped_is_cut_from_the_map() -> None:
    copier = in_class(OffsetClass.MAPPED)
    save(copier)
    fetch_with(copier, batch(0), control(2), batch(3), aborted=())
    save(copier)
    copier.release()
    assert save(copier) == [Cut(Offset(0))]
    assert copier.fetch_wish() == (0, -1)


def test_runs_that_are_ahead_stay_while_records_under_them_may_be_late() -> None:
    ahead = Run(Offset(0), Offset(0)), Run(Offset(3), Offset(2))
    copier = Copier(
        NOT_FRESH._replace(offset_class=OffsetClass.MAPPED, life=3, runs=ahead), OURS, GUARDED_MS, Room(1 << 20)
    )
    place = Place(Offset(1), 0, Offset(0))
    assert (copier.wants_standing(), copier.quiet) == (True, Quiet.UNLESS_GUARDED)
    copier.on_standing(standing(1)._replace(place=place))
    assert (copier.phase, copier.course.runs, copier.course.made) == (Phase.DOUBT, ahead, 0)
    assert (copier.wants_standing(), copier.quiet) == (True, Quiet.NEEDED)
    copier.on_standing(standing(1)._replace(place=place, quiet=True))
    assert (copier.phase, save(copier)) == (Phase.COPYING, [Cut(Offset(1))])


def test_where_nothing_can_be_late_runs_that_are_ahead_are_cut_at_once() -> None:
    ahead = Run(Offset(0), Offset(0)), Run(Offset(3), Offset(2))
    order = ORDER._replace(offset_class=OffsetClass.MAPPED, life=3, runs=ahead)
    copier = Copier(order, OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.on_standing(standing(1)._replace(place=Place(Offset(1), 0, Offset(0))))
    assert (copier.phase, save(copier)) == (Phase.COPYING, [Cut(Offset(1))])


def test_what_another_life_saved_says_nothing() -> None:
    copier = in_class(OffsetClass.MAPPED)
    fetch(copier, batch(0))
    copier.on_saved(Saved(2, 100))
    assert send_all(copier) == []


def test_a_record_in_another_place_than_the_map_says_stops() -> None:
    copier = in_class(OffsetClass.SHIFTED, start=30)
    fetch(copier, batch(30, 2))
    save(copier)
    (sent,) = send_all(copier)
    copier.on_appended(sent, AppendAnswer(0, Offset(30), ""))
    assert copier.stop is not None
    assert copier.stop.kind is StopKind.FOREIGN_WRITE


def test_another_class_lifts_the_question_and_goes_on_where_the_target_ends() -> None:
    copier = copying()
    see_twice(copier, batch(5))
    fill(copier, error=ErrorCode.CLUSTER_AUTHORIZATION_FAILED, end=0)
    mapped = ORDER._replace(offset_class=OffsetClass.MAPPED, runs=(Run(Offset(0), Offset(0)),), life=3)
    copier.on_order(mapped)
    assert (copier.stop, copier.wants_standing()) == (None, True)
    copier.on_standing(standing(0))
    see_twice(copier, batch(5))
    assert save(copier) == [Run(Offset(5), Offset(0))]
    (sent,) = send_all(copier)
    assert (sent.base, sent.target) == (5, 0)


def test_more_markers_than_the_backlog_may_take_ask_for_another_class() -> None:
    copier = copying(order=ORDER._replace(gap_budget=3))
    see_twice(copier, batch(5))
    assert copier.take_gap(TERM, 100) is None
    assert copier.stop is not None
    assert copier.stop.kind is StopKind.CLASS_QUESTION


def test_more_filler_than_the_budget_asks_for_another_class() -> None:
    copier = Copier(ORDER._replace(pad_budget=9), OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.on_standing(standing(0)._replace(source_start=Offset(10)))
    assert copier.stop is not None
    assert (copier.stop.kind, copier.stop.offset) == (StopKind.START_QUESTION, 10)


def test_a_beginning_above_the_sources_log_start_stays_where_it_is_while_records_come() -> None:
    """The target's log starts there, filler that came back is deleted again, and a source's that passes it counts."""
    copier = Copier(ORDER._replace(start=Offset(10)), OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    trimmed = standing(10)._replace(source_start=Offset(10), target_start=Offset(10), tail=EMPTY_TAIL)
    copier.on_standing(trimmed)
    assert (copier.phase, copier.fetch_offset) == (Phase.COPYING, 10)
    fetch(copier, batch(8, 4))
    fetch(copier, batch(8, 4))
    (sent,) = send_all(copier)
    assert (sent.base, sent.records) == (10, 2)
    good(copier, sent)
    assert (copier.source_start, copier.wanted_start, copier.wants_trim(0.0)) == (10, 10, False)
    copier.target_start = 0
    assert copier.wants_trim(0.0)
    fetched = FetchedPartition(b"", 0, 0, 1000, -1, 11, None, 0, 0)
    copier.on_fetched(fetched, copier.fetch_offset, memoryview(b""), NOW)
    assert (copier.source_start, copier.wanted_start) == (11, 11)


def test_a_mapped_log_start_past_all_that_is_ours_waits_for_a_quiet_end_also_where_nothing_is_fetched() -> None:
    order = ORDER._replace(fresh=False, offset_class=OffsetClass.MAPPED, life=3, runs=(Run(Offset(0), Offset(0)),))
    copier = Copier(order, OURS, GUARDED_MS, Room(1 << 20))
    assert copier.wants_standing()
    copier.on_standing(standing(4, source_end=4)._replace(tail=EQUAL._replace(last_base=Offset(1))))
    copier.on_saved(Saved(3, copier.course.made, Offset(1)))
    assert (copier.phase, copier.wants_trim(0.0)) == (Phase.COPYING, True)
    copier.on_saved(Saved(3, copier.course.made, Offset(4)))
    assert (copier.phase, copier.quiet) == (Phase.DOUBT, Quiet.NEEDED)


def test_a_wish_for_a_limit_that_was_not_answered_is_told_again() -> None:
    copier = copying(order=ORDER._replace(limit=Limit()))
    fetch(copier, batch(0, 4))
    (sent,) = send_all(copier)
    copier.on_appended(sent, AppendAnswer(ErrorCode.MESSAGE_TOO_LARGE, -1, ""))
    copier.changed = False
    copier.on_order(copier.order._replace(limit=Limit(refused_bytes=sent.size + 1)))
    assert copier.changed, "a larger one of another partition was refused: this one may still fit"
    copier.changed = False
    copier.on_order(copier.order._replace(limit=Limit(refused_bytes=sent.size)))
    assert (copier.changed, copier.wants_standing()) == (False, True)
