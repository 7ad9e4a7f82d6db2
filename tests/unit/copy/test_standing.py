"""Where copying goes on after a doubt: one test for each rule, and for what the comparison of two tails sees."""

from __future__ import annotations

import pytest

from kmigrate.copy.orders import Remembered
from kmigrate.copy.standing import EMPTY_TAIL, GoOn, Standing, Tail, compare_tails, decide_standing
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, ProducerId, TopicId
from kmigrate.kafka_types import Sequence as BatchSequence
from kmigrate.records.batch import Header, parse_header
from tests.simulation.batches import Record, make_batch

OURS = ProducerId(2**62 + 5)
EQUAL = Tail(2, None, None, None, True, LeaderEpoch(4), BatchSequence(60))
AT_50 = Standing(Offset(0), Offset(90), Offset(0), Offset(50), 49, EQUAL, False)


def remembered(appended: int, epoch: int = 3) -> Remembered:
    return Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(epoch), Offset(appended))


def stop_of(
    standing: Standing, *, floor: int = 0, memory: Remembered | None = None, began: bool = True
) -> tuple[StopKind, int]:
    decision = decide_standing(standing, Offset(floor), memory, began)
    assert isinstance(decision, Stop)
    return decision.kind, decision.offset


def go_on(standing: Standing, *, memory: Remembered | None = None) -> GoOn:
    decision = decide_standing(standing, Offset(0), memory, True)
    assert isinstance(decision, GoOn)
    return decision


def test_equal_tails_go_on_at_the_true_end_behind_the_last_sequence() -> None:
    assert go_on(AT_50) == GoOn(Offset(50), BatchSequence(50), LeaderEpoch(4))


def test_the_last_sequence_wraps_to_zero() -> None:
    assert go_on(AT_50._replace(last_sequence=2**31 - 1)).sequence == 0


@pytest.mark.parametrize("unlisted", [None, -1])
def test_without_a_listed_sequence_that_of_our_last_batch_is_followed(unlisted: int | None) -> None:
    assert go_on(AT_50._replace(last_sequence=unlisted)).sequence == 60


def test_an_empty_target_begins_at_zero_with_sequence_zero() -> None:
    empty = Standing(Offset(0), Offset(90), Offset(0), Offset(0), None, EMPTY_TAIL, False)
    assert go_on(empty) == GoOn(Offset(0), BatchSequence(0), LeaderEpoch(-1))


def test_a_target_below_what_it_acknowledged_has_lost_records() -> None:
    assert stop_of(AT_50, floor=51) == (StopKind.TARGET_LOST, 50)


def test_lost_comes_before_foreign() -> None:
    foreign = AT_50._replace(tail=EQUAL._replace(foreign_at=Offset(48), foreign_by=ProducerId(7)))
    assert stop_of(foreign, floor=51) == (StopKind.TARGET_LOST, 50)


def test_another_producers_batch_is_a_foreign_write_whatever_it_holds() -> None:
    foreign = AT_50._replace(tail=EQUAL._replace(foreign_at=Offset(48), foreign_by=ProducerId(7)))
    assert stop_of(foreign) == (StopKind.FOREIGN_WRITE, 48)


def test_foreign_comes_before_trimmed() -> None:
    tail = EQUAL._replace(foreign_at=Offset(48), foreign_by=ProducerId(7))
    assert stop_of(AT_50._replace(source_start=Offset(70), tail=tail)) == (StopKind.FOREIGN_WRITE, 48)


def test_a_source_trimmed_past_the_copied_end_is_a_lost_gap() -> None:
    assert stop_of(AT_50._replace(source_start=Offset(51))) == (StopKind.GAP_LOST, 50)


def test_a_source_trimmed_exactly_to_the_copied_end_lost_nothing() -> None:
    assert go_on(AT_50._replace(source_start=Offset(50))).offset == 50


def test_a_source_that_never_began_at_zero_is_not_supported_yet() -> None:
    standing = Standing(Offset(5), Offset(90), Offset(0), Offset(0), None, EMPTY_TAIL, False)
    assert stop_of(standing, began=False) == (StopKind.UNSUPPORTED, 0)


def test_a_source_seen_at_zero_and_trimmed_before_the_first_append_is_a_lost_gap() -> None:
    standing = Standing(Offset(5), Offset(90), Offset(0), Offset(0), None, EMPTY_TAIL, False)
    assert stop_of(standing, began=True) == (StopKind.GAP_LOST, 0)


def test_trimmed_comes_before_truncated() -> None:
    assert stop_of(AT_50._replace(source_start=Offset(60), source_end=Offset(40))) == (StopKind.GAP_LOST, 50)


def test_a_source_that_ends_below_the_copy_was_truncated() -> None:
    assert stop_of(AT_50._replace(source_end=Offset(49))) == (StopKind.SOURCE_TRUNCATED, 49)


def test_a_source_that_ends_below_the_copy_and_differs_before_parts_where_it_differs() -> None:
    tail = EQUAL._replace(differs_at=Offset(40), equal_before=True)
    assert stop_of(AT_50._replace(source_end=Offset(45), tail=tail)) == (StopKind.SOURCE_TRUNCATED, 40)
    other_topic = tail._replace(differs_at=Offset(0), equal_before=False)
    assert stop_of(AT_50._replace(source_end=Offset(45), tail=other_topic)) == (StopKind.SOURCE_REPLACED, 0)


def test_a_source_that_ends_where_the_copy_ends_is_complete() -> None:
    assert go_on(AT_50._replace(source_end=Offset(50))).offset == 50


def test_a_difference_after_something_equal_is_a_truncated_source() -> None:
    tail = EQUAL._replace(differs_at=Offset(45), equal_before=True)
    assert stop_of(AT_50._replace(tail=tail)) == (StopKind.SOURCE_TRUNCATED, 45)


def test_a_difference_with_nothing_equal_and_nothing_remembered_is_another_topic() -> None:
    tail = EQUAL._replace(differs_at=Offset(0), equal_before=False)
    assert stop_of(AT_50._replace(tail=tail)) == (StopKind.SOURCE_REPLACED, 0)


def test_a_difference_in_a_remembered_topic_is_a_truncated_source() -> None:
    tail = EQUAL._replace(differs_at=Offset(0), equal_before=False)
    assert stop_of(AT_50._replace(tail=tail), memory=remembered(50)) == (StopKind.SOURCE_TRUNCATED, 0)


def test_with_nothing_to_compare_and_nothing_remembered_the_state_is_lost() -> None:
    assert stop_of(AT_50._replace(source_start=Offset(50), tail=EMPTY_TAIL)) == (StopKind.STATE_LOST, 50)


def test_with_nothing_to_compare_what_is_remembered_decides() -> None:
    standing = AT_50._replace(source_start=Offset(50), tail=EMPTY_TAIL)
    assert go_on(standing, memory=remembered(50)) == GoOn(Offset(50), BatchSequence(50), LeaderEpoch(3))


def test_an_epoch_remembered_for_another_offset_is_not_used() -> None:
    standing = AT_50._replace(source_start=Offset(50), tail=EMPTY_TAIL)
    assert go_on(standing, memory=remembered(49)).epoch == -1


# ── the comparison ────────────────────────────────────────────────────────────────────────────────────────────


def records(count: int, tag: bytes) -> list[Record]:
    return [Record(1_000 + n, None, tag + bytes([n])) for n in range(count)]


def stored(
    base: int, count: int, tag: bytes, *, epoch: int = 0, producer: int = 9, sequence: int = 0
) -> tuple[Header, memoryview]:
    batch = make_batch(
        records(count, tag),
        base_offset=base,
        leader_epoch=epoch,
        producer_id=producer,
        producer_epoch=0,
        base_sequence=sequence,
    )
    return parse_header(batch, 0), memoryview(batch)


SOURCE = [stored(0, 3, b"a", epoch=1), stored(3, 2, b"b", epoch=1), stored(5, 1, b"c", epoch=6)]
TARGET = [
    stored(0, 3, b"a", producer=OURS, sequence=10),
    stored(3, 2, b"b", producer=OURS, sequence=13),
    stored(5, 1, b"c", producer=OURS, sequence=15),
]


def test_equal_tails_tell_the_sources_epoch_before_the_end_and_our_next_sequence() -> None:
    assert compare_tails(SOURCE, TARGET, 0, OURS) == Tail(3, None, None, None, True, LeaderEpoch(6), BatchSequence(16))


def test_our_next_sequence_wraps() -> None:
    last = [stored(0, 3, b"a", producer=OURS, sequence=2**31 - 2)]
    assert compare_tails(SOURCE, last, 0, OURS).next_sequence == 1


def test_the_first_difference_is_named() -> None:
    changed = [TARGET[0], stored(3, 2, b"x", producer=OURS), TARGET[2]]
    tail = compare_tails(SOURCE, changed, 0, OURS)
    assert (tail.differs_at, tail.equal_before) == (3, True)


def test_something_equal_after_a_difference_is_not_before_it() -> None:
    changed = [stored(0, 3, b"x", producer=OURS), TARGET[1], TARGET[2]]
    tail = compare_tails(SOURCE, changed, 0, OURS)
    assert (tail.differs_at, tail.equal_before) == (0, False)


def test_records_cut_into_other_batches_differ() -> None:
    recut = [stored(0, 1, b"a", producer=OURS), *TARGET[1:]]
    assert compare_tails(SOURCE, recut, 0, OURS).differs_at == 0


def test_what_the_source_no_longer_holds_is_passed_over() -> None:
    tail = compare_tails(SOURCE[1:], TARGET, 3, OURS)
    assert (tail.compared, tail.differs_at) == (2, None)


def test_a_batch_that_the_sources_log_start_cuts_is_passed_over() -> None:
    tail = compare_tails(SOURCE[1:], TARGET, 4, OURS)
    assert (tail.compared, tail.differs_at) == (1, None)


def test_nothing_comparable_still_tells_our_next_sequence() -> None:
    assert compare_tails([], TARGET, 6, OURS) == Tail(0, None, None, None, False, LeaderEpoch(-1), BatchSequence(16))


def test_another_producers_batch_is_seen_even_below_the_sources_log_start() -> None:
    mixed = [TARGET[0], stored(3, 2, b"b", producer=31), TARGET[2]]
    tail = compare_tails(SOURCE, mixed, 6, OURS)
    assert (tail.foreign_at, tail.foreign_by) == (3, 31)


def test_the_first_of_several_foreign_batches_is_named() -> None:
    mixed = [TARGET[0], stored(3, 2, b"b", producer=31), stored(5, 1, b"c", producer=32)]
    assert compare_tails(SOURCE, mixed, 0, OURS)[2:4] == (3, 31)
