"""What the simulated cleaner leaves behind is what real ones leave: holes, empty batches, and in the end nothing."""

from __future__ import annotations

import pytest

from tests.simulation.batches import (
    DELETE_HORIZON,
    GZIP,
    TRANSACTIONAL,
    Record,
    StoredRecord,
    crc_holds,
    decode,
    make_batch,
    make_message,
    with_append_time,
)
from tests.simulation.log import DAY_MS, READ_COMMITTED, PartitionLog

NOW = 1_760_000_000_000
APP, OTHER = 7, 8


@pytest.fixture
def log() -> PartitionLog:
    return PartitionLog("aa" * 16, compact=True)


def write(log: PartitionLog, *keys: str, value: bytes | None = b"v", time_ms: int = NOW, **header: int) -> int:
    """A batch with these keys, one a record; returns its base offset."""
    batch = make_batch([Record(time_ms, key.encode(), value) for key in keys], **header)
    return log.write(batch).base


def transactional(log: PartitionLog, producer_id: int, *keys: str, epoch: int = 0) -> int:
    return write(log, *keys, attributes=TRANSACTIONAL, producer_id=producer_id, producer_epoch=epoch)


def end(log: PartitionLog, producer_id: int, *, committed: bool, epoch: int = 0) -> int:
    return log.write_marker(producer_id, epoch, 0, NOW, committed=committed).base


def spans(log: PartitionLog) -> list[tuple[int, int, list[int]]]:
    """Every batch as (base offset, next offset, offsets of its records)."""
    assert all(crc_holds(batch.data) for batch in log.batches if batch.data[16] == 2)
    return [(batch.base, batch.next, [r.offset for r in decode(batch.data)]) for batch in log.batches]


def test_the_newest_record_of_each_key_stays_in_its_batch_at_its_offset(log: PartitionLog) -> None:
    write(log, "a", "b", "a", "c", codec=GZIP)
    write(log, "d")
    write(log, "b", "d")
    before = {r.offset: r for batch in log.batches for r in decode(batch.data)}
    log.clean(log.end, NOW)
    assert spans(log) == [(0, 4, [2, 3]), (5, 7, [5, 6])], "the batch of one superseded record is gone as a whole"
    assert all(before[r.offset] == r for batch in log.batches for r in decode(batch.data))
    assert (log.end, log.log_start, log.high_watermark) == (7, 0, 7)
    served = log.fetch(4, 0, -1, 1 << 20, first=True)
    assert int.from_bytes(served.data[:8], "big") == 5, "a fetch inside a hole begins behind it"


def test_only_the_chosen_keys_are_superseded_and_records_without_key_go(log: PartitionLog) -> None:
    write(log, "a", "b")
    log.write(make_batch([Record(NOW, None, b"v"), Record(NOW, b"c", b"v")]))
    write(log, "a", "b")
    log.clean(log.end, NOW, keys={b"a"})
    assert spans(log) == [(0, 2, [1]), (2, 4, [3]), (4, 6, [4, 5])]


def test_nothing_above_the_limit_is_looked_at(log: PartitionLog) -> None:
    write(log, "a")
    write(log, "b")
    write(log, "a")
    log.clean(2, NOW)
    assert [offsets for _, _, offsets in spans(log)] == [[0], [1], [2]]


def test_what_is_not_decided_is_not_cleaned(log: PartitionLog) -> None:
    write(log, "a")
    transactional(log, APP, "a")
    write(log, "a")
    log.clean(log.end, NOW)
    assert len(log.batches) == 3


def test_the_last_batch_of_a_producer_and_of_a_pass_stay_without_records(log: PartitionLog) -> None:
    write(log, "a", producer_id=APP, producer_epoch=0, base_sequence=5)
    write(log, "a", "b", producer_id=APP, producer_epoch=0, base_sequence=6)
    write(log, "b")
    write(log, "a", "b")
    log.clean(4, NOW)
    assert spans(log) == [(1, 3, [1]), (3, 4, [3]), (4, 6, [4, 5])]
    write(log, "z")
    log.clean(6, NOW)
    assert spans(log) == [(1, 3, []), (4, 6, [4, 5]), (6, 7, [6])]
    empty = log.batches[0].data
    assert len(empty) == 61
    assert int.from_bytes(empty[53:57], "big") == 6, "the sequence is what an empty batch is kept for"
    log.clean(6, NOW, idle={APP})
    assert spans(log)[0] == (4, 6, [4, 5]), "a producer that is forgotten leaves nothing"


def test_the_last_batch_of_a_pass_keeps_the_offsets(log: PartitionLog) -> None:
    write(log, "a")
    log.write(make_batch([Record(NOW, None, b"v")]))
    write(log, "a")
    log.clean(2, NOW)
    assert spans(log) == [(0, 1, [0]), (1, 2, []), (2, 3, [2])]


def test_aborted_records_go_first_and_their_marker_two_passes_and_a_day_later(log: PartitionLog) -> None:
    transactional(log, APP, "a", "b")
    end(log, APP, committed=False)
    write(log, "c")
    write(log, "c")
    log.clean(log.end, NOW, idle={APP})
    assert spans(log)[0] == (2, 3, [2])
    assert log.fetch(0, 0, -1, 1 << 20, first=True, isolation_level=READ_COMMITTED).aborted == ((APP, 0),)
    assert not log.batches[0].data[22] & DELETE_HORIZON
    log.clean(log.end, NOW, idle={APP})
    assert log.batches[0].data[22] & DELETE_HORIZON
    assert log.fetch(0, 0, -1, 1 << 20, first=True, isolation_level=READ_COMMITTED).aborted == ()
    log.clean(log.end, NOW + DAY_MS - 1, idle={APP})
    assert spans(log)[0][0] == 2
    log.clean(log.end, NOW + DAY_MS, idle={APP})
    assert spans(log) == [(4, 5, [4])]


def test_aborted_records_supersede_nothing(log: PartitionLog) -> None:
    write(log, "a")
    transactional(log, APP, "a")
    end(log, APP, committed=False)
    log.clean(log.end, NOW)
    assert spans(log)[0] == (0, 1, [0])


def test_a_committed_transaction_keeps_its_marker_as_long_as_a_batch(log: PartitionLog) -> None:
    transactional(log, APP, "a")
    end(log, APP, committed=True)
    write(log, "b")
    for late_ms in (0, 2 * DAY_MS, 4 * DAY_MS):
        log.clean(log.end, NOW + late_ms, idle={APP})
    assert [base for base, _, _ in spans(log)] == [0, 1, 2]
    write(log, "a")
    for late_ms in (5 * DAY_MS, 6 * DAY_MS, 8 * DAY_MS):
        log.clean(log.end, NOW + late_ms, idle={APP})
    assert [base for base, _, _ in spans(log)] == [2, 3]


def test_a_marker_that_began_an_epoch_of_its_own_stays_without_its_record(log: PartitionLog) -> None:
    """As coordinators write them since Kafka 4: the marker, not the data, is the producer's last word."""
    transactional(log, APP, "a", epoch=0)
    end(log, APP, committed=True, epoch=1)
    write(log, "a")
    for late_ms in (0, DAY_MS, 3 * DAY_MS):
        log.clean(log.end, NOW + late_ms)
    assert spans(log) == [(1, 2, []), (2, 3, [2])]
    assert log.last_stable_offset == 3


def test_a_tombstone_stays_for_a_day_after_it_was_seen(log: PartitionLog) -> None:
    write(log, "a")
    write(log, "a", value=None, time_ms=NOW - 5)
    write(log, "b")
    log.clean(log.end, NOW)
    log.clean(log.end, NOW + DAY_MS - 1)
    (tombstone,) = decode(log.batches[0].data)
    assert (tombstone.offset, tombstone.timestamp_ms, tombstone.value) == (1, NOW - 5, None)
    assert int.from_bytes(log.batches[0].data[27:35], "big") == NOW + DAY_MS, "the horizon is the base timestamp"
    log.clean(log.end, NOW + DAY_MS)
    assert spans(log) == [(2, 3, [2])]


def test_append_time_outlives_the_records_it_was_taken_with(log: PartitionLog) -> None:
    batch = make_batch([Record(5, b"a", b"v"), Record(6, b"b", b"v")])
    log.write(with_append_time(batch, NOW))
    write(log, "a")
    log.clean(log.end, NOW)
    assert decode(log.batches[0].data) == [StoredRecord(1, NOW, b"b", b"v", ())]


@pytest.mark.parametrize("magic", [0, 1])
def test_older_formats_are_cleaned_too(log: PartitionLog, magic: int) -> None:
    old = [StoredRecord(offset, 5, key, b"v", ()) for offset, key in enumerate([b"a", b"b", b"c", b"d"])]
    log.write(make_message(old[:1], magic=magic))
    log.write(make_message(old[1:], magic=magic, codec=GZIP))
    write(log, "a", "b", "d")
    log.clean(log.end, NOW)
    assert spans(log) == [(2, 3, [2]), (4, 7, [4, 5, 6])]


def test_a_damaged_batch_ends_the_cleaning(log: PartitionLog) -> None:
    write(log, "a")
    write(log, "a")
    log.batches[1] = log.batches[1]._replace(data=log.batches[1].data[:-1] + b"?")
    before = list(log.batches)
    log.clean(log.end, NOW)
    assert log.batches == before


def test_each_replica_cleans_for_itself(log: PartitionLog) -> None:
    write(log, "a")
    write(log, "a")
    log.clean(log.end, NOW, everywhere=False)
    write(log, "b")
    for other, expected in ((False, [1, 2]), (True, [0, 1, 2]), (True, [1, 2])):
        log.elect(log.end, high_watermark=log.end, now_ms=NOW, drop_expired=False, other_cleaning=other)
        assert [base for base, _, _ in spans(log)] == expected
    log.clean(log.end, NOW)
    log.elect(log.end, high_watermark=log.end, now_ms=NOW, drop_expired=False, other_cleaning=True)
    assert [base for base, _, _ in spans(log)] == [1, 2]
