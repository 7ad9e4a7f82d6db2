"""The copier of one partition: what it sends, what it believes, what makes it doubt, and what stops it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from kmigrate.copy import merging
from kmigrate.copy.copier import IN_SYNC_PATIENCE_MS, MOST_REFUSALS, WINDOW, Copier, Phase
from kmigrate.copy.course import IDENTITY, locate
from kmigrate.copy.orders import PartitionOrder, Remembered
from kmigrate.copy.pieces import Batch, Room
from kmigrate.copy.standing import EMPTY_TAIL, Quiet, Standing, Tail
from kmigrate.copy.states import PartitionState, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, ProducerId, TopicId, TopicName, TopicPartition
from kmigrate.kafka_types import Sequence as BatchSequence
from kmigrate.records.batch import parse_header
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.fetch import FetchedPartition
from kmigrate.wire.gap_calls import LogStart
from kmigrate.wire.produce import AppendAnswer
from tests.simulation.batches import GZIP, Record, crc_holds, make_batch, seal
from tests.simulation.log import DAY_MS, validate

TP = TopicPartition(TopicName("orders"), Partition(0))
OURS = ProducerId(2**62 + 7)
NOW = 1_760_000_000_000
GUARDED_MS = DAY_MS // 2
OLD_MS = NOW - 30 * DAY_MS
EQUAL = Tail(1, None, None, None, True, LeaderEpoch(2), BatchSequence(0))

ORDER = PartitionOrder(
    partition=TP,
    source_topic_id=TopicId("a" * 32),
    source_epoch=LeaderEpoch(2),
    target_topic_id=TopicId("b" * 32),
    target_epoch=LeaderEpoch(5),
    remembered=None,
    fresh=True,
    revision=0,
)


@pytest.fixture(autouse=True)
def _every_batch_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said here is about single batches; merging has tests of its own."""
    monkeypatch.setattr(merging, "MERGED_BYTES", 0)


def standing(end: int = 0, *, source_end: int = 1000, quiet: bool = False, sequence: int | None = None) -> Standing:
    last = end - 1 if sequence is None and end else sequence
    return Standing(
        source_start=Offset(0),
        source_end=Offset(source_end),
        target_start=Offset(0),
        target_end=Offset(end),
        last_sequence=last,
        tail=EQUAL if end else EMPTY_TAIL,
        quiet=quiet,
        source_stable=Offset(source_end),
        marker_epoch=-1,
        place=locate(IDENTITY, Offset(end)),
    )


def copying(end: int = 0, *, order: PartitionOrder = ORDER, source_end: int = 1000) -> Copier:
    copier = Copier(order, OURS, GUARDED_MS, Room(1 << 20))
    assert copier.wants_standing()
    copier.on_standing(standing(end, source_end=source_end))
    assert copier.phase is Phase.COPYING
    return copier


def batch(base: int, count: int = 2, *, newest_ms: int = NOW, epoch: int = 2, value: bytes = b"v") -> bytes:
    records = [Record(newest_ms, None, value)] * count
    return make_batch(records, base_offset=base, leader_epoch=epoch, producer_id=9, base_sequence=3)


def fetch(
    copier: Copier,
    *batches: bytes,
    asked: int | None = None,
    now_ms: int = NOW,
    error: int = 0,
    diverging: tuple[int, int] | None = None,
    high_watermark: int = 1000,
    stable: int = -1,
    cut: int = 0,
) -> memoryview:
    """Hands the copier an answer whose records lie in the middle of a buffer; returns the buffer."""
    data = b"".join(batches)
    buffer = memoryview(bytearray(b"\xee" * 5 + data[: len(data) - cut] + b"\xee" * 70))
    fetched = FetchedPartition(b"", 0, error, high_watermark, stable, 0, diverging, 5, 5 + len(data) - cut)
    copier.on_fetched(fetched, copier.fetch_offset if asked is None else asked, buffer, now_ms)
    return buffer


def send_all(copier: Copier, now_ms: int = NOW) -> list[Batch]:
    sent = []
    while copier.can_append(now_ms):
        sent.append(copier.take_append())
    return sent


def good(copier: Copier, sent: Batch) -> None:
    copier.on_appended(sent, AppendAnswer(0, sent.base, ""))


def known(copier: Copier, base: int = 0) -> None:
    """One batch sent and answered: the target certainly holds our id."""
    fetch(copier, batch(base, 1))
    (sent,) = send_all(copier)
    good(copier, sent)


def bad(copier: Copier, sent: Batch, error: int, message: str = "") -> None:
    copier.on_appended(sent, AppendAnswer(error, -1, message))


def stop_of(copier: Copier) -> tuple[StopKind, int]:
    assert copier.stop is not None
    return copier.stop.kind, copier.stop.offset


# ── one batch's journey ───────────────────────────────────────────────────────────────────────────────────────


def test_a_fetched_batch_is_made_ours_and_sent_in_place() -> None:
    copier = copying()
    original = make_batch(
        [Record(NOW, b"k", b"x" * 50)] * 3, leader_epoch=4, codec=GZIP, attributes=0x40, producer_id=9
    )
    fetch(copier, original)
    (sent,) = send_all(copier)
    data = bytes(sent.view)
    header = parse_header(data, 0)
    assert (sent.base, sent.next, sent.records, sent.size) == (0, 3, 3, len(original))
    assert (header.base_offset, header.producer_id, header.producer_epoch, header.base_sequence) == (0, OURS, 0, 0)
    assert header.attributes == GZIP
    assert validate(data) == 0
    assert data[61:] == original[61:]


def test_sequences_follow_records_and_wrap() -> None:
    copier = Copier(ORDER, OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.on_standing(standing(10, sequence=2**31 - 3))
    fetch(copier, batch(10, 2), batch(12, 1))
    assert [each.sequence for each in copier.pending] == [2**31 - 2, 0]


def test_the_next_wish_follows_the_walked_batches_and_names_their_epoch() -> None:
    copier = copying()
    assert copier.fetch_wish() == (0, -1)
    fetch(copier, batch(0, 2, epoch=2), batch(2, 3, epoch=4))
    assert copier.fetch_wish() == (5, 4)


def test_a_stale_answer_changes_nothing() -> None:
    copier = copying(10)
    fetch(copier, batch(4), asked=4)
    fetch(copier, batch(20), asked=20)
    assert (copier.fetch_wish(), list(copier.pending), copier.stop) == ((10, 2), [], None)


def test_the_last_batch_of_an_answer_may_be_cut() -> None:
    copier = copying()
    for cut in range(1, len(batch(2))):
        copier.release()
        fetch(copier, batch(0), batch(2), cut=cut)
        assert ([each.base for each in copier.pending], copier.stop) == ([0], None)


def test_a_good_answer_moves_the_position_and_is_counted() -> None:
    copier = copying()
    fetch(copier, batch(0, 2))
    (sent,) = send_all(copier)
    good(copier, sent)
    seen = copier.progress(paused=False, hindrance="")
    assert (seen.position, seen.records, seen.bytes, seen.newest_ms, seen.source_epoch) == (2, 2, sent.size, NOW, 2)


def test_a_repeated_append_answered_with_its_old_offset_is_good() -> None:
    copier = copying(4)
    fetch(copier, batch(4))
    (sent,) = send_all(copier)
    good(copier, sent)
    assert (copier.position, copier.stop) == (6, None)


# ── the window ────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_one_batch_is_in_flight_until_the_target_is_known_to_hold_our_id() -> None:
    copier = copying()
    fetch(copier, batch(0), batch(2), batch(4))
    assert [each.base for each in send_all(copier)] == [0]


def test_after_a_good_answer_recent_batches_fill_the_window() -> None:
    copier = copying()
    known(copier)
    fetch(copier, *(batch(base) for base in range(1, 19, 2)))
    assert len(send_all(copier)) == WINDOW


def test_old_records_go_one_by_one() -> None:
    copier = copying()
    for base in (0, 2, 4):
        fetch(copier, batch(base, newest_ms=OLD_MS), batch(base + 2, newest_ms=OLD_MS))
        (sent,) = send_all(copier)
        good(copier, sent)
        copier.release()


def test_an_old_batch_waits_for_those_before_it_and_holds_up_those_behind() -> None:
    copier = copying()
    known(copier)
    fetch(copier, batch(1), batch(3), batch(5, newest_ms=OLD_MS), batch(7))
    first, second = send_all(copier)
    good(copier, first)
    assert send_all(copier) == []
    good(copier, second)
    (old,) = send_all(copier)
    assert old.base == 5
    good(copier, old)
    (recent,) = send_all(copier)
    assert recent.base == 7


def test_an_id_grows_old_with_its_last_batch() -> None:
    copier = copying()
    known(copier)
    later = NOW + GUARDED_MS
    fetch(copier, batch(1, newest_ms=later), batch(3, newest_ms=later), now_ms=later)
    assert len(send_all(copier, later)) == 1


def test_a_doubt_makes_the_id_unknown_again() -> None:
    copier = copying()
    known(copier)
    copier.on_doubt("for a test")
    copier.wants_standing()
    copier.on_standing(standing(1))
    fetch(copier, batch(1), batch(3))
    assert len(send_all(copier)) == 1


# ── a lost Produce answer ─────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_answer_is_survived_by_asking_for_the_standing() -> None:
    copier = copying()
    known(copier)
    fetch(copier, batch(1), batch(3), batch(5))
    send_all(copier)
    copier.on_lost("connection reset")
    assert (copier.phase, copier.fetch_wish(), list(copier.in_flight)) == (Phase.DOUBT, None, [])
    assert copier.wants_standing()
    copier.on_standing(standing(5))
    assert copier.fetch_wish() == (5, 2)
    assert (copier.position, copier.stop) == (5, None)


def test_what_was_lost_may_be_late_where_the_id_is_not_guarded() -> None:
    copier = copying()
    assert copier.quiet is Quiet.NEEDLESS
    copier.on_lost("nothing was in flight")
    assert copier.quiet is Quiet.NEEDLESS
    copier.wants_standing()
    copier.on_standing(standing())
    fetch(copier, batch(0))
    send_all(copier)
    copier.on_lost("connection reset")
    assert copier.quiet is Quiet.UNLESS_GUARDED


def test_a_copier_that_is_not_the_first_expects_late_requests() -> None:
    assert Copier(ORDER._replace(fresh=False), OURS, GUARDED_MS, Room(1 << 20)).quiet is Quiet.UNLESS_GUARDED


def test_a_log_end_that_stood_still_ends_the_waiting_for_late_requests() -> None:
    copier = Copier(ORDER._replace(fresh=False), OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.on_standing(standing(quiet=False))
    assert copier.quiet is Quiet.UNLESS_GUARDED
    copier.on_doubt("again")
    copier.wants_standing()
    copier.on_standing(standing(quiet=True))
    assert copier.quiet is Quiet.NEEDLESS


def test_old_records_are_not_sent_while_a_request_may_be_late() -> None:
    """They would make the target forget our id, and a late request would then be taken."""
    copier = copying(4, order=ORDER._replace(fresh=False))
    fetch(copier, batch(4), batch(6, newest_ms=OLD_MS))
    assert (copier.phase, send_all(copier), copier.quiet) == (Phase.DOUBT, [], Quiet.NEEDED)
    assert copier.wants_standing()
    copier.on_standing(standing(4, quiet=True))
    fetch(copier, batch(4), batch(6, newest_ms=OLD_MS))
    assert (len(send_all(copier)), copier.quiet) == (1, Quiet.NEEDLESS)


def test_recent_records_go_on_while_a_request_may_be_late() -> None:
    copier = copying(4, order=ORDER._replace(fresh=False))
    fetch(copier, batch(4), batch(6))
    assert len(send_all(copier)) == 1


def test_a_doubt_waits_for_what_is_in_flight_on_a_living_connection() -> None:
    copier = copying()
    known(copier)
    fetch(copier, batch(1), batch(3), batch(5))
    first, second, _third = send_all(copier)
    copier.on_doubt("a leader changed")
    assert not copier.wants_standing()
    good(copier, first)
    assert not copier.wants_standing()
    bad(copier, second, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    bad(copier, copier.in_flight[0], ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    assert copier.wants_standing()
    assert (copier.floor, copier.stop) == (3, None)


def test_what_was_acknowledged_in_doubt_must_be_found_again() -> None:
    copier = copying()
    known(copier)
    fetch(copier, batch(1))
    (sent,) = send_all(copier)
    copier.on_doubt("a leader changed")
    good(copier, sent)
    copier.wants_standing()
    copier.on_standing(standing(1))
    assert stop_of(copier) == (StopKind.TARGET_LOST, 1)


def test_an_answer_to_what_was_given_up_is_ignored() -> None:
    copier = copying()
    fetch(copier, batch(0))
    (sent,) = send_all(copier)
    copier.on_lost("connection reset")
    bad(copier, sent, ErrorCode.MESSAGE_TOO_LARGE)
    copier.on_appended(sent, AppendAnswer(0, 99, ""))
    assert (copier.phase, copier.stop, copier.floor) == (Phase.DOUBT, None, 0)


def test_a_standing_that_was_not_asked_for_changes_nothing() -> None:
    copier = copying(4)
    copier.on_standing(standing(9))
    assert copier.position == 4


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────

UNKNOWN_OUTCOMES = [
    ErrorCode.CORRUPT_MESSAGE,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.UNKNOWN_PRODUCER_ID,
    -1,
]


@pytest.mark.parametrize("error", UNKNOWN_OUTCOMES)
def test_an_unknown_outcome_is_a_doubt_and_nothing_behind_it_is_sent(error: int) -> None:
    copier = copying()
    fetch(copier, batch(0), batch(2))
    (sent,) = send_all(copier)
    bad(copier, sent, error)
    assert (copier.phase, send_all(copier), copier.stop) == (Phase.DOUBT, [], None)


@pytest.mark.parametrize("error", [ErrorCode.INVALID_RECORD, ErrorCode.INVALID_TIMESTAMP, 53, 44])
def test_any_other_error_is_a_refusal_with_the_brokers_words(error: int) -> None:
    copier = copying(6)
    fetch(copier, batch(6))
    (sent,) = send_all(copier)
    bad(copier, sent, error, "the broker's words")
    assert stop_of(copier) == (StopKind.TARGET_REJECTED, 6)
    assert copier.stop is not None
    assert copier.stop.evidence.endswith(f"({error:d}): the broker's words")


@pytest.mark.parametrize("error", [29, 30, 31])
def test_a_missing_right_to_write_stops(error: int) -> None:
    copier = copying(6)
    fetch(copier, batch(6))
    bad(copier, send_all(copier)[0], error)
    assert stop_of(copier) == (StopKind.UNAUTHORIZED, 6)


@pytest.mark.parametrize("error", [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.CORRUPT_MESSAGE])
def test_the_same_refusal_at_an_unmoved_log_end_is_final_after_a_few_attempts(error: int) -> None:
    copier = copying(6)
    for attempt in range(MOST_REFUSALS):
        assert copier.stop is None, attempt
        fetch(copier, batch(6))
        bad(copier, send_all(copier)[0], error)
        copier.wants_standing()
        copier.on_standing(standing(6))
    assert stop_of(copier) == (StopKind.TARGET_REJECTED, 6)


@pytest.mark.parametrize("error", [ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.REQUEST_TIMED_OUT])
def test_a_target_that_cannot_append_now_is_asked_again_for_ever_but_ever_slower(error: int) -> None:
    copier = copying(6)
    waits = []
    for _ in range(20):
        fetch(copier, batch(6))
        bad(copier, send_all(copier)[0], error)
        waits.append(copier.fruitless)
        copier.wants_standing()
        copier.on_standing(standing(6))
    assert copier.stop is None
    assert waits == list(range(1, 21))


def test_progress_of_the_log_end_forgets_earlier_refusals() -> None:
    copier = copying(6)
    for end in range(6, 30, 2):
        fetch(copier, batch(end))
        bad(copier, send_all(copier)[0], ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        copier.wants_standing()
        copier.on_standing(standing(end + 2))
    assert (copier.stop, copier.fruitless) == (None, 0)


# ── somebody else's records ───────────────────────────────────────────────────────────────────────────────────


def test_a_base_offset_above_the_expected_one_is_a_foreign_write_and_lists_what_was_in_flight() -> None:
    copier = copying()
    known(copier)
    fetch(copier, batch(1), batch(3), batch(5), batch(7))
    first, second, third, _ = send_all(copier)
    copier.on_appended(first, AppendAnswer(0, 4, ""))
    assert stop_of(copier) == (StopKind.FOREIGN_WRITE, 1)
    copier.on_appended(second, AppendAnswer(0, 6, ""))
    bad(copier, third, ErrorCode.REQUEST_TIMED_OUT)
    copier.on_lost("connection reset")
    assert copier.stop is not None
    assert copier.stop.evidence == (
        "somebody else's records lie from 1 to 3; our batch of 1 to 2 landed at 4; our batch of 3 to 4 landed at 6; "
        "our batch of 5 to 6 may have landed too; "
        "our batches of 7 to 8 may have landed too"
    )
    assert (copier.pending, send_all(copier), copier.fetch_wish()) == (type(copier.pending)(), [], None)


def test_a_base_offset_below_the_expected_one_is_a_lost_target() -> None:
    copier = copying(10)
    fetch(copier, batch(10))
    copier.on_appended(send_all(copier)[0], AppendAnswer(0, 4, ""))
    assert stop_of(copier) == (StopKind.TARGET_LOST, 4)


def test_a_wrong_base_offset_stops_in_doubt_too() -> None:
    copier = copying(10)
    fetch(copier, batch(10))
    (sent,) = send_all(copier)
    copier.on_doubt("a leader changed")
    copier.on_appended(sent, AppendAnswer(0, 12, ""))
    assert stop_of(copier) == (StopKind.FOREIGN_WRITE, 10)


def test_a_stop_is_left_neither_by_a_doubt_nor_by_a_standing() -> None:
    copier = copying(10)
    copier.on_denied("READ on the source topic")
    copier.on_doubt("again")
    copier.on_lost("gone")
    assert not copier.wants_standing()
    copier.on_standing(standing(10))
    assert stop_of(copier) == (StopKind.UNAUTHORIZED, 10)


# ── what the source hands out ─────────────────────────────────────────────────────────────────────────────────


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_a_corrupt_batch_is_fetched_once_more_before_it_is_believed() -> None:
    copier = copying()
    fetch(copier, flipped(batch(0)))
    assert (copier.stop, copier.crc_errors, copier.fetch_wish()) == (None, 1, (0, -1))
    fetch(copier, batch(0))
    assert [each.base for each in send_all(copier)] == [0]


def test_a_batch_that_is_corrupt_twice_stops() -> None:
    copier = copying()
    fetch(copier, flipped(batch(0)))
    fetch(copier, flipped(batch(0)))
    assert stop_of(copier) == (StopKind.SOURCE_CORRUPT, 0)
    assert copier.crc_errors == 2


def test_what_lies_before_a_refused_batch_is_copied_first() -> None:
    copier = copying()
    fetch(copier, batch(0), flipped(batch(2)))
    assert (copier.fetch_wish(), copier.stop) == (None, None)
    (sent,) = send_all(copier)
    assert copier.fetch_wish() is None, "what is in flight must be answered first"
    good(copier, sent)
    assert copier.fetch_wish() == (2, 2)
    fetch(copier, flipped(batch(2)))
    assert stop_of(copier) == (StopKind.SOURCE_CORRUPT, 2)


def test_a_lost_answer_before_a_refused_batch_does_not_hold_up_for_ever() -> None:
    copier = copying()
    fetch(copier, batch(0), flipped(batch(2)))
    send_all(copier)
    copier.on_lost("connection reset")
    copier.wants_standing()
    copier.on_standing(standing(2))
    assert copier.fetch_wish() == (2, 2)


@pytest.mark.parametrize(
    ("special", "kind"),
    [
        (seal(b"x", magic=3, last_offset_delta=0, record_count=1), StopKind.UNSUPPORTED),
        (seal(b"x", attributes=0x0D, last_offset_delta=0, record_count=1), StopKind.UNSUPPORTED),
        (seal(b"x", attributes=0x08, last_offset_delta=0, record_count=1), StopKind.SOURCE_CORRUPT),
        (seal(b"x", last_offset_delta=1, record_count=1), StopKind.SOURCE_CORRUPT),
        (seal(b"x", attributes=4, last_offset_delta=1, record_count=1), StopKind.SOURCE_CORRUPT),
        (bytes(8) + (20).to_bytes(4, "big") + bytes(4) + b"\1" + bytes(15), StopKind.SOURCE_CORRUPT),
        (bytes(8) + (20).to_bytes(4, "big") + bytes(4) + b"\0" + bytes(15), StopKind.SOURCE_CORRUPT),
        (bytes(8) + (200).to_bytes(4, "big") + bytes(4) + b"\1" + bytes(15), StopKind.SOURCE_CORRUPT),
    ],
    ids=["v3", "codec 5", "torn LogAppendTime", "torn hole", "torn zstd", "torn v1", "torn v0", "cut v1"],
)
def test_what_cannot_be_read_stops_and_is_never_sent(special: bytes, kind: StopKind) -> None:
    copier = copying()
    for _ in range(2):
        fetch(copier, special)
        assert send_all(copier) == []
    assert stop_of(copier) == (kind, 0)


def test_a_first_batch_that_is_cut_is_no_batch() -> None:
    copier = copying()
    for _ in range(2):
        fetch(copier, batch(0), cut=1)
    assert stop_of(copier) == (StopKind.SOURCE_CORRUPT, 0)


def test_a_diverging_epoch_is_believed_the_second_time() -> None:
    copier = copying(10)
    fetch(copier, diverging=(1, 7))
    assert (copier.phase, copier.stop) == (Phase.DOUBT, None)
    copier.wants_standing()
    copier.on_standing(standing(10))
    fetch(copier, diverging=(1, 7))
    assert stop_of(copier) == (StopKind.SOURCE_TRUNCATED, 7)


def test_a_diverging_epoch_without_an_end_is_a_doubt() -> None:
    copier = copying(10)
    fetch(copier, diverging=(-1, -1))
    assert (copier.phase, copier.stop) == (Phase.DOUBT, None)


@pytest.mark.parametrize("error", [1, 3, 5, 6, 56, 74, 75, 78, 100, -1])
def test_an_error_of_the_source_is_a_doubt_that_is_not_asked_at_once(error: int) -> None:
    copier = copying(10)
    fetch(copier, error=error)
    assert (copier.phase, copier.stop, copier.fruitless) == (Phase.DOUBT, None, 1)


def test_a_missing_right_to_read_stops() -> None:
    copier = copying(10)
    fetch(copier, error=29)
    assert stop_of(copier) == (StopKind.UNAUTHORIZED, 10)


def test_a_corrupt_message_reported_by_the_broker_is_believed_the_second_time() -> None:
    copier = copying(10)
    fetch(copier, error=ErrorCode.CORRUPT_MESSAGE)
    assert (copier.phase, copier.stop) == (Phase.DOUBT, None)
    copier.wants_standing()
    copier.on_standing(standing(10))
    fetch(copier, error=ErrorCode.CORRUPT_MESSAGE)
    assert stop_of(copier) == (StopKind.SOURCE_CORRUPT, 10)


# ── the buffer ────────────────────────────────────────────────────────────────────────────────────────────────


def test_releasing_the_buffer_drops_what_is_not_sent_and_fetches_it_again() -> None:
    copier = copying()
    fetch(copier, batch(0), batch(2), batch(4))
    copier.release()
    assert (list(copier.pending), copier.fetch_wish()) == ([], (0, -1))


def test_after_a_release_fetching_waits_for_what_is_in_flight() -> None:
    copier = copying()
    fetch(copier, batch(0), batch(2))
    (sent,) = send_all(copier)
    copier.release()
    assert (list(copier.pending), copier.fetch_wish()) == ([], None)
    fetch(copier, batch(2), asked=2)
    assert list(copier.pending) == [], "an answer on its way is not taken"
    good(copier, sent)
    assert copier.fetch_wish() == (2, 2)
    fetch(copier, batch(2))
    assert [(each.base, each.sequence) for each in send_all(copier)] == [(2, 2)]


def test_nothing_holds_the_buffer_after_a_doubt_or_a_stop() -> None:
    for end in (lambda copier: copier.on_doubt("x"), lambda copier: copier.on_denied("x")):
        copier = copying()
        fetch(copier, batch(0), batch(2))
        end(copier)
        assert list(copier.pending) == []


# ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────


def remembered(appended: int = 0, source: str = "a", target: str = "b") -> Remembered:
    return Remembered(TopicId(source * 32), TopicId(target * 32), LeaderEpoch(2), Offset(appended))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"source_topic_id": None}, StopKind.SOURCE_DELETED),
        ({"target_topic_id": None}, StopKind.TARGET_LOST),
        ({"source_topic_id": TopicId("c" * 32)}, StopKind.SOURCE_REPLACED),
        ({"target_topic_id": TopicId("c" * 32)}, StopKind.TARGET_LOST),
    ],
)
@pytest.mark.parametrize("at_start", [True, False])
def test_a_topic_that_is_gone_or_another_one_stops(
    change: dict[str, TopicId | None], kind: StopKind, at_start: bool
) -> None:
    changed = ORDER._replace(**change)
    if at_start:
        copier = Copier(changed._replace(remembered=remembered(8)), OURS, GUARDED_MS, Room(1 << 20))
    else:
        copier = copying(8)
        copier.on_order(changed)
    assert stop_of(copier) == (kind, 8)


@pytest.mark.parametrize("side", ["source_epoch", "target_epoch"])
def test_a_new_leader_epoch_is_a_doubt(side: str) -> None:
    copier = copying(8)
    copier.on_order(ORDER._replace(**{side: LeaderEpoch(9)}))
    assert copier.phase is Phase.DOUBT


def test_an_order_that_says_nothing_new_is_no_doubt() -> None:
    copier = copying(8)
    copier.on_order(ORDER._replace(remembered=remembered(3), fresh=False))
    assert copier.phase is Phase.COPYING


def test_only_the_operators_answer_makes_a_stopped_copier_look_again() -> None:
    copier = copying(8)
    copier.on_denied("READ on the source topic")
    copier.on_order(ORDER._replace(source_epoch=LeaderEpoch(9)))
    assert copier.stop is not None
    copier.on_order(ORDER._replace(source_epoch=LeaderEpoch(9), revision=1))
    assert (copier.stop, copier.wants_standing()) == (None, True)


def test_the_operators_answer_does_not_cover_up_a_replaced_topic() -> None:
    copier = copying(8)
    replaced = ORDER._replace(source_topic_id=TopicId("c" * 32))
    copier.on_order(replaced)
    copier.on_order(replaced._replace(revision=1))
    assert stop_of(copier)[0] is StopKind.SOURCE_REPLACED


def test_what_was_remembered_as_appended_must_be_on_the_target() -> None:
    copier = Copier(ORDER._replace(remembered=remembered(50)), OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.on_standing(standing(49))
    assert stop_of(copier) == (StopKind.TARGET_LOST, 49)


# ── what is seen from outside ─────────────────────────────────────────────────────────────────────────────────


def state(copier: Copier, *, paused: bool = False, hindrance: str = "") -> PartitionState:
    return copier.progress(paused=paused, hindrance=hindrance).state


def test_in_sync_means_copied_through_what_the_source_had_when_it_was_asked() -> None:
    copier = copying()
    fetch(copier, batch(0), high_watermark=2)
    assert state(copier) is PartitionState.CATCHING_UP
    good(copier, send_all(copier)[0])
    assert state(copier) is PartitionState.IN_SYNC


def test_the_last_stable_offset_is_the_end_where_it_is_lower() -> None:
    copier = copying(4)
    fetch(copier, high_watermark=9, stable=4)
    assert (state(copier), copier.source_end) == (PartitionState.IN_SYNC, 4)


def test_a_partition_stays_in_sync_while_it_follows_and_no_longer_when_it_lags() -> None:
    copier = copying(4, source_end=4)
    assert state(copier) is PartitionState.IN_SYNC
    fetch(copier, batch(4), high_watermark=6)
    assert state(copier) is PartitionState.IN_SYNC
    copier.on_fetched(
        FetchedPartition(b"", 0, 0, 90, -1, 0, None, 0, 0), 6, memoryview(b""), NOW + IN_SYNC_PATIENCE_MS + 1
    )
    assert state(copier) is PartitionState.CATCHING_UP


def test_an_idle_partition_is_in_sync_from_its_standing_on() -> None:
    """An idle partition is not named in the answers of a fetch session: nothing more may come."""
    copier = copying(8, source_end=8)
    assert state(copier) is PartitionState.IN_SYNC
    assert copier.progress(paused=False, hindrance="").source_end == 8


def test_after_a_doubt_in_sync_must_be_proven_again() -> None:
    copier = copying(8, source_end=8)
    copier.on_doubt("an hour without the source")
    assert state(copier) is PartitionState.WAITING
    copier.wants_standing()
    copier.on_standing(standing(8, source_end=5000))
    assert state(copier) is PartitionState.CATCHING_UP


def test_a_source_that_lost_its_newest_records_does_not_leave_an_old_mark_behind() -> None:
    copier = copying(8)
    fetch(copier, high_watermark=20)
    copier.on_doubt("a leader changed")
    copier.wants_standing()
    copier.on_standing(standing(8, source_end=8))
    assert state(copier) is PartitionState.IN_SYNC


@pytest.mark.parametrize(
    ("paused", "hindrance", "expected"),
    [
        (False, "", PartitionState.CATCHING_UP),
        (False, "throttled", PartitionState.THROTTLED),
        (False, "waiting for the lease on the target", PartitionState.WAITING),
        (True, "throttled", PartitionState.PAUSED),
    ],
)
def test_a_hindrance_is_the_state(paused: bool, hindrance: str, expected: PartitionState) -> None:
    copier = copying()
    assert state(copier, paused=paused, hindrance=hindrance) is expected
    assert copier.progress(paused=paused, hindrance=hindrance).reason == hindrance


def test_a_stop_is_the_state_whatever_else_holds() -> None:
    copier = copying(4, source_end=4)
    copier.on_denied("READ on the source topic")
    assert state(copier, paused=True, hindrance="throttled") is PartitionState.STOPPED


def test_a_reason_that_changes_is_worth_telling() -> None:
    copier = Copier(ORDER, OURS, GUARDED_MS, Room(1 << 20))
    copier.wants_standing()
    copier.changed = False
    copier.on_unclear("followers are behind")
    assert copier.changed
    copier.changed = False
    copier.on_unclear("followers are behind")
    assert not copier.changed


def test_every_sent_batch_is_whole_and_true_wherever_it_lies_in_the_answer() -> None:
    copier = copying()
    known(copier)
    fetch(copier, *(batch(1 + n, 1, value=bytes([n]) * n) for n in range(12)))
    sent: list[Batch] = []
    while len(sent) < 12:
        for each in send_all(copier):
            assert crc_holds(bytes(each.view))
            assert each.view.nbytes == each.size
            sent.append(each)
        good(copier, copier.in_flight[0])
    assert contiguous(sent)


def contiguous(sent: Sequence[Batch]) -> bool:
    return all(one.next == two.base and one.sequence + one.records == two.sequence for one, two in pairwise(sent))


# ── a log start that moves on ─────────────────────────────────────────────────────────────────────────────────────


def moved_to(copier: Copier, start: int) -> None:
    """The source's log starts there now."""
    fetched = FetchedPartition(b"", 0, 0, copier.fetch_offset, copier.fetch_offset, start, None, 0, 0)
    copier.on_fetched(fetched, copier.fetch_offset, memoryview(b""), NOW)


def test_the_log_start_follows_past_all_that_is_ours_where_nothing_can_be_late() -> None:
    copier = copying()
    known(copier)
    moved_to(copier, 1)
    assert copier.wants_trim(0.0)
    assert copier.take_trim() == 1
    fetch(copier, batch(1, 1), batch(2, 1))
    assert len(send_all(copier)) == 1, "the target may forget our id: nothing is sent behind the next batch"


def test_while_something_is_in_flight_the_last_batch_that_landed_stays() -> None:
    copier = copying()
    known(copier)
    known(copier, 1)
    fetch(copier, batch(2, 1))
    send_all(copier)
    moved_to(copier, 2)
    assert copier.take_trim() == 1, "a leader that takes over must know our id, or it takes what comes late"


def test_after_a_start_the_log_start_moves_past_all_that_is_ours_only_behind_a_quiet_end() -> None:
    copier = Copier(ORDER._replace(fresh=False), OURS, GUARDED_MS, Room(1 << 20))
    assert copier.wants_standing()
    copier.on_standing(standing(4)._replace(tail=EQUAL._replace(last_base=Offset(3))))
    moved_to(copier, 3)
    assert (copier.wants_trim(0.0), copier.take_trim()) == (True, 3)
    copier.on_trimmed(LogStart(0, Offset(3)), 0.0)
    moved_to(copier, 4)
    assert (copier.phase, copier.quiet) == (Phase.DOUBT, Quiet.NEEDED)
    assert copier.wants_standing()
    copier.on_standing(standing(4, quiet=True)._replace(target_start=Offset(3), source_start=Offset(4)))
    assert copier.wants_trim(60.0)
    assert copier.take_trim() == 4


def test_what_a_crash_of_the_target_brought_back_is_deleted_at_once_and_holds_in_sync_up() -> None:
    copier = copying()
    known(copier)
    known(copier, 1)
    moved_to(copier, 1)
    assert copier.take_trim() == 1
    copier.on_trimmed(LogStart(0, Offset(1)), 0.0)
    copier.on_lost("the broker is gone")
    assert copier.wants_standing()
    again = standing(2, source_end=2)._replace(source_start=Offset(1), tail=EQUAL._replace(last_base=Offset(1)))
    copier.on_standing(again)
    assert (copier.target_start, copier.wants_trim(1.0)) == (0, True), "not half a minute later"
    assert copier.progress(paused=False, hindrance="").state is PartitionState.CATCHING_UP
    copier.on_trimmed(LogStart(0, Offset(1)), 1.0)
    assert copier.progress(paused=False, hindrance="").state is PartitionState.IN_SYNC
