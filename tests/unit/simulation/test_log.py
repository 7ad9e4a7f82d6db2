"""The simulated log behaves as real brokers do, where the copy depends on it."""

from __future__ import annotations

import pytest

from tests.simulation.batches import (
    APPEND_TIME,
    TRANSACTIONAL,
    Record,
    StoredRecord,
    decode,
    make_batch,
    make_message,
    seal,
    with_append_time,
)
from tests.simulation.log import (
    DAY_MS,
    INVALID_PRODUCER_EPOCH,
    INVALID_RECORD,
    INVALID_TXN_STATE,
    MESSAGE_TOO_LARGE,
    NONE,
    OUT_OF_ORDER_SEQUENCE_NUMBER,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    REMEMBERED_BATCHES,
    TRANSACTION_COORDINATOR_FENCED,
    Appended,
    PartitionLog,
    Served,
)

NOW = 1_760_000_000_000
DATA_ID, MARKER_ID = (1 << 62) + 1, (1 << 62) + 2
APP, OTHER = 7, 8


@pytest.fixture
def log() -> PartitionLog:
    return PartitionLog("aa" * 16)


def data(count: int = 1, *, time_ms: int = NOW, **header: int) -> bytes:
    return make_batch([Record(time_ms, b"k", b"v")] * count, **header)


def produced(log: PartitionLog, sequence: int, count: int = 1, *, time_ms: int = NOW, epoch: int = 0) -> Appended:
    batch = data(count, time_ms=time_ms, producer_id=DATA_ID, producer_epoch=epoch, base_sequence=sequence)
    return log.append(batch, NOW)


def transactional(log: PartitionLog, producer_id: int, count: int = 1) -> int:
    """Writes so many records of a transaction; returns their first offset."""
    return log.write(data(count, attributes=TRANSACTIONAL, producer_id=producer_id, producer_epoch=0)).base


def end(log: PartitionLog, producer_id: int, *, committed: bool) -> int:
    """Ends a transaction; returns its marker's offset."""
    return log.write_marker(producer_id, 0, 0, NOW, committed=committed).base


def fetched(log: PartitionLog, offset: int, isolation_level: int = READ_COMMITTED, max_bytes: int = 1 << 20) -> Served:
    return log.fetch(offset, log.leader_epoch, -1, max_bytes, first=True, isolation_level=isolation_level)


def offsets(served: Served) -> list[int]:
    """The offsets of all records that were handed out, of control batches too."""
    found, left = [], served.data
    while left:
        size = 12 + int.from_bytes(left[8:12], "big")
        found += [record.offset for record in decode(left[:size])]
        left = left[size:]
    return found


# ── transactions ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_open_transaction_pins_the_last_stable_offset_and_nothing_else(log: PartitionLog) -> None:
    log.write(data(2))
    transactional(log, APP, 3)
    log.write(data(1))
    assert (log.last_stable_offset, log.high_watermark, log.end) == (2, 6, 6)
    assert log.latest(READ_COMMITTED) == (NONE, 2)
    assert log.latest(READ_UNCOMMITTED) == (NONE, 6)
    assert log.offset_for_leader_epoch(0, 0) == (NONE, 0, 6), "the true log end is told whatever is open"
    committed, uncommitted = fetched(log, 0), fetched(log, 0, READ_UNCOMMITTED)
    assert offsets(committed) == [0, 1]
    assert offsets(uncommitted) == list(range(6))
    assert (committed.high_watermark, committed.last_stable_offset, committed.aborted) == (6, 2, ())
    assert (uncommitted.last_stable_offset, uncommitted.aborted) == (2, None)
    assert end(log, APP, committed=True) == 6
    assert log.last_stable_offset == 7
    assert offsets(fetched(log, 0)) == list(range(7)), "markers are in the bytes"


def test_the_oldest_of_several_open_transactions_decides(log: PartitionLog) -> None:
    transactional(log, APP)
    transactional(log, OTHER)
    end(log, APP, committed=True)
    assert log.last_stable_offset == 1
    end(log, OTHER, committed=False)
    assert log.last_stable_offset == log.end == 4


def test_a_decision_counts_only_when_it_is_replicated(log: PartitionLog) -> None:
    transactional(log, APP)
    log.freeze()
    end(log, APP, committed=True)
    assert (log.last_stable_offset, log.high_watermark, log.end) == (0, 1, 2)
    log.thaw()
    assert log.last_stable_offset == 2


def test_aborted_transactions_are_told_where_they_reach_into_what_is_handed_out(log: PartitionLog) -> None:
    first = transactional(log, APP, 3)
    log.write(data(2))
    second = transactional(log, APP)
    marker = end(log, APP, committed=False)
    assert (first, second, marker) == (0, 5, 6)
    after = log.write(data(1)).base
    for offset in range(marker + 1):
        assert fetched(log, offset).aborted == ((APP, 0),), f"the list of a fetch at {offset} begins below it"
    assert fetched(log, after).aborted == ()
    assert fetched(log, 0, READ_UNCOMMITTED).aborted is None


def test_an_aborted_transaction_far_behind_what_fits_is_not_told(log: PartitionLog) -> None:
    log.write(data(1))
    log.write(make_batch([Record(NOW, b"k", b"x" * 9000)]))
    transactional(log, APP)
    end(log, APP, committed=False)
    assert fetched(log, 0, max_bytes=1).aborted == (), "the index knows an offset before it"
    assert fetched(log, 1, max_bytes=1).aborted == ((APP, 2),), "the index may know no better"


def test_a_marker_without_records_ends_nothing(log: PartitionLog) -> None:
    transactional(log, APP)
    end(log, OTHER, committed=False)
    assert log.last_stable_offset == 0
    end(log, APP, committed=True)
    assert fetched(log, 0).aborted == ()


def test_an_election_that_cuts_a_marker_opens_its_transaction_again(log: PartitionLog) -> None:
    transactional(log, APP)
    marker = end(log, APP, committed=False)
    log.elect(marker, high_watermark=marker, now_ms=NOW, drop_expired=True)
    assert (log.last_stable_offset, log.end) == (0, 1)
    end(log, APP, committed=True)
    assert (log.last_stable_offset, fetched(log, 0).aborted) == (2, ())


def test_the_last_stable_offset_is_never_below_the_log_start(log: PartitionLog) -> None:
    transactional(log, APP, 4)
    log.delete_records(3)
    assert log.last_stable_offset == 3


# ── markers on a target ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_marker_takes_one_offset_and_no_sequence(log: PartitionLog) -> None:
    produced(log, 0, 5)
    assert [log.write_marker(MARKER_ID, 0, 1, NOW).base for _ in range(3)] == [5, 6, 7]
    assert (log.end, log.last_stable_offset, log.high_watermark) == (8, 8, 8)
    assert produced(log, 5).base == 8, "the sequence of the data goes on where it was"
    assert produced(log, 7).error == OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_marker_of_the_datas_own_id_hides_that_its_sequence_is_unknown(log: PartitionLog) -> None:
    log.write_marker(DATA_ID, 0, 1, NOW)
    assert produced(log, 40).error == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert produced(log, 0).error == NONE
    log.write_marker(DATA_ID, 0, 1, NOW)
    assert produced(log, 1).error == NONE, "where the sequence is known a marker keeps it"


def test_only_a_lower_coordinator_epoch_is_fenced(log: PartitionLog) -> None:
    log.write_marker(MARKER_ID, 0, 5, NOW)
    before = log.end
    assert log.write_marker(MARKER_ID, 0, 4, NOW) == Appended(TRANSACTION_COORDINATOR_FENCED, -1, -1, False)
    assert log.end == before
    assert [log.write_marker(MARKER_ID, 0, epoch, NOW).error for epoch in (5, 6)] == [NONE, NONE]
    assert log.write_marker(MARKER_ID + 1, 0, 0, NOW).error == NONE, "epochs are remembered by producer id"
    assert log.write_marker(MARKER_ID, -1, 6, NOW).error == INVALID_PRODUCER_EPOCH


def test_the_coordinator_epoch_is_told_and_outlives_elections_and_restarts(log: PartitionLog) -> None:
    log.write_marker(MARKER_ID, 0, 5, NOW)
    for _ in range(2):
        (known,) = log.known_producers()
        assert (known.producer_id, known.coordinator_epoch, known.last_sequence) == (MARKER_ID, 5, -1)
        assert known.last_timestamp_ms == NOW
        log.restart(NOW, batches_each=1)
    log.elect(log.end, high_watermark=log.end, now_ms=NOW, drop_expired=True)
    assert log.write_marker(MARKER_ID, 0, 4, NOW).error == TRANSACTION_COORDINATOR_FENCED


def test_a_marker_that_is_cut_takes_its_epoch_with_it(log: PartitionLog) -> None:
    log.write_marker(MARKER_ID, 0, 5, NOW)
    log.write_marker(MARKER_ID, 0, 9, NOW)
    log.elect(1, high_watermark=1, now_ms=NOW, drop_expired=False)
    assert [each.coordinator_epoch for each in log.known_producers()] == [5]


def test_markers_are_forgotten_by_the_brokers_clock_and_data_by_its_records(log: PartitionLog) -> None:
    produced(log, 0, time_ms=NOW - 2 * DAY_MS)
    log.write_marker(MARKER_ID, 0, 5, NOW)
    log.expire(NOW)
    assert [each.producer_id for each in log.known_producers()] == [MARKER_ID]
    log.expire(NOW + DAY_MS)
    assert log.known_producers() == []
    assert log.write_marker(MARKER_ID, 0, 1, NOW).error == NONE, "a forgotten epoch fences nobody"


def test_who_has_an_open_transaction_is_not_forgotten(log: PartitionLog) -> None:
    log.write_marker(APP, 0, 0, NOW - 2 * DAY_MS)
    transactional(log, APP)
    log.expire(NOW)
    (known,) = log.known_producers()
    assert (known.producer_id, known.current_txn_start_offset) == (APP, 1)


# ── what is appended, and what is refused ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (data(2, base_offset=3), INVALID_RECORD),
        (seal(b"", last_offset_delta=0, record_count=0), INVALID_RECORD),
        (seal(b"..", last_offset_delta=4, record_count=3), INVALID_RECORD),
        (data(1, attributes=0x20, producer_id=APP), INVALID_RECORD),
        (data(1) + data(1), INVALID_RECORD),
        (make_message([StoredRecord(0, 5, b"k" * 40, b"v" * 40, ())], magic=1), INVALID_RECORD),
        (data(1, attributes=TRANSACTIONAL, producer_id=APP), INVALID_TXN_STATE),
        (make_batch([Record(NOW, b"k", b"x" * 500)]), MESSAGE_TOO_LARGE),
        (data(1, attributes=0x40), NONE),
        (data(1, attributes=APPEND_TIME), NONE),
    ],
)
def test_brokers_take_one_dense_plain_batch_that_fits(batch: bytes, error: int) -> None:
    log = PartitionLog("aa" * 16, max_message_bytes=400)
    assert log.append(batch, NOW).error == error
    assert log.end == (1 if error == NONE else 0)


def test_a_record_without_a_key_is_refused_on_a_compacted_topic() -> None:
    log = PartitionLog("aa" * 16, compact=True)
    assert log.append(make_batch([Record(NOW, b"k", b"v"), Record(NOW, None, b"v")]), NOW).error == INVALID_RECORD
    assert log.append(data(1), NOW).error == NONE


def test_append_time_in_a_produced_batch_is_dropped_without_a_word(log: PartitionLog) -> None:
    """So that its readers see the times of creation: the reason why such batches must be re-encoded."""
    log.append(with_append_time(data(2, time_ms=5), NOW), NOW)
    assert [record.timestamp_ms for record in decode(log.batches[0].data)] == [5, 5]


def test_an_older_epoch_of_a_producer_is_refused(log: PartitionLog) -> None:
    produced(log, 0, epoch=1)
    assert produced(log, 1, epoch=0).error == INVALID_PRODUCER_EPOCH
    assert produced(log, 1, epoch=2).error == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert produced(log, 0, epoch=2).error == NONE


def test_a_repeat_is_known_for_five_batches(log: PartitionLog) -> None:
    for sequence in range(REMEMBERED_BATCHES + 1):
        produced(log, sequence)
    assert produced(log, 0).error == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert produced(log, 1) == Appended(NONE, 1, 2, True)
    assert log.end == REMEMBERED_BATCHES + 1


# ── older formats ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("magic", [0, 1])
def test_entries_of_older_formats_lie_in_front_of_batches(log: PartitionLog, magic: int) -> None:
    old = [StoredRecord(offset, 5, b"k", b"v", ()) for offset in range(4)]
    log.write(make_message(old[:1], magic=magic))
    log.write(make_message(old[1:], magic=magic, codec=1))
    log.write(data(2))
    assert (log.end, [batch.next for batch in log.batches]) == (6, [1, 4, 6])
    assert offsets(fetched(log, 0)) == list(range(6))
    assert offsets(fetched(log, 3)) == [1, 2, 3, 4, 5], "a wrapper comes whole"
    with pytest.raises(ValueError, match="cannot lie at 6"):
        log.write(make_message(old[:1], magic=magic))


# ── the log's start ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_may_begin_inside_a_batch(log: PartitionLog) -> None:
    log.write(data(5))
    log.write(data(5))
    log.delete_records(7)
    assert (log.log_start, [batch.base for batch in log.batches]) == (7, [5])
    assert offsets(fetched(log, 7)) == [5, 6, 7, 8, 9]
    assert fetched(log, 6).error == 1


def test_a_crash_may_undo_a_deletion_that_was_not_written_down(log: PartitionLog) -> None:
    for _ in range(3):
        log.write(data(5))
    log.delete_records(5)
    log.checkpoint()
    log.delete_records(15)
    assert log.batches == []
    log.restart(NOW, batches_each=1, log_start_lost=True)
    assert (log.log_start, log.end, [batch.base for batch in log.batches]) == (5, 15, [5, 10])
    assert log.end_offset_for(0) == (0, 15)
    assert offsets(fetched(log, 5)) == list(range(5, 15))
