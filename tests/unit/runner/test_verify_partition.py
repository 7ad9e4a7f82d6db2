"""A range of one partition is verified on modelled logs: what differs is believed when it was read twice."""

from __future__ import annotations

import pytest

from kmigrate.errors import ConnectionLost, Unreachable
from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.runner import log_pieces
from kmigrate.runner.verify_partition import Mode
from kmigrate.verify import compacted
from kmigrate.verify.differences import DifferenceKind
from kmigrate.verify.digest import CHUNK, NOTHING
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import TRANSACTIONAL, Record, make_batch
from tests.simulation.committed import compact, marker
from tests.simulation.log import Served

from .verified_logs import Both, keyed, records


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Both:
    """Answers hold a batch or two."""
    monkeypatch.setattr(log_pieces, "ANSWER_BYTES", 200)
    return Both()


def test_the_same_batches_are_compared_as_bytes(both: Both) -> None:
    both.write(*(records(first, 5) for first in range(0, 100, 5)))
    found = both.verify()
    assert (found.difference, found.failure, found.compared_to) == (None, "", 100)
    assert found.amounts.records == 100
    assert found.amounts.taken_apart == 0
    assert found.amounts.source_bytes == sum(len(batch.data) for batch in both.source.log.batches)
    assert both.source.requests > 5


def test_batches_that_are_cut_otherwise_are_compared_record_by_record(both: Both) -> None:
    for first in range(0, 60, 5):
        both.source.log.write(records(first, 5))
    for first in range(0, 60, 12):
        both.target.log.write(records(first, 12))
    found = both.verify()
    assert (found.difference, found.failure, found.amounts.records) == (None, "", 60)
    assert found.amounts.taken_apart == 120


def test_small_batches_that_were_merged_are_compared_as_the_copy_made_them(both: Both) -> None:
    for number in range(60):
        both.source.log.write(records(number, 1))
    for first in range(0, 60, 12):
        both.target.log.write(records(first, 12))
    found = both.verify()
    assert (found.difference, found.failure, found.amounts.records) == (None, "", 60)
    assert found.amounts.taken_apart == 0


@pytest.mark.parametrize("place", [0, 11, 12, 30, 59])
@pytest.mark.parametrize("split", [False, True])
def test_a_difference_among_merged_batches_is_found(both: Both, place: int, split: bool) -> None:
    one, other = (both.target.log, both.source.log) if split else (both.source.log, both.target.log)
    for number in range(60):
        one.write(records(number, 1, b"other" if number == place else b"value"))
    for first in range(0, 60, 12):
        other.write(records(first, 12))
    found = both.verify()
    assert found.difference is not None
    assert (found.difference.kind, found.difference.offset) == (DifferenceKind.DIFFERS, place)


def test_links_are_given_back_when_nothing_is_under_way(both: Both) -> None:
    both.write(records(0, 3), records(3, 3))
    both.verify()
    assert [len(each.free) for each in (both.source, both.target)] == [1, 1]
    both.verify()
    assert [len(each.free) for each in (both.source, both.target)] == [1, 1]


def test_a_difference_is_read_twice_and_named(both: Both) -> None:
    for log, text in ((both.source.log, b"value"), (both.target.log, b"other")):
        log.write(records(0, 5))
        log.write(records(5, 3, text))
    found = both.verify()
    assert found.difference is not None
    assert (found.difference.kind, found.difference.offset) == (DifferenceKind.DIFFERS, 5)
    assert (found.compared_to, found.second_readings) == (5, 0)
    assert len(both.source.log.batches) < both.source.requests


def test_what_was_damaged_on_its_way_is_no_difference(both: Both) -> None:
    both.write(*(records(first, 5) for first in range(0, 50, 5)))
    changes = iter([False, False, True])

    def change(served: Served) -> Served:
        return served._replace(data=served.data[:70] + b"?" + served.data[71:]) if next(changes, False) else served

    both.target.change = change
    found = both.verify()
    assert (found.difference, found.failure, found.compared_to) == (None, "", 50)
    assert found.second_readings == 1
    assert found.amounts.records == 50


def test_a_batch_that_no_consumer_could_read_is_a_difference(both: Both) -> None:
    both.write(records(0, 5), records(5, 5))
    stored = both.target.log.batches[1]
    both.target.log.batches[1] = stored._replace(data=stored.data[:-3] + b"?" + stored.data[-2:])
    found = both.verify()
    assert found.difference is not None
    assert (found.difference.kind, found.difference.offset) == (DifferenceKind.DAMAGED_TARGET, 5)


def test_what_the_source_deletes_meanwhile_is_no_difference(both: Both) -> None:
    both.write(*(records(first, 5) for first in range(0, 100, 5)))

    def trim(number: int) -> None:
        if number == 3:
            both.source.log.delete_records(52)

    both.source.on_request = trim
    found = both.verify()
    assert (found.difference, found.failure, found.compared_to, found.trimmed_to) == (None, "", 100, 52)


def test_what_both_delete_meanwhile_is_no_difference(both: Both) -> None:
    both.write(*(records(first, 5) for first in range(0, 100, 5)))

    def trim(number: int) -> None:
        if number == 3:
            both.source.log.delete_records(52)
            both.target.log.delete_records(50)

    both.target.on_request = trim
    found = both.verify()
    assert (found.difference, found.failure, found.compared_to, found.trimmed_to) == (None, "", 100, 52)


def test_what_only_the_target_lost_is_a_difference(both: Both) -> None:
    both.write(*(records(first, 5) for first in range(0, 100, 5)))
    both.target.log.delete_records(20)
    found = both.verify()
    assert found.difference is not None
    assert (found.difference.kind, found.difference.offset) == (DifferenceKind.MISSING, 0)


def test_a_range_may_begin_and_end_inside_a_batch(both: Both) -> None:
    both.source.log.write(records(0, 20))
    both.target.log.write(records(0, 7))
    both.target.log.write(records(7, 13))
    found = both.verify(both.task(start=3, end=15))
    assert (found.difference, found.failure, found.compared_to, found.amounts.records) == (None, "", 15, 12)


def test_only_wanted_records_of_a_batch_are_counted(both: Both) -> None:
    both.write(records(0, 20), records(20, 20))
    found = both.verify(both.task(start=3))
    assert (found.difference, found.compared_to, found.amounts.records) == (None, 40, 37)


def test_a_broken_link_is_replaced(both: Both) -> None:
    both.write(*(records(first, 5) for first in range(0, 50, 5)))

    def fail(number: int) -> None:
        if number in (2, 4):
            raise ConnectionLost("cut", side=Side.SOURCE)

    both.source.on_request = fail
    found = both.verify()
    assert (found.difference, found.failure, found.compared_to) == (None, "", 50)
    assert both.source.dropped == 2


def test_a_cluster_that_stays_away_is_a_failure_and_no_difference(both: Both) -> None:
    both.write(records(0, 5))
    both.target.failure = Unreachable("refused", side=Side.TARGET, hint="start it")
    found = both.verify()
    assert found.difference is None
    assert "target cluster: orders-0 cannot be read" in found.failure
    assert "refused" in found.failure
    assert (found.hint, found.compared_to) == ("start it", 0)
    assert both.now > log_pieces.PATIENCE_SECONDS


def test_a_missing_right_is_told_at_once(both: Both) -> None:
    both.write(records(0, 5))
    both.source.code = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    found = both.verify()
    assert "READ on the topic" in found.failure
    assert both.now < 1


def test_a_topic_created_anew_is_told(both: Both) -> None:
    both.write(records(0, 5))
    task = both.task()
    both.target.log.recreate("ef" * 16)
    assert "created anew" in both.verify(task).failure


# ── gaps and maps ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_markers_take_the_place_of_aborted_data_and_control_batches(both: Both) -> None:
    source, target = both.source.log, both.target.log
    source.write(make_batch([Record(5, None, b"kept")] * 2, attributes=TRANSACTIONAL, producer_id=7))
    source.write(marker(7))
    source.write(make_batch([Record(5, None, b"lost")] * 2, attributes=TRANSACTIONAL, producer_id=7))
    source.write(marker(7, commit=False))
    source.write(records(0, 1))
    target.write(make_batch([Record(5, None, b"kept")] * 2))
    for _ in range(4):
        target.write(marker(9))
    target.write(records(0, 1))
    assert both.verify().difference is None
    assert both.verify().amounts.records == 3


def test_aborted_data_on_the_target_is_a_difference(both: Both) -> None:
    source, target = both.source.log, both.target.log
    source.write(make_batch([Record(5, None, b"lost")], attributes=TRANSACTIONAL, producer_id=7))
    source.write(marker(7, commit=False))
    target.write(make_batch([Record(5, None, b"lost")]))
    target.write(marker(9))
    found = both.verify().difference
    assert found is not None
    assert (found.kind, found.offset) == (DifferenceKind.EXTRA, 0)
    assert "aborted" in found.note


def test_a_mapped_partition_is_compared_through_its_map(both: Both) -> None:
    source, target = both.source.log, both.target.log
    source.write(records(0, 3))
    source.write(marker(7))
    source.write(records(3, 3))
    target.write(records(0, 6))
    runs = OffsetMap()
    runs.add(Run(Offset(0), Offset(0)))
    runs.add(Run(Offset(4), Offset(3)))
    task = both.task(offset_class=OffsetClass.MAPPED, runs=runs, ends=Ends(Offset(7), Offset(6)))
    found = both.verify(task)
    assert (found.difference, found.failure, found.compared_to, found.amounts.records) == (None, "", 7, 6)
    target.batches[0] = target.batches[0]._replace(data=records(0, 4) + b"")
    wrong = OffsetMap()
    wrong.add(Run(Offset(0), Offset(0)))
    assert both.verify(
        both.task(offset_class=OffsetClass.MAPPED, runs=wrong, ends=Ends(Offset(7), Offset(6)))
    ).difference


# ── compaction ────────────────────────────────────────────────────────────────────────────────────────────────────


def cleaned(both: Both) -> None:
    """Four values of three keys; the source's cleaner took the first value of `a`."""
    both.write(keyed((b"a", b"1")), keyed((b"b", b"1")), keyed((b"a", b"2")), keyed((b"c", b"1")))
    compact(both.source.log, 0, 1)


def test_a_record_that_the_cleaner_took_is_excused_by_a_later_one_of_its_key(both: Both) -> None:
    cleaned(both)
    found = both.verify(both.task(compacted=True))
    assert (found.difference, found.failure, found.excused) == (None, "", 1)


def test_where_nothing_is_compacted_nothing_is_excused(both: Both) -> None:
    cleaned(both)
    found = both.verify().difference
    assert found is not None
    assert (found.kind, found.offset) == (DifferenceKind.EXTRA, 0)


def test_the_latest_value_of_a_key_must_be_there(both: Both) -> None:
    cleaned(both)
    compact(both.source.log, 3, 4)
    both.source.log.write(keyed((b"d", b"1")))
    found = both.verify(both.task(compacted=True)).difference
    assert found is not None
    assert (found.kind, found.offset) == (DifferenceKind.EXTRA, 3)
    assert "latest record of its key" in found.note


def test_what_replaced_a_record_may_not_be_copied_yet(both: Both) -> None:
    cleaned(both)
    compact(both.source.log, 3, 4)
    both.source.log.write(keyed((b"c", b"2")))
    found = both.verify(both.task(compacted=True))
    assert (found.difference, found.failure, found.excused, found.compared_to) == (None, "", 2, 4)


def test_a_tombstone_may_be_gone_on_the_source_only(both: Both) -> None:
    both.write(keyed((b"a", b"1")), keyed((b"a", None)), keyed((b"b", b"1")))
    compact(both.source.log, 0, 2)
    assert both.verify(both.task(compacted=True)).difference is None


def test_a_value_that_lives_on_although_the_source_deleted_it_is_a_difference(both: Both) -> None:
    both.source.log.write(keyed((b"a", b"1")))
    both.source.log.write(keyed((b"a", None)))
    both.target.log.write(keyed((b"a", b"1")))
    both.target.log.write(marker(9))
    found = both.verify(both.task(compacted=True)).difference
    assert found is not None
    assert (found.kind, found.offset) == (DifferenceKind.MISSING, 1)


def test_a_record_without_a_key_is_never_excused(both: Both) -> None:
    both.write(keyed((None, b"1")), keyed((b"a", b"2")))
    compact(both.source.log, 0, 1)
    found = both.verify(both.task(compacted=True)).difference
    assert found is not None
    assert (found.kind, found.offset) == (DifferenceKind.EXTRA, 0)


@pytest.mark.parametrize("lost", [None, 3, 17, 31])
def test_more_keys_than_memory_holds_take_several_passes(
    both: Both, lost: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacted, "MOST_PENDING", 4)
    keys = [b"key %d" % number for number in range(40)]
    both.write(*(keyed((key, b"1")) for key in keys))
    both.write(*(keyed((key, b"2")) for number, key in enumerate(keys) if number != lost))
    compact(both.source.log, 0, 40)
    both.source.requests = 0
    found = both.verify(both.task(compacted=True))
    assert (None if found.difference is None else found.difference.offset) == lost
    assert found.excused == 40
    assert both.source.requests > 40 or lost is not None


# ── counts and digests ────────────────────────────────────────────────────────────────────────────────────────────


def test_counts_tell_how_many_records_of_which_time_there_are(both: Both) -> None:
    both.source.log.write(make_batch([Record(60_000 * number, None, b"1") for number in range(3)]))
    both.target.log.write(make_batch([Record(60_000 * number, None, b"2") for number in range(3)]))
    found = both.verify(both.task(mode=Mode.COUNTS))
    assert (found.bucket_ms, found.buckets) == (60_000, ((0, 1, 1), (60_000, 1, 1), (120_000, 1, 1)))


def test_a_digest_is_continued_where_a_stretch_begins(both: Both) -> None:
    for first in range(0, 3 * CHUNK, 100):
        both.write(records(first, 100))
    part = both.verify(both.task(end=CHUNK + 50, fold=NOTHING))
    assert part.settled is not None
    at, fold = part.settled
    assert at == CHUNK
    rest = both.verify(both.task(start=at, fold=fold))
    whole = both.verify(both.task(fold=NOTHING))
    assert rest.digest == whole.digest != part.digest
    assert whole.amounts.taken_apart == whole.amounts.records == both.source.log.end
