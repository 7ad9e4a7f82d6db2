"""An offset of one side is found on the other, and is told for what it is; a list of all records is the witness."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Cut, Ends, OffsetMap, Run
from kmigrate.offsets.translation import Place, Stretch, Translated, list_stretches, translate

ENDS = Ends(Offset(50), Offset(30))


def mapped(*runs: tuple[int, int]) -> OffsetMap:
    found = OffsetMap()
    for source, target in runs:
        found.add(Run(Offset(source), Offset(target)))
    return found


def from_source(
    runs: OffsetMap,
    offset: int,
    *,
    ends: Ends = ENDS,
    log_start: int | None = None,
    to: OffsetClass = OffsetClass.MAPPED,
) -> Translated | None:
    return translate(runs, to, ends, Offset(offset), Side.SOURCE, None if log_start is None else Offset(log_start))


def from_target(
    runs: OffsetMap, offset: int, *, ends: Ends = ENDS, to: OffsetClass = OffsetClass.MAPPED
) -> Translated | None:
    return translate(runs, to, ends, Offset(offset), Side.TARGET, None)


class Copy:
    """What a copier does, in a map and in a list of where every record went."""

    def __init__(self, log_start: int) -> None:
        self.runs = OffsetMap()
        self.places: dict[int, int] = {}
        self.log_start = self.source = log_start
        self.target = 0

    def skip_and_copy(self, gap: int, records: int) -> None:
        self.source += gap
        self.runs.note(Run(Offset(self.source), Offset(self.target)))
        for _ in range(records):
            self.places[self.source] = self.target
            self.source, self.target = self.source + 1, self.target + 1

    def drop_after(self, records: int) -> None:
        """The last records were never sent: they will be read again, if they are still there."""
        dropped = sorted(self.places)[len(self.places) - records :]
        if dropped:
            self.source, self.target = dropped[0], self.places[dropped[0]]
            self.runs.note(Cut(Offset(self.source)))
            for each in dropped:
                del self.places[each]

    @property
    def ends(self) -> Ends:
        return Ends(Offset(self.source), Offset(self.target))


COPIES = st.tuples(
    st.integers(0, 20),
    st.lists(
        st.one_of(
            st.tuples(st.just("copy"), st.integers(0, 5), st.integers(0, 6)),
            st.tuples(st.just("drop"), st.integers(0, 12), st.just(0)),
        ),
        min_size=1,
        max_size=30,
    ),
)


def play(drawn: tuple[int, list[tuple[str, int, int]]]) -> Copy:
    log_start, steps = drawn
    copy = Copy(log_start)
    for what, first, second in steps:
        if what == "copy":
            copy.skip_and_copy(first, second)
        else:
            copy.drop_after(min(first, len(copy.places)))
    return copy


@given(COPIES)
def test_a_map_of_any_runs_and_cuts_is_its_own_inverse_on_records(
    drawn: tuple[int, list[tuple[str, int, int]]],
) -> None:
    copy = play(drawn)
    for source, target in copy.places.items():
        found = Translated(Offset(source), Offset(target), Place.RECORD)
        assert from_source(copy.runs, source, ends=copy.ends) == found
        assert from_target(copy.runs, target, ends=copy.ends) == found


@given(COPIES)
def test_an_offset_in_a_gap_goes_to_the_next_record_and_never_backwards(
    drawn: tuple[int, list[tuple[str, int, int]]],
) -> None:
    copy = play(drawn)
    records, last = sorted(copy.places), -1
    for offset in range(copy.log_start, copy.source):
        found = from_source(copy.runs, offset, ends=copy.ends, log_start=copy.log_start)
        assert found is not None
        following = records[bisect_left(records, offset) :]
        assert found.target == (copy.places[following[0]] if following else copy.target)
        assert found.place is (Place.RECORD if offset in copy.places else Place.GAP)
        assert found.target >= last
        last = found.target


@given(COPIES)
def test_the_stretches_hold_every_record_once(drawn: tuple[int, list[tuple[str, int, int]]]) -> None:
    copy = play(drawn)
    listed = [
        (stretch.source + step, stretch.target + step)
        for stretch in list_stretches(copy.runs, copy.ends)
        for step in range(stretch.length)
    ]
    assert listed == sorted(copy.places.items())


def test_the_end_stands_for_the_end_and_nothing_lies_beyond() -> None:
    runs = mapped((0, 0), (20, 10))
    assert from_source(runs, 50) == from_target(runs, 30) == Translated(Offset(50), Offset(30), Place.END)
    assert from_source(runs, 51) is None
    assert from_target(runs, 31) is None
    assert from_source(OffsetMap(), 0) is None


def test_from_the_log_start_to_the_first_record_there_is_a_gap_and_below_it_nothing() -> None:
    runs = mapped((20, 0))
    assert from_source(runs, 12, log_start=12) == Translated(Offset(12), Offset(0), Place.GAP)
    assert from_source(runs, 11, log_start=12) is None
    assert from_source(runs, 12) is None, "nobody knows whether there was a record"
    only_a_gap = Ends(Offset(15), Offset(0))
    assert from_source(runs, 13, ends=only_a_gap, log_start=12) == Translated(Offset(13), Offset(0), Place.GAP)


def test_runs_that_were_written_ahead_do_not_count() -> None:
    runs = mapped((0, 0), (100, 40), (200, 50))
    assert from_source(runs, 35) == Translated(Offset(35), Offset(30), Place.GAP), "the end of the target is at 30"
    assert list(list_stretches(runs, ENDS)) == [Stretch(Offset(0), Offset(0), 30)]
    assert list(list_stretches(OffsetMap(), ENDS)) == []


@pytest.mark.parametrize("side", Side)
def test_where_markers_fill_gaps_nobody_can_tell_a_record(side: Side) -> None:
    ends = Ends(Offset(50), Offset(50))
    for offset, place in ((7, None), (50, Place.END)):
        found = translate(OffsetMap(), OffsetClass.IDENTICAL, ends, Offset(offset), side, None)
        assert found == Translated(Offset(offset), Offset(offset), place)
    assert translate(OffsetMap(), OffsetClass.IDENTICAL, ends, Offset(51), side, None) is None


def test_a_shifted_partition_is_one_run() -> None:
    runs, ends = mapped((1000, 0)), Ends(Offset(1030), Offset(30))
    there = Translated(Offset(1007), Offset(7), None)
    assert from_source(runs, 1007, ends=ends, to=OffsetClass.SHIFTED) == there
    assert from_target(runs, 7, ends=ends, to=OffsetClass.SHIFTED) == there
    assert from_source(runs, 1030, ends=ends, to=OffsetClass.SHIFTED) == Translated(*ends, Place.END)
    assert from_source(runs, 999, ends=ends, to=OffsetClass.SHIFTED) is None
