"""A target that is ours only from some offset on: the way back, where the target is the older of the two logs."""

from __future__ import annotations

import pytest

from kmigrate.copy.copier import Copier, Phase
from kmigrate.copy.course import IDENTITY, locate
from kmigrate.copy.identity import marker_producer_id
from kmigrate.copy.inquiry import Inquiry, Question
from kmigrate.copy.orders import PartitionOrder, Remembered
from kmigrate.copy.pieces import Room
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.standing import (
    EMPTY_TAIL,
    Decision,
    GoOn,
    Quiet,
    Standing,
    Tail,
    Writers,
    compare_batches,
    compare_records,
    decide_standing,
)
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, ProducerId, TopicId
from kmigrate.kafka_types import Sequence as BatchSequence
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Run
from kmigrate.records.batch import LOG_APPEND_TIME, TRANSACTIONAL
from kmigrate.records.visible import Visible
from kmigrate.wire.fetch import FetchedPartition
from tests.simulation.batches import Record, make_batch
from tests.simulation.committed import compact, marker
from tests.simulation.log import DAY_MS
from tests.unit.copy.test_inquiry import NOW_MS, SOURCE_ID, TARGET_ID, TP, Bare, Link, transactions
from tests.unit.copy.test_standing import AT_50, EMPTY, EQUAL, at, bounds, look, remembered, stored

BACK = ProducerId(2**62 + 77)
BACK_MARKERS = marker_producer_id(BACK)
F = Offset(50)
"""Where the target begins to be ours."""


# ── what follows from a standing ──────────────────────────────────────────────────────────────────────────────────


def decide(
    standing: Standing, *, own_from: int = F, memory: Remembered | None = None, floor: int = F, began: bool = False
) -> Decision:
    placed = standing._replace(place=locate(IDENTITY, standing.target_end))
    return decide_standing(
        placed,
        OffsetClass.IDENTICAL,
        Offset(floor),
        memory,
        began=began,
        aligning=False,
        own_from=Offset(own_from),
    )


def stop_of(standing: Standing, *, own_from: int = F, memory: Remembered | None = None) -> tuple[StopKind, int]:
    decision = decide(standing, own_from=own_from, memory=memory)
    assert isinstance(decision, Stop), decision
    return decision.kind, decision.offset


def test_where_nothing_is_ours_yet_copying_begins_at_the_end() -> None:
    fresh = AT_50._replace(last_sequence=None, tail=EQUAL._replace(next_sequence=None))
    assert decide(fresh, memory=remembered(F)) == GoOn(F, BatchSequence(0), LeaderEpoch(4))


def test_with_nothing_to_compare_and_nothing_remembered_nothing_is_to_be_proven() -> None:
    bare = AT_50._replace(source_start=F, tail=EMPTY_TAIL, last_sequence=None)
    assert isinstance(decide(bare), GoOn)
    further = bare._replace(target_end=Offset(60), source_start=Offset(60))
    assert stop_of(further) == (StopKind.STATE_LOST, 60), "what is ours must be"


def test_a_target_that_ends_below_has_lost_what_both_logs_held() -> None:
    assert stop_of(AT_50, own_from=51, memory=remembered(51)) == (StopKind.TARGET_LOST, 50)


def test_what_the_source_dropped_is_lost_also_where_the_target_is_empty() -> None:
    """No filler takes its place: it was wanted."""
    decision = decide(EMPTY._replace(source_start=Offset(5)), own_from=0, floor=0)
    assert isinstance(decision, Stop)
    assert (decision.kind, decision.offset) == (StopKind.GAP_LOST, 0)


def test_a_difference_below_is_told_where_it_is_whatever_is_remembered() -> None:
    differs = AT_50._replace(tail=EQUAL._replace(differs_at=Offset(40), equal_before=False))
    for memory in (None, remembered(F)):
        decision = decide(differs, memory=memory)
        assert isinstance(decision, Stop)
        assert (decision.kind, decision.offset) == (StopKind.SOURCE_TRUNCATED, 40)
        assert "the same up to 50" in decision.evidence


def test_a_difference_above_is_what_it_is_elsewhere() -> None:
    ours = AT_50._replace(target_end=Offset(60), tail=EQUAL._replace(differs_at=Offset(55), equal_before=True))
    decision = decide(ours, memory=remembered(60))
    assert isinstance(decision, Stop)
    assert "than those that were copied" in decision.evidence


def test_filler_of_an_earlier_life_at_the_end_is_not_deleted() -> None:
    old = AT_50._replace(tail=EMPTY_TAIL._replace(filler_end=F), source_start=F, last_sequence=None)
    assert isinstance(decide(old, memory=remembered(F)), GoOn)


def test_without_its_map_an_empty_target_does_not_begin_anywhere() -> None:
    decision = decide_standing(
        EMPTY, OffsetClass.MAPPED, Offset(0), None, began=False, aligning=False, own_from=Offset(0)
    )
    assert isinstance(decision, Stop)
    assert decision.kind is StopKind.STATE_LOST


# ── who wrote what ────────────────────────────────────────────────────────────────────────────────────────────────


def writers(own_from: int, *producers: int) -> Writers:
    """Batches of one record each, by these producers."""
    found = Writers(BACK, BACK_MARKERS, own_from)
    for base, producer in enumerate(producers):
        found.add(stored(base, 1, b"a", producer=producer, sequence=base)[0])
    return found


def test_what_others_wrote_below_is_not_foreign_and_the_first_of_it_above_is() -> None:
    assert writers(3, 7, -1, 8, BACK).foreign is None
    assert writers(3, 7, -1, 8, BACK, 9, 8).foreign == (4, 9)
    assert writers(3, 7, -1, 8, 9).foreign == (3, 9)


def test_messages_of_an_old_format_are_foreign_only_above() -> None:
    found = Writers(BACK, BACK_MARKERS, 3)
    found.add_foreign(Offset(2), ProducerId(-1))
    assert found.foreign is None
    found.add_foreign(Offset(3), ProducerId(-1))
    assert found.foreign == (3, -1)


def test_what_we_wrote_below_in_an_earlier_life_tells_our_sequence() -> None:
    assert writers(3, 7, BACK, 8).next_sequence == 2


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("attributes", [TRANSACTIONAL, LOG_APPEND_TIME])
def test_a_special_batch_of_the_target_proves_nothing_even_where_bytes_are_equal(attributes: int) -> None:
    """An aborted record that lies on the source in plain sight holds the same bytes."""
    source = [stored(0, 3, b"a"), stored(3, 3, b"b", attributes=attributes & LOG_APPEND_TIME)]
    target = [stored(0, 3, b"a", producer=7), stored(3, 3, b"b", producer=7, attributes=attributes)]
    assert compare_batches(source, target, Offset(0), bounds(), 0, writers(6)) is None


def test_plain_batches_of_others_are_held_against_each_other_undecoded() -> None:
    source, target = [stored(0, 6, b"a", epoch=3)], [stored(0, 6, b"a", producer=7)]
    tail = compare_batches(source, target, Offset(0), bounds(), 0, writers(6))
    assert tail is not None
    assert (tail.compared, tail.differs_at, tail.source_epoch) == (1, None, 3)


# ── records: below, the rules count the other way round ───────────────────────────────────────────────────────────


def held(source: Visible, target: Visible, *, own_from: int = 6, end: int = 6) -> Tail:
    tail = compare_records(source, target, range(end), Offset(end), writers(own_from), own_from)
    assert isinstance(tail, Tail), tail
    return tail


A, B, C = stored(0, 3, b"a"), stored(3, 2, b"b"), stored(5, 1, b"c")
FILLED = at(3, marker(9)), at(4, marker(9))
"""What the forward copy put where the target had a gap."""


def test_gaps_of_the_target_lie_as_markers_on_the_source() -> None:
    assert held(look(A, *FILLED, C), look(A, *FILLED, C)).differs_at is None
    aborted = look(A, B, C, hidden=(3,))
    assert held(look(A, *FILLED, C), aborted).differs_at is None
    assert held(look(A, *FILLED, C), look(A, C)).differs_at is None, "compacted"


def test_a_record_that_only_the_source_shows_differs_where_the_target_hides_one() -> None:
    assert held(look(A, B, C), look(A, *FILLED, C)).differs_at == 3
    assert held(look(A, B, C), look(A, B, C, hidden=(3,))).differs_at == 3


def test_compaction_excuses_on_both_sides() -> None:
    on_target = held(look(A, B, C), look(A, C))
    assert (on_target.differs_at, on_target.excused) == (None, 2)
    on_source = held(look(A, C), look(A, B, C))
    assert (on_source.differs_at, on_source.excused) == (None, 2)


def test_a_record_that_a_new_leader_of_the_target_shows_again_is_excused_where_something_behind_it_is_the_same() -> (
    None
):
    inside = held(look(A, *FILLED, C), look(A, B, C))
    assert (inside.differs_at, inside.excused) == (None, 2)
    at_the_end = held(look(A, *FILLED, end=5), look(A, B, end=5), own_from=5, end=5)
    assert (at_the_end.differs_at, at_the_end.marked_at) == (3, None), "nothing of ours could be one too many"


def test_above_a_record_that_only_the_source_has_differs() -> None:
    assert held(look(A, B, C), look(A, C), own_from=3).differs_at == 3


def test_above_our_marker_at_the_end_may_be_one_too_many() -> None:
    tail = held(look(A, B, end=5), look(A, *FILLED, end=5), own_from=3, end=5)
    assert (tail.differs_at, tail.marked_at) == (None, 3)


# ── asked from brokers ────────────────────────────────────────────────────────────────────────────────────────────


class Turned:
    """A copied pair of logs, turned round: what was the source is the target now, and ends where both do."""

    def __init__(self, forward: Bare, *runs: tuple[int, int]) -> None:
        self.runs = tuple(Run(Offset(source), Offset(target)) for source, target in runs) or IDENTITY
        self.source, self.target = forward.target, forward.source
        self.source_link, self.target_link = Link({TP: self.source}), Link({TP: self.target})
        self.target_link.aborted = forward.source_link.aborted
        self.own_from = self.target.end
        self.inquiry = Inquiry(forward.clock, BACK, DAY_MS // 2)  # type: ignore[arg-type]

    def standing(self) -> Standing:
        question = Question(
            partition=TP,
            source_topic_id=TopicId(TARGET_ID),
            target_topic_id=TopicId(SOURCE_ID),
            source_epoch=LeaderEpoch(self.source.leader_epoch),
            target_epoch=LeaderEpoch(self.target.leader_epoch),
            quiet=Quiet.NEEDLESS,
            runs=self.runs,
            own_from=Offset(self.own_from),
        )
        for _ in range(4):
            finding = self.inquiry.ask(self.source_link, self.target_link, [question])[TP]
            if isinstance(finding, Standing):
                return finding
        pytest.fail(f"never clear: {finding}")

    def decide(self) -> Decision:
        memory = Remembered(TopicId(TARGET_ID), TopicId(SOURCE_ID), LeaderEpoch(-1), Offset(self.own_from))
        return decide_standing(
            self.standing(),
            OffsetClass.IDENTICAL,
            Offset(self.own_from),
            memory,
            began=False,
            aligning=False,
            own_from=Offset(self.own_from),
        )

    def stop(self) -> tuple[StopKind, int]:
        decision = self.decide()
        assert isinstance(decision, Stop), decision
        return decision.kind, decision.offset


def copied_transactions() -> Bare:
    pair = transactions()
    pair.copied(0, 1)
    pair.filled(2)
    pair.copied(4)
    pair.filled(2)
    pair.copied(7)
    return pair


def test_a_target_with_transactions_agrees_with_what_was_copied_from_it() -> None:
    turned = Turned(copied_transactions())
    decision = turned.decide()
    assert isinstance(decision, GoOn)
    assert (decision.offset, decision.sequence) == (8, 0)
    assert turned.target_link.isolation == [0, 1], "its aborted records are told by the second look alone"


def test_what_is_ours_lies_behind_it_and_goes_on_where_it_ends() -> None:
    turned = Turned(copied_transactions())
    for number in range(3):
        records = [Record(NOW_MS, b"k", bytes([number]))]
        turned.source.write(make_batch(records, producer_id=4, base_sequence=number))
        if number < 2:
            ours = make_batch(records, producer_id=BACK, producer_epoch=0, base_sequence=number)
            turned.target.append(ours, NOW_MS)
    decision = turned.decide()
    assert isinstance(decision, GoOn)
    assert (decision.offset, decision.sequence) == (10, 2)
    assert turned.target_link.isolation == [0, 1, 0]


def test_a_compacted_target_agrees_with_what_was_copied_from_it() -> None:
    pair = Bare()
    for number in range(9):
        pair.wrote(number)
        pair.copied(number)
    turned = Turned(pair)
    compact(turned.target, 2, 5)
    decision = turned.decide()
    assert isinstance(decision, GoOn)
    assert decision.offset == 9


def test_a_late_record_is_a_foreign_write_at_its_offset_however_many_there_are() -> None:
    turned = Turned(copied_transactions())
    for _ in range(200):
        turned.target.write(make_batch([Record(NOW_MS, None, b"late")], producer_id=-1))
    assert turned.stop() == (StopKind.FOREIGN_WRITE, 8)


def test_a_late_marker_of_a_transaction_is_a_foreign_write() -> None:
    turned = Turned(copied_transactions())
    turned.target.write(marker(7))
    assert turned.stop() == (StopKind.FOREIGN_WRITE, 8)


def test_histories_that_differ_below_stop() -> None:
    pair = transactions()
    pair.copied(0, 1)
    pair.filled()
    pair.copied(3)  # aborted on the log that it came from
    pair.copied(4)
    pair.filled(2)
    pair.copied(7)
    assert Turned(pair).stop() == (StopKind.SOURCE_TRUNCATED, 3)


@pytest.mark.parametrize("written", [0, 1, 3])
def test_behind_a_gap_that_was_left_out_the_next_records_are_none_of_those_before_it(written: int) -> None:
    """They have the offsets that the gap would have under the difference of the records before it."""
    pair = Bare()
    pair.wrote(0, 1, producer_id=7, attributes=TRANSACTIONAL)
    pair.ended(7, 0, commit=True)
    pair.ended(7, 3, commit=True)
    pair.copied(0, 1)
    turned = Turned(pair, (0, 0), (2, 4))
    for number in range(written):
        turned.source.write(make_batch([Record(NOW_MS, b"k", bytes([number]))], producer_id=4, base_sequence=number))
    decision = turned.decide()
    assert isinstance(decision, GoOn)
    assert decision.offset == 2
    assert turned.standing().tail.compared == 2


# ── the copier ────────────────────────────────────────────────────────────────────────────────────────────────────


ORDER = PartitionOrder(
    partition=TP,
    source_topic_id=TopicId("a" * 32),
    source_epoch=LeaderEpoch(2),
    target_topic_id=TopicId("b" * 32),
    target_epoch=LeaderEpoch(5),
    remembered=remembered(F),
    fresh=True,
    revision=0,
    own_from=F,
)


def progress(copier: Copier) -> PartitionProgress:
    return copier.progress(paused=False, hindrance="")


def test_the_log_start_of_a_target_that_is_not_all_ours_is_never_moved() -> None:
    copier = Copier(ORDER, BACK, DAY_MS // 2, Room(1 << 20))
    assert copier.wants_standing()
    trimmed = AT_50._replace(source_start=Offset(40), source_end=F, source_stable=F, place=locate(IDENTITY, F))
    copier.on_standing(trimmed)
    assert copier.phase is Phase.COPYING
    assert progress(copier).state is PartitionState.IN_SYNC, "what the target shows more holds nothing up"
    fetched = FetchedPartition(b"", 0, 0, F, F, F, None, 0, 0)
    copier.on_fetched(fetched, F, memoryview(b""), NOW_MS)
    assert not copier.wants_trim(1e9)
    assert progress(copier).stop is None


def test_a_copier_tells_where_it_stands_once_that_is_proven() -> None:
    copier = Copier(ORDER, BACK, DAY_MS // 2, Room(1 << 20))
    assert progress(copier).position == -1
    assert copier.wants_standing()
    foreign = AT_50._replace(
        target_end=Offset(51),
        tail=EQUAL._replace(foreign_at=F, foreign_by=ProducerId(7)),
        place=locate(IDENTITY, Offset(51)),
    )
    copier.on_standing(foreign)
    stop = progress(copier).stop
    assert stop is not None
    assert (stop.kind, stop.offset) == (StopKind.FOREIGN_WRITE, F)
