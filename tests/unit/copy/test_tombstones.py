"""Tombstones are read in time if nothing lies between, or if everything was read less than their retention ago."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.orders import UNKNOWN_TIME_MS, PartitionOrder, Remembered
from kmigrate.copy.tombstones import Tombstones
from kmigrate.kafka_types import LeaderEpoch, Offset, TopicId
from tests.unit.copy.test_copier import ORDER

T0 = 1_760_000_000_000
RETENTION_MS = 60_000
COMPACTED = ORDER._replace(delete_retention_ms=RETENTION_MS)


def remembering(even_ms: int, retention_ms: int | None = RETENTION_MS, order: PartitionOrder = COMPACTED) -> Tombstones:
    memory = Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(2), Offset(10), even_ms, retention_ms)
    found = Tombstones(order._replace(remembered=memory))
    found.begin(target_is_empty=False)
    return found


def fetched(known: Tombstones, *, end: int, asked_ms: int, position: int = 10, read: int = 10, late_ms: int = 0) -> str:
    """An answer: everything below `position` is appended, below `read` read."""
    return known.on_fetched(
        position=position, fetch_offset=read, end=end, asked_ms=asked_ms, taken_up_ms=asked_ms + late_ms
    )


def test_what_was_written_within_the_retention_is_read_in_time() -> None:
    known = remembering(T0)
    assert not fetched(known, end=20, asked_ms=T0 + RETENTION_MS)
    assert fetched(known, end=20, asked_ms=T0 + RETENTION_MS + 1)


def test_the_time_at_which_an_answer_is_taken_up_counts() -> None:
    assert fetched(remembering(T0), end=20, asked_ms=T0 + RETENTION_MS, late_ms=1)


def test_the_evidence_says_since_when_how_long_and_the_retention() -> None:
    evidence = fetched(remembering(T0), end=20, asked_ms=T0 + RETENTION_MS + 1500)
    assert "as of 2025-10-09 08:53:20 UTC, 61.5 s ago" in evidence
    assert "delete.retention.ms is 60000" in evidence
    assert "offsets 10 to 19" in evidence


def test_nothing_is_lost_where_nothing_was_written() -> None:
    known = remembering(T0)
    assert not fetched(known, end=10, asked_ms=T0 + 10 * RETENTION_MS)
    assert known.even_ms == T0 + 10 * RETENTION_MS
    assert not fetched(known, end=20, asked_ms=T0 + 11 * RETENTION_MS)


def test_a_time_that_nobody_knows_counts_as_too_late() -> None:
    evidence = fetched(remembering(UNKNOWN_TIME_MS, None), end=20, asked_ms=T0)
    assert "not known as of when everything was read" in evidence
    assert not fetched(remembering(UNKNOWN_TIME_MS, None), end=10, asked_ms=T0)


def test_a_first_pass_counts_from_its_first_request() -> None:
    known = Tombstones(COMPACTED)
    known.begin(target_is_empty=True)
    assert not fetched(known, end=900, position=0, read=0, asked_ms=T0)
    known.begin(target_is_empty=False)
    assert not fetched(known, end=900, position=100, read=100, asked_ms=T0 + RETENTION_MS)
    assert fetched(known, end=900, position=200, read=200, asked_ms=T0 + RETENTION_MS + 1)


def test_onto_an_empty_target_every_pass_is_the_first() -> None:
    known = Tombstones(COMPACTED)
    for begun_ms in (T0, T0 + 5 * RETENTION_MS):
        known.begin(target_is_empty=True)
        assert not fetched(known, end=900, position=0, read=0, asked_ms=begun_ms)
        assert known.even_ms == begun_ms


def test_a_mark_counts_from_its_request_once_it_is_appended() -> None:
    known = remembering(T0)
    fetched(known, end=20, asked_ms=T0 + 5_000, late_ms=400)
    fetched(known, end=30, position=10, read=20, asked_ms=T0 + 6_000)
    assert known.even_ms == T0, "it is read, but not appended"
    fetched(known, end=30, position=20, read=20, asked_ms=T0 + 7_000)
    assert known.even_ms == T0 + 5_000
    fetched(known, end=40, position=30, read=30, asked_ms=T0 + 8_000)
    assert known.even_ms == T0 + 7_000


def test_a_doubt_forgets_a_mark_and_not_the_time() -> None:
    known = remembering(T0)
    fetched(known, end=20, asked_ms=T0 + 5_000)
    known.begin(target_is_empty=False)
    fetched(known, end=40, position=20, read=20, asked_ms=T0 + 9_000)
    assert known.even_ms == T0


def test_what_is_read_but_not_appended_was_read_in_time() -> None:
    assert not fetched(remembering(T0), end=20, position=10, read=20, asked_ms=T0 + 9 * RETENTION_MS)


def test_a_topic_that_is_not_compacted_loses_nothing() -> None:
    known = remembering(T0, None, ORDER)
    assert not fetched(known, end=20, asked_ms=T0 + 99 * RETENTION_MS)


def test_a_policy_that_is_switched_counts_from_then() -> None:
    known = remembering(T0, None, ORDER)
    switched_ms = T0 + 50 * RETENTION_MS
    known.on_order(COMPACTED._replace(even_from_ms=switched_ms))
    assert not fetched(known, end=20, asked_ms=switched_ms + RETENTION_MS)
    assert fetched(known, end=20, asked_ms=switched_ms + RETENTION_MS + 1)


def test_a_longer_retention_brings_nothing_back() -> None:
    known = remembering(T0)
    known.on_order(COMPACTED._replace(delete_retention_ms=100 * RETENTION_MS))
    evidence = fetched(known, end=20, asked_ms=T0 + RETENTION_MS + 1)
    assert "delete.retention.ms was 60000 meanwhile" in evidence
    known = remembering(T0, order=COMPACTED._replace(delete_retention_ms=100 * RETENTION_MS))
    assert fetched(known, end=20, asked_ms=T0 + RETENTION_MS + 1), "remembered with the time"


def test_a_longer_retention_counts_for_what_is_read_under_it() -> None:
    known = remembering(T0)
    known.on_order(COMPACTED._replace(delete_retention_ms=100 * RETENTION_MS))
    assert not fetched(known, end=10, asked_ms=T0 + 1)
    assert not fetched(known, end=20, asked_ms=T0 + 50 * RETENTION_MS)


def test_a_shorter_retention_counts_at_once() -> None:
    known = remembering(T0)
    fetched(known, end=20, asked_ms=T0 + 10)
    known.on_order(COMPACTED._replace(delete_retention_ms=1_000))
    assert fetched(known, end=20, asked_ms=T0 + 1_001)
    assert not fetched(known, end=20, position=20, read=20, asked_ms=T0 + 2_000)
    assert known.retention_ms == 1_000


def test_accepting_begins_anew_with_the_retention_of_now() -> None:
    known = remembering(T0)
    accepted_ms = T0 + 500 * RETENTION_MS
    known.on_order(COMPACTED._replace(even_from_ms=accepted_ms, delete_retention_ms=1_000))
    assert (known.even_ms, known.retention_ms) == (accepted_ms, 1_000)
    assert fetched(known, end=20, asked_ms=accepted_ms + 1_001)
    known.on_order(COMPACTED._replace(even_from_ms=accepted_ms))
    assert known.even_ms == accepted_ms


def test_silence_moves_the_time_on_and_is_told_now_and_then() -> None:
    known = remembering(T0)
    assert known.on_silence(T0 + 1), "what is remembered may be old"
    told = [ms for ms in range(T0 + 100, T0 + RETENTION_MS, 100) if known.on_silence(ms)]
    assert known.even_ms == T0 + RETENTION_MS - 100
    assert 8 <= len(told) <= 10
    assert not remembering(T0, None, ORDER).on_silence(T0 + 10 * RETENTION_MS), "there is nothing to guard"


class _Step(NamedTuple):
    passes_ms: int
    writes: int
    reads: int
    appends: int
    doubts: bool


@given(st.lists(st.builds(_Step, st.integers(0, 40_000), *[st.integers(0, 4)] * 3, st.booleans()), max_size=30))
def test_what_is_taken_in_was_never_removed(steps: list[_Step]) -> None:
    """A source whose cleaner removes every record at the first moment at which it may."""
    known = Tombstones(COMPACTED)
    known.begin(target_is_empty=True)
    now_ms, written, read, appended = T0, [T0] * 5, 0, 0
    for step in steps:
        if step.doubts:
            read = appended
            known.begin(target_is_empty=False)
        asked_ms = now_ms
        now_ms += step.passes_ms
        written += [now_ms] * step.writes
        late_ms = now_ms - asked_ms
        if fetched(known, end=len(written), position=appended, read=read, asked_ms=asked_ms, late_ms=late_ms):
            return
        assert all(now_ms - at <= RETENTION_MS for at in written[read:]), "something may be gone"
        read = min(read + step.reads, len(written))
        appended = min(appended + step.appends, read)


def test_a_copy_that_falls_behind_is_judged_by_how_far_it_is_behind() -> None:
    known, hour = remembering(T0), RETENTION_MS // 24
    written, read = 10.0, 10.0
    for step in range(1, 24 * 60):  # three retentions; read at 2/3 of the speed of writing, up to 12 hours behind
        now = T0 + step * hour // 20
        written = 10 + step
        read = max(10, written - min(step // 3, 12 * 20))
        assert not fetched(known, end=int(written), asked_ms=now, position=int(read), read=int(read)), step
    assert now - known.even_ms < 13 * hour
    assert len(known._marks) <= 51


def test_where_nothing_is_removed_one_mark_is_enough() -> None:
    known = remembering(T0, None, ORDER)
    for step in range(100):
        assert not fetched(known, end=20 + step, asked_ms=T0 + step * 1_000)
    assert len(known._marks) == 1


def test_a_moment_without_compaction_does_not_excuse_what_was_late_before() -> None:
    known = remembering(T0)
    late = T0 + 30 * RETENTION_MS
    known.on_order(ORDER)  # the policy is `delete` for a moment
    known.on_order(COMPACTED._replace(free_from_ms=late))
    assert fetched(known, end=20, asked_ms=late + 1)
    never = remembering(T0, None, ORDER)
    never.on_order(COMPACTED._replace(free_from_ms=late))
    assert not fetched(never, end=20, asked_ms=late + 1), "nothing was ever removed before"


def test_a_clock_that_was_ahead_is_put_right_by_the_next_answer_that_is_level() -> None:
    known = remembering(T0)
    assert not fetched(known, end=10, asked_ms=T0 + 100 * RETENTION_MS)
    assert not fetched(known, end=10, asked_ms=T0 + 1)
    assert known.even_ms == T0 + 1
    assert fetched(known, end=20, asked_ms=T0 + 2 * RETENTION_MS)


def test_a_time_from_the_future_counts_as_unknown() -> None:
    ahead = remembering(T0 + 100 * RETENTION_MS)
    assert "not known" in fetched(ahead, end=20, asked_ms=T0)
    assert not fetched(remembering(T0 + 1_000), end=20, asked_ms=T0), "clocks of two machines differ a little"
