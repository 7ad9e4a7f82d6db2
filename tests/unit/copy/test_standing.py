"""Where copying goes on after a doubt: one test for each rule, and for what the comparison of two tails sees."""

from __future__ import annotations

import pytest

from kmigrate.copy.course import IDENTITY, locate
from kmigrate.copy.orders import Remembered
from kmigrate.copy.standing import (
    EMPTY_TAIL,
    Align,
    Bounds,
    Decision,
    GoOn,
    Standing,
    Tail,
    Trim,
    Unreadable,
    Writers,
    compare_batches,
    compare_records,
    decide_standing,
)
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch, Offset, ProducerId, TopicId
from kmigrate.kafka_types import Sequence as BatchSequence
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Run
from kmigrate.records.batch import LOG_APPEND_TIME, TRANSACTIONAL, Header, parse_header
from kmigrate.records.visible import Visible
from tests.simulation.batches import GZIP, Record, appended, make_batch, seal
from tests.simulation.committed import marker, with_holes

OURS = ProducerId(2**62 + 5)
MARKERS = ProducerId(2**62 + 6)
EQUAL = Tail(2, None, None, None, True, LeaderEpoch(4), BatchSequence(60))
AT_50 = Standing(
    source_start=Offset(0),
    source_end=Offset(90),
    target_start=Offset(0),
    target_end=Offset(50),
    last_sequence=49,
    tail=EQUAL,
    quiet=False,
    source_stable=Offset(90),
    marker_epoch=-1,
)
EMPTY = AT_50._replace(target_end=Offset(0), last_sequence=None, tail=EMPTY_TAIL)


def remembered(appended: int, epoch: int = 3) -> Remembered:
    return Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(epoch), Offset(appended))


def decide(
    standing: Standing, *, floor: int = 0, memory: Remembered | None = None, began: bool = True, aligning: bool = False
) -> Decision:
    placed = standing._replace(place=locate(IDENTITY, standing.target_end))
    return decide_standing(placed, OffsetClass.IDENTICAL, Offset(floor), memory, began=began, aligning=aligning)


def stop_of(
    standing: Standing, *, floor: int = 0, memory: Remembered | None = None, began: bool = True
) -> tuple[StopKind, int]:
    decision = decide(standing, floor=floor, memory=memory, began=began)
    assert isinstance(decision, Stop)
    return decision.kind, decision.offset


def go_on(standing: Standing, *, memory: Remembered | None = None) -> GoOn:
    decision = decide(standing, memory=memory)
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
    assert go_on(EMPTY) == GoOn(Offset(0), BatchSequence(0), LeaderEpoch(-1))


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


def test_a_source_that_starts_above_zero_is_aligned_with_filler() -> None:
    trimmed = EMPTY._replace(source_start=Offset(5))
    assert decide(trimmed, began=False) == Align(Offset(5), BatchSequence(0))
    assert stop_of(trimmed, began=True) == (StopKind.GAP_LOST, 0)


def test_filler_that_is_not_whole_is_continued_behind_its_last_sequence() -> None:
    unfinished = AT_50._replace(source_start=Offset(70), tail=EMPTY_TAIL._replace(filler_end=Offset(50)))
    listed = unfinished._replace(filler_sequence=49)
    assert decide(listed, began=False) == Align(Offset(70), BatchSequence(50))
    found = unfinished._replace(tail=unfinished.tail._replace(filler_sequence=BatchSequence(44)))
    assert decide(found, began=False, memory=remembered(50)) == Align(Offset(70), BatchSequence(44))


def test_a_source_that_was_trimmed_again_while_aligning_is_aligned_further() -> None:
    emptied = AT_50._replace(source_start=Offset(70), target_start=Offset(50), tail=EMPTY_TAIL)
    assert decide(emptied, began=False, aligning=True) == Align(Offset(70), BatchSequence(0))
    assert stop_of(emptied, began=False) == (StopKind.GAP_LOST, 50)


def test_filler_that_is_still_visible_is_trimmed_before_copying_begins() -> None:
    whole = AT_50._replace(source_start=Offset(50), tail=EMPTY_TAIL._replace(filler_end=Offset(50)))
    assert decide(whole, began=False) == Trim(Offset(50))


def test_filler_for_a_log_that_begins_earlier_now_needs_somebody_who_remembers() -> None:
    """The topic may be another one than the filler was made for: nothing of it was copied that could tell."""
    earlier = AT_50._replace(source_start=Offset(7), tail=EMPTY_TAIL._replace(filler_end=Offset(50)))
    assert stop_of(earlier, began=False) == (StopKind.STATE_LOST, 7)
    assert decide(earlier, memory=remembered(50), began=False) == Trim(Offset(50))
    assert decide(earlier, began=True) == Trim(Offset(50))


def test_an_aligned_partition_without_a_record_has_nothing_to_prove() -> None:
    aligned = AT_50._replace(source_start=Offset(50), target_start=Offset(50), last_sequence=None, tail=EMPTY_TAIL)
    assert decide(aligned, began=False) == GoOn(Offset(50), BatchSequence(0), UNKNOWN_EPOCH)


# ── other classes ─────────────────────────────────────────────────────────────────────────────────────────────────


def decide_mapped(standing: Standing, *runs: tuple[int, int], memory: Remembered | None = None) -> Decision:
    placed = standing._replace(place=locate([Run(Offset(s), Offset(t)) for s, t in runs], standing.target_end))
    return decide_standing(placed, OffsetClass.MAPPED, Offset(0), memory, began=False, aligning=False)


def test_an_empty_target_without_a_map_begins_at_the_sources_start() -> None:
    assert decide_mapped(EMPTY._replace(source_start=Offset(30))) == GoOn(Offset(30), BatchSequence(0), UNKNOWN_EPOCH)


def test_a_target_without_its_map_cannot_go_on() -> None:
    decision = decide_mapped(AT_50)
    assert isinstance(decision, Stop)
    assert decision.kind is StopKind.STATE_LOST


def test_the_map_tells_where_copying_goes_on() -> None:
    assert decide_mapped(AT_50, (20, 0)) == GoOn(Offset(70), BatchSequence(50), LeaderEpoch(4))


def test_behind_a_gap_no_epoch_is_known() -> None:
    assert decide_mapped(AT_50, (20, 0), (80, 50)) == GoOn(Offset(80), BatchSequence(50), UNKNOWN_EPOCH)


def test_a_source_that_was_trimmed_past_a_mapped_copy_lost_a_gap() -> None:
    decision = decide_mapped(AT_50._replace(source_start=Offset(75)), (20, 0))
    assert isinstance(decision, Stop)
    assert (decision.kind, decision.offset) == (StopKind.GAP_LOST, 70)
    assert "offsets 70 to 74 (5 offsets)" in decision.evidence


def test_a_difference_is_told_at_its_place_on_the_source() -> None:
    differs = AT_50._replace(tail=EQUAL._replace(differs_at=Offset(40)))
    decision = decide_mapped(differs, (20, 0), memory=remembered(50))
    assert isinstance(decision, Stop)
    assert (decision.kind, decision.offset) == (StopKind.SOURCE_TRUNCATED, 60)


def test_a_source_seen_at_zero_and_trimmed_before_the_first_append_is_a_lost_gap() -> None:
    assert stop_of(EMPTY._replace(source_start=Offset(5)), began=True) == (StopKind.GAP_LOST, 0)


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


def test_an_epoch_is_remembered_only_for_where_the_source_has_nothing_left() -> None:
    """Before a hole the last fetched epoch may have ended: the leader would report a divergence that there is not."""
    hole = AT_50._replace(tail=EQUAL._replace(source_epoch=LeaderEpoch(-1)))
    assert go_on(hole, memory=remembered(50)).epoch == -1


def test_a_window_of_markers_goes_on_where_the_topic_is_remembered() -> None:
    markers = AT_50._replace(tail=EMPTY_TAIL, last_sequence=None)
    assert go_on(markers, memory=remembered(50)) == GoOn(Offset(50), BatchSequence(0), LeaderEpoch(-1))
    assert stop_of(markers) == (StopKind.STATE_LOST, 50)


def test_a_target_log_that_starts_above_zero_goes_on_at_its_end() -> None:
    aligned = EMPTY._replace(source_start=Offset(30), target_start=Offset(30), target_end=Offset(30))
    assert go_on(aligned, memory=remembered(30)) == GoOn(Offset(30), BatchSequence(0), LeaderEpoch(3))


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────


def records(count: int, tag: bytes) -> list[Record]:
    return [Record(1_000 + n, None, tag + bytes([n])) for n in range(count)]


def stored(
    base: int,
    count: int,
    tag: bytes,
    *,
    epoch: int = 0,
    producer: int = 9,
    sequence: int = 0,
    attributes: int = 0,
) -> tuple[Header, memoryview]:
    batch = make_batch(
        records(count, tag),
        base_offset=base,
        leader_epoch=epoch,
        producer_id=producer,
        producer_epoch=0,
        base_sequence=sequence,
        attributes=attributes,
    )
    return parse_header(batch, 0), memoryview(batch)


def at(base: int, batch: bytes, epoch: int = 0) -> tuple[Header, memoryview]:
    lying = appended(batch, base, epoch)
    return parse_header(lying, 0), memoryview(lying)


SOURCE = [stored(0, 3, b"a", epoch=1), stored(3, 2, b"b", epoch=1), stored(5, 1, b"c", epoch=6)]
TARGET = [
    stored(0, 3, b"a", producer=OURS, sequence=10),
    stored(3, 2, b"b", producer=OURS, sequence=13),
    stored(5, 1, b"c", producer=OURS, sequence=15),
]
Batches = list[tuple[Header, memoryview]]


def bounds(source_start: int = 0, source_end: int = 90, target_start: int = 0, target_end: int = 6) -> Bounds:
    return Bounds(Offset(source_start), Offset(source_end), Offset(target_start), Offset(target_end))


def writers_of(target: Batches) -> Writers:
    writers = Writers(OURS, MARKERS)
    for header, _ in target:
        writers.add(header)
    return writers


def compare(source: Batches, target: Batches, within: Bounds | None = None, *, start: int = 0) -> Tail | None:
    return compare_batches(source, target, Offset(start), within or bounds(), 0, writers_of(target))


def test_equal_batches_tell_the_sources_epoch_before_the_end_and_our_next_sequence() -> None:
    assert compare(SOURCE, TARGET) == Tail(
        3, None, None, None, True, LeaderEpoch(6), BatchSequence(16), at_edge=True, last_base=Offset(5)
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_batch_that_holds_something_else_proves_nothing(place: int) -> None:
    base, count = [(0, 3), (3, 2), (5, 1)][place]
    changed = [*TARGET[:place], stored(base, count, b"x", producer=OURS), *TARGET[place + 1 :]]
    assert compare(SOURCE, changed) is None


def test_batches_that_were_cut_otherwise_prove_nothing() -> None:
    first = [stored(0, 1, b"a", producer=OURS), stored(1, 2, b"a", producer=OURS)]
    assert compare(SOURCE, [*first, *TARGET[1:]]) is None
    assert compare([*SOURCE[:2], stored(5, 2, b"c")], TARGET) is None


def test_a_target_batch_without_a_twin_proves_nothing() -> None:
    assert compare(SOURCE[1:], TARGET) is None
    assert compare(SOURCE[:2], TARGET) is None


@pytest.mark.parametrize("shown", [[], [0, 1], [1, 2], [0, 2]])
@pytest.mark.parametrize("source_start", [0, 6])
def test_offsets_that_the_target_does_not_show_prove_nothing(shown: list[int], source_start: int) -> None:
    assert compare(SOURCE, [TARGET[place] for place in shown], bounds(source_start=source_start)) is None


def test_only_the_offsets_from_the_start_on_must_be_shown() -> None:
    assert compare(SOURCE[1:], TARGET[1:], start=4) is not None


@pytest.mark.parametrize("attributes", [TRANSACTIONAL, LOG_APPEND_TIME])
def test_a_special_batch_of_the_source_proves_nothing_even_where_bytes_are_equal(attributes: int) -> None:
    kept = attributes & LOG_APPEND_TIME
    source = [*SOURCE[:2], stored(5, 1, b"c", attributes=attributes)]
    target = [*TARGET[:2], stored(5, 1, b"c", producer=OURS, attributes=kept)]
    assert compare(source, target) is None


def test_control_batches_on_either_side_prove_nothing() -> None:
    assert compare([*SOURCE[:2], at(5, marker(9))], [*TARGET[:2], at(5, marker(MARKERS))]) is None
    twins = [*SOURCE[:2], at(5, marker(9))], [*TARGET[:2], at(5, marker(9))]
    assert compare(*twins) is None
    plain_twin = marker(MARKERS)
    data = seal(plain_twin[61:], last_offset_delta=0, record_count=1)
    assert compare([*SOURCE[:2], at(5, data)], [*TARGET[:2], at(5, plain_twin)]) is None


def test_what_the_source_no_longer_holds_is_passed_over() -> None:
    tail = compare(SOURCE[1:], TARGET, bounds(source_start=3))
    assert tail is not None
    assert (tail.compared, tail.differs_at, tail.source_epoch) == (2, None, 6)


def test_a_batch_that_the_sources_log_start_cuts_is_passed_over() -> None:
    tail = compare(SOURCE[1:], TARGET, bounds(source_start=4))
    assert tail is not None
    assert (tail.compared, tail.differs_at) == (1, None)


def test_where_the_log_start_cuts_the_only_batch_nothing_is_proven() -> None:
    assert compare(SOURCE[:1], TARGET[:1], bounds(source_start=1, target_end=3)) is None


def test_where_no_offset_is_held_by_both_there_is_nothing_to_prove() -> None:
    expected = Tail(0, None, None, None, False, LeaderEpoch(-1), BatchSequence(16), last_base=Offset(5))
    assert compare([], TARGET, bounds(source_start=6)) == expected
    assert compare([], TARGET, bounds(source_end=0)) == expected


def test_another_producers_batch_is_seen_even_below_the_sources_log_start() -> None:
    mixed = [TARGET[0], stored(3, 2, b"b", producer=31), TARGET[2]]
    assert compare(SOURCE, mixed) is None
    tail = compare(SOURCE, mixed, bounds(source_start=6))
    assert tail is not None
    assert (tail.foreign_at, tail.foreign_by) == (3, 31)


# ── writers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_our_next_sequence_follows_our_last_batch_of_data_and_wraps() -> None:
    assert writers_of([*TARGET, at(6, marker(MARKERS)), at(7, marker(OURS))]).next_sequence == 16
    assert writers_of([stored(0, 3, b"a", producer=OURS, sequence=2**31 - 2)]).next_sequence == 1
    assert writers_of([at(6, marker(MARKERS))]).next_sequence is None


def test_the_first_of_several_foreign_batches_is_named() -> None:
    mixed = [TARGET[0], stored(3, 2, b"b", producer=31), stored(5, 1, b"c", producer=32)]
    assert writers_of(mixed).foreign == (3, 31)


@pytest.mark.parametrize("producer", [OURS, MARKERS])
def test_our_own_markers_are_not_foreign(producer: ProducerId) -> None:
    assert writers_of([at(6, marker(producer))]).foreign is None


def test_anybody_elses_marker_is_foreign() -> None:
    assert writers_of([*TARGET, at(6, marker(31))]).foreign == (6, 31)


def test_data_under_the_id_of_our_markers_is_foreign() -> None:
    assert writers_of([stored(3, 2, b"b", producer=MARKERS)]).foreign == (3, MARKERS)


# ── records ───────────────────────────────────────────────────────────────────────────────────────────────────────


def look(*batches: tuple[Header, memoryview], start: int = 0, end: int = 6, hidden: tuple[int, ...] = ()) -> Visible:
    """What is seen of these batches; those at the `hidden` base offsets were aborted."""
    seen = Visible(start, end)
    for header, view in batches:
        seen.add_batch(header, view, hidden=bool(header.attributes & 0x20) or header.base_offset in hidden)
    return seen


def held(source: Visible, target: Visible, *, start: int = 0, end: int = 6, target_end: int = 6) -> Tail:
    tail = compare_records(source, target, range(start, end), Offset(target_end), writers_of(TARGET))
    assert isinstance(tail, Tail), tail
    return tail


OURS_AS_ONE = at(
    0,
    make_batch(records(3, b"a") + records(2, b"b") + records(1, b"c"), codec=GZIP, producer_id=OURS, base_sequence=10),
)


def test_equal_records_are_equal_however_they_are_batched() -> None:
    assert held(look(*SOURCE), look(OURS_AS_ONE)) == Tail(
        6, None, None, None, True, LeaderEpoch(6), BatchSequence(16), 0, at_edge=True, last_base=Offset(5)
    )


def test_the_first_offset_that_holds_something_else_is_named() -> None:
    other = at(3, make_batch([records(2, b"b")[0], Record(1_001, None, b"?")], producer_id=OURS))
    tail = held(look(*SOURCE), look(TARGET[0], other, TARGET[2]))
    assert (tail.differs_at, tail.equal_before, tail.compared) == (4, True, 5)


def test_a_difference_at_the_first_offset_has_nothing_equal_before_it() -> None:
    tail = held(look(*SOURCE), look(stored(0, 3, b"x", producer=OURS), *TARGET[1:]))
    assert (tail.differs_at, tail.equal_before) == (0, False)


def test_a_marker_fills_what_no_consumer_of_the_source_sees() -> None:
    source = look(SOURCE[0], at(3, marker(9)), stored(4, 1, b"z"), SOURCE[2], hidden=(4,))
    target = look(TARGET[0], at(3, marker(MARKERS)), at(4, marker(MARKERS)), TARGET[2])
    tail = held(source, target)
    assert (tail.compared, tail.differs_at, tail.excused) == (4, None, 0)


def test_a_marker_fills_what_compaction_removed() -> None:
    target = look(TARGET[0], at(3, marker(MARKERS)), at(4, marker(MARKERS)), TARGET[2])
    assert held(look(SOURCE[0], SOURCE[2]), target).differs_at is None
    empty = at(3, with_holes({}, length=2))
    assert held(look(SOURCE[0], empty, SOURCE[2]), target).differs_at is None


def test_a_record_that_compaction_removed_since_is_excused() -> None:
    gone = held(look(SOURCE[0], SOURCE[2]), look(*TARGET))
    assert (gone.compared, gone.differs_at, gone.excused) == (4, None, 2)
    one_gone = at(3, with_holes({1: records(2, b"b")[1]}, length=2))
    inside = held(look(SOURCE[0], one_gone, SOURCE[2]), look(*TARGET))
    assert (inside.compared, inside.differs_at, inside.excused) == (5, None, 1)


def test_a_record_where_the_source_has_a_control_batch_differs() -> None:
    source = look(SOURCE[0], at(3, marker(9)), at(4, marker(9)), SOURCE[2])
    assert held(source, look(*TARGET)).differs_at == 3


def test_a_record_that_was_aborted_differs() -> None:
    assert held(look(*SOURCE, hidden=(3,)), look(*TARGET)).differs_at == 3


def test_a_record_that_only_the_source_has_differs() -> None:
    assert held(look(*SOURCE), look(TARGET[0], TARGET[2])).differs_at == 3


def test_our_marker_in_the_place_of_a_record_is_excused_only_where_something_behind_it_is_the_same() -> None:
    """Each replica cleans for itself: a new leader may show what was a gap. At the end it may be one too many."""
    markers = at(3, marker(MARKERS)), at(4, marker(MARKERS))
    inside = held(look(*SOURCE), look(TARGET[0], *markers, TARGET[2]))
    assert (inside.differs_at, inside.excused) == (None, 2)
    at_the_end = held(look(*SOURCE), look(TARGET[0], *markers), end=5, target_end=5)
    assert (at_the_end.differs_at, at_the_end.marked_at) == (None, 3)


def test_a_marker_at_the_end_that_was_not_acknowledged_there_is_one_too_many() -> None:
    marked = AT_50._replace(tail=EQUAL._replace(marked_at=Offset(48)))
    assert stop_of(marked, floor=48) == (StopKind.GAP_OVERSHOT, 48)
    assert isinstance(decide(marked, floor=50), GoOn), "the log ended there when the gap was filled"


def test_only_the_offsets_that_were_asked_for_are_compared() -> None:
    source, target = look(*SOURCE, start=3, end=5), look(stored(0, 3, b"x"), *TARGET[1:], start=3, end=5)
    assert held(source, target, start=3, end=5).compared == 2


def test_where_both_sides_hold_nothing_nothing_was_compared() -> None:
    markers = look(*(at(offset, marker(MARKERS)) for offset in range(6)))
    tail = held(look(), markers)
    assert (tail.compared, tail.equal_before, tail.differs_at, tail.source_epoch) == (0, False, None, -1)


def test_the_writers_are_told_with_the_records() -> None:
    target = [TARGET[0], stored(3, 2, b"b", producer=31, sequence=4), TARGET[2]]
    tail = compare_records(look(*SOURCE), look(*target), range(6), Offset(6), writers_of(target))
    assert isinstance(tail, Tail)
    assert (tail.foreign_at, tail.foreign_by, tail.next_sequence) == (3, 31, 16)


# ── the epoch before the end ──────────────────────────────────────────────────────────────────────────────────────


def test_the_epoch_is_that_of_the_batch_before_the_end_visible_or_not() -> None:
    control = at(6, marker(9), epoch=8)
    seen = look(*SOURCE, control, end=7)
    ours = look(*TARGET, at(6, marker(MARKERS)), end=7)
    assert held(seen, ours, end=7, target_end=7).source_epoch == 8


def test_before_a_hole_no_epoch_is_told() -> None:
    ours = look(*TARGET, at(6, marker(MARKERS)), end=7)
    assert held(look(*SOURCE, end=7), ours, end=7, target_end=7).source_epoch == -1


def test_an_emptied_batch_that_reaches_up_to_the_end_leaves_no_hole() -> None:
    ours = look(*TARGET, at(6, marker(MARKERS)), end=7)
    emptied = at(6, with_holes({}, length=1), epoch=8)
    assert held(look(*SOURCE, emptied, end=7), ours, end=7, target_end=7).source_epoch == 8


def test_a_batch_that_reaches_beyond_the_end_holds_the_record_before_it() -> None:
    longer = stored(5, 3, b"c", epoch=7)
    tail = held(look(*SOURCE[:2], longer), look(*TARGET))
    assert (tail.source_epoch, tail.at_edge) == (7, False)


def test_where_nothing_can_be_compared_no_edge_is_known() -> None:
    """The source's log may begin inside a batch."""
    assert not held(look(start=6), look(start=6), start=6).at_edge


# ── what cannot be read ───────────────────────────────────────────────────────────────────────────────────────────


def unreadable(content: bytes, producer: int) -> tuple[Header, memoryview]:
    fields = {"attributes": GZIP, "last_offset_delta": 1, "record_count": 2, "producer_id": producer}
    return at(3, seal(content, **fields))


def test_batches_that_cannot_be_read_are_equal_if_they_are_the_same_bytes() -> None:
    source = look(SOURCE[0], unreadable(b"?", 9), SOURCE[2])
    assert held(source, look(TARGET[0], unreadable(b"?", OURS), TARGET[2])).compared == 6


def test_what_cannot_be_read_is_neither_equal_nor_different() -> None:
    strange = [look(SOURCE[0], unreadable(b"?", 9), SOURCE[2]), look(TARGET[0], unreadable(b"!", OURS), TARGET[2])]
    for source, target in [(strange[0], look(*TARGET)), (look(*SOURCE), strange[1]), strange]:
        assert compare_records(source, target, range(6), Offset(6), writers_of(TARGET)) == Unreadable(Offset(3))


def test_a_difference_before_what_cannot_be_read_is_told() -> None:
    source = look(stored(0, 3, b"x"), unreadable(b"?", 9), SOURCE[2])
    assert held(source, look(*TARGET)).differs_at == 0


def test_filler_is_not_held_against_what_a_source_shows_again() -> None:
    """A crash of an unreplicated source can bring back what it had deleted below its log start."""
    writers = writers_of(TARGET)
    writers.filler = Offset(3), BatchSequence(3)
    tail = compare_records(look(*SOURCE), look(stored(0, 3, b"filler"), *TARGET[1:]), range(6), Offset(6), writers)
    assert isinstance(tail, Tail)
    assert (tail.compared, tail.differs_at) == (3, None)
