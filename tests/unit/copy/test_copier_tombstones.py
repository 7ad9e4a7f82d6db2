"""A copier of a compacted partition stops where tombstones may be gone; it tells as of when nothing was missing."""

from __future__ import annotations

from kmigrate.copy.copier import Copier, Phase
from kmigrate.copy.orders import PartitionOrder, Remembered
from kmigrate.copy.pieces import Room
from kmigrate.copy.states import Choice, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, TopicId
from kmigrate.wire.fetch import FetchedPartition
from tests.unit.copy.test_copier import GUARDED_MS, NOW, ORDER, OURS, batch, good, send_all, standing, stop_of

HOUR_MS = 3_600_000
COMPACTED = ORDER._replace(delete_retention_ms=HOUR_MS)


def remembering(even_ms: int, **order: object) -> PartitionOrder:
    memory = Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(2), Offset(10), even_ms, HOUR_MS)
    return COMPACTED._replace(remembered=memory, **order)


def begun(order: PartitionOrder, end: int = 10) -> Copier:
    copier = Copier(order, OURS, GUARDED_MS, Room(1 << 20))
    ask(copier, end)
    return copier


def ask(copier: Copier, end: int) -> None:
    assert copier.wants_standing()
    copier.on_standing(standing(end))
    assert copier.phase is Phase.COPYING


def fetch(copier: Copier, *batches: bytes, asked_ms: int, high_watermark: int = 1000, silent_ms: int = -1) -> None:
    data = b"".join(batches)
    copier.on_fetched(
        FetchedPartition(b"", 0, 0, high_watermark, high_watermark, 0, None, 0, len(data)),
        copier.fetch_offset,
        memoryview(bytearray(data)),
        asked_ms + 10,
        asked_ms=asked_ms,
        silent_ms=silent_ms,
    )


def test_records_that_come_after_the_retention_stop_the_partition_where_they_begin() -> None:
    copier = begun(remembering(NOW - HOUR_MS))
    fetch(copier, batch(10), asked_ms=NOW)
    assert stop_of(copier) == (StopKind.TOMBSTONES_MAY_BE_LOST, 10)
    assert copier.stop is not None
    assert copier.stop.choices == (Choice.RECREATE, Choice.ACCEPT, Choice.IGNORE)
    assert "3,600.0 s ago, and delete.retention.ms is 3600000" in copier.stop.evidence


def test_records_that_come_in_time_are_copied() -> None:
    copier = begun(remembering(NOW - HOUR_MS + 10))
    fetch(copier, batch(10), asked_ms=NOW)
    assert [each.base for each in send_all(copier)] == [10]


def test_what_was_fetched_in_time_is_sent_before_the_partition_stops() -> None:
    copier = begun(remembering(NOW))
    fetch(copier, batch(10), asked_ms=NOW)
    (sent,) = send_all(copier)
    fetch(copier, batch(12), asked_ms=NOW + HOUR_MS)
    assert (copier.stop, copier.fetch_wish()) == (None, None), "the batch under way is waited for"
    good(copier, sent)
    fetch(copier, batch(12), asked_ms=NOW + HOUR_MS + 1)
    assert stop_of(copier) == (StopKind.TOMBSTONES_MAY_BE_LOST, 12)
    assert copier.position == 12


def test_a_partition_at_its_end_goes_on_after_any_time() -> None:
    copier = begun(remembering(NOW - 100 * HOUR_MS))
    fetch(copier, asked_ms=NOW, high_watermark=10)
    fetch(copier, batch(10), asked_ms=NOW + HOUR_MS - 10)
    assert len(send_all(copier)) == 1


def test_silence_counts_where_everything_is_read_and_no_transaction_is_open() -> None:
    copier = begun(remembering(NOW))
    fetch(copier, asked_ms=NOW, high_watermark=10)
    fetch(copier, batch(10), asked_ms=NOW + 9 * HOUR_MS, silent_ms=NOW + 9 * HOUR_MS - 500)
    assert (copier.stop, len(send_all(copier))) == (None, 1)
    held = begun(remembering(NOW))
    held.on_fetched(FetchedPartition(b"", 0, 0, 12, 10, 0, None, 0, 0), 10, memoryview(b""), NOW, asked_ms=NOW)
    assert held.held_back == 2
    fetch(held, batch(10), asked_ms=NOW + 9 * HOUR_MS, silent_ms=NOW + 9 * HOUR_MS - 500)
    assert stop_of(held) == (StopKind.TOMBSTONES_MAY_BE_LOST, 10)


def test_progress_tells_as_of_when_nothing_was_missing() -> None:
    copier = begun(COMPACTED, end=0)
    fetch(copier, batch(0), asked_ms=NOW, high_watermark=2)
    (sent,) = send_all(copier)
    good(copier, sent)
    fetch(copier, asked_ms=NOW + 500, high_watermark=2)
    seen = copier.progress(paused=False, hindrance="")
    assert (seen.even_ms, seen.retention_ms) == (NOW + 500, HOUR_MS)
    copier.changed = False
    copier.on_silence(NOW + 2 * HOUR_MS)
    assert copier.changed, "it is remembered before long"
    assert copier.progress(paused=False, hindrance="").even_ms == NOW + 2 * HOUR_MS


def test_an_accepted_loss_is_gone_on_with_and_the_time_counts_anew() -> None:
    order = remembering(NOW - 5 * HOUR_MS)
    copier = begun(order)
    fetch(copier, batch(10), asked_ms=NOW)
    assert copier.stop is not None
    copier.on_order(order._replace(revision=1, even_from_ms=NOW + 1_000))
    ask(copier, 10)
    fetch(copier, batch(10), asked_ms=NOW + 2_000)
    assert len(send_all(copier)) == 1
    fresh = begun(order._replace(revision=1, even_from_ms=NOW + 1_000))
    fetch(fresh, batch(10), asked_ms=NOW + 2_000)
    assert fresh.stop is None, "another worker need not be told again"
    late = begun(order._replace(revision=1, even_from_ms=NOW + 1_000))
    fetch(late, batch(10), asked_ms=NOW + 1_000 + HOUR_MS)
    assert stop_of(late) == (StopKind.TOMBSTONES_MAY_BE_LOST, 10)


def test_records_at_an_end_that_was_trimmed_away_on_the_target_are_a_first_pass() -> None:
    copier = Copier(remembering(NOW - 5 * HOUR_MS), OURS, GUARDED_MS, Room(1 << 20))
    assert copier.wants_standing()
    copier.on_standing(standing(10)._replace(target_start=Offset(10)))
    fetch(copier, batch(10), asked_ms=NOW)
    assert (copier.stop, copier.tombstones.even_ms) == (None, NOW)
