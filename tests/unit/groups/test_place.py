"""Where a commit of the source lies on the target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.groups.place import BELOW, NOWHERE, Placed, decide_place
from kmigrate.groups.values import Copied, Outcome, OutcomeKind
from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.offsets.translation import translate


def copied(
    offset_class: OffsetClass, source: int, target: int, *, start: int = 0, end: int | None = None, hold: str = ""
) -> Copied:
    ends = Ends(Offset(source), Offset(target))
    return Copied(offset_class, ends, Offset(start), Offset(source if end is None else end), hold)


def place(offset: int, known: Copied, runs: list[tuple[int, int]] = []) -> Placed | Outcome:  # noqa: B006
    """The decision with a real offset map of these runs."""
    kept = OffsetMap()
    for source, target in runs:
        kept.add(Run(Offset(source), Offset(target)))

    def to_target(at: Offset) -> Offset | None:
        found = translate(kept, known.offset_class, known.ends, at, Side.SOURCE, known.source_start)
        return None if found is None else found.target

    return decide_place(Offset(offset), known, to_target)


IDENTICAL = copied(OffsetClass.IDENTICAL, 100, 100, start=20, end=150)


@pytest.mark.parametrize("offset", [20, 55, 100])
def test_identical_offsets_stay_as_they_are(offset: int) -> None:
    assert place(offset, IDENTICAL) == Placed(Offset(offset))


@pytest.mark.parametrize("offset", [0, 19])
def test_an_expired_offset_stays_as_it_is_where_offsets_are_identical(offset: int) -> None:
    assert place(offset, IDENTICAL) == Placed(Offset(offset), BELOW)


def test_nothing_is_committed_past_what_is_copied() -> None:
    for offset_class in OffsetClass:
        known = copied(offset_class, 100, 100, end=150)
        assert place(101, known, [(0, 0)]) == Outcome(
            OutcomeKind.WAITING, "waiting for the copy: 101 is committed, 100 is copied"
        )


def test_a_commit_beyond_the_sources_end_waits_and_says_so() -> None:
    found = place(101, copied(OffsetClass.IDENTICAL, 100, 100, end=100))
    assert found == Outcome(OutcomeKind.WAITING, "beyond the source's end: 101 is committed, 100 can be read")


def test_nothing_is_told_of_a_partition_on_hold() -> None:
    assert place(5, copied(OffsetClass.IDENTICAL, 100, 100, hold="it stopped")) == Outcome(
        OutcomeKind.WAITING, "it stopped"
    )


SHIFTED = copied(OffsetClass.SHIFTED, 100, 60, start=40)


@pytest.mark.parametrize(("offset", "expected"), [(40, 0), (41, 1), (99, 59), (100, 60)])
def test_a_shifted_offset_keeps_its_distance(offset: int, expected: int) -> None:
    assert place(offset, SHIFTED, [(40, 0)]) == Placed(Offset(expected))


def test_no_offset_lies_below_a_target_that_begins_at_0() -> None:
    assert place(39, SHIFTED, [(40, 0)]) == Placed(NOWHERE, f"39 is {BELOW}")


def test_an_expired_shifted_offset_is_below_the_targets_log_start_too() -> None:
    trimmed = copied(OffsetClass.SHIFTED, 100, 60, start=70)
    assert place(50, trimmed, [(40, 0)]) == Placed(Offset(10), BELOW)
    assert place(69, trimmed, [(40, 0)]) == Placed(Offset(29), BELOW)
    assert place(10, trimmed, [(40, 0)]) == Placed(Offset(29), BELOW)


MAPPED_RUNS = [(10, 0), (30, 5), (50, 15)]
"""Records 10-14, 30-39 and 50-59 lie at 0-4, 5-14 and 15-24; a gap follows up to 100."""
MAPPED = copied(OffsetClass.MAPPED, 100, 25)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(0, 0), (10, 0), (14, 4), (15, 5), (29, 5), (30, 5), (45, 15), (59, 24), (60, 25), (99, 25), (100, 25)],
)
def test_a_mapped_offset_in_a_gap_stands_for_the_next_record(offset: int, expected: int) -> None:
    assert place(offset, MAPPED, MAPPED_RUNS) == Placed(Offset(expected))


def test_an_expired_mapped_offset_is_below_the_targets_log_start_even_where_only_a_gap_expired() -> None:
    trimmed = MAPPED._replace(source_start=Offset(20))  # the records from 30 on are still there
    assert place(14, trimmed, MAPPED_RUNS) == Placed(Offset(4), BELOW)
    assert place(15, trimmed, MAPPED_RUNS) == Placed(Offset(4), BELOW)
    assert place(20, trimmed, MAPPED_RUNS) == Placed(Offset(5))


def test_an_empty_partition_has_a_place_before_anything_is_copied() -> None:
    assert place(700, copied(OffsetClass.MAPPED, 700, 0, start=700)) == Placed(Offset(0))
    assert place(0, copied(OffsetClass.IDENTICAL, 0, 0)) == Placed(Offset(0))
    assert place(3, copied(OffsetClass.MAPPED, 5, 0)) == Placed(Offset(0)), "five offsets of a gap"


def test_a_map_that_does_not_tell_is_waited_for() -> None:
    found = place(3, copied(OffsetClass.MAPPED, 100, 25))
    assert found == Outcome(OutcomeKind.WAITING, "its offset map does not tell where it lies")


@given(st.data())
def test_whoever_reads_on_reads_the_same_record_next(data: st.DataObject) -> None:
    """A log of records and gaps, mapped without its gaps: the next record is the same from every offset."""
    begins = data.draw(st.integers(0, 5))
    kept = data.draw(st.lists(st.booleans(), max_size=30))
    records = [begins + at for at, is_record in enumerate(kept) if is_record]
    runs: list[tuple[int, int]] = []
    for target, source in enumerate(records):
        if not runs or source - target != runs[-1][0] - runs[-1][1]:
            runs.append((source, target))
    source_end, target_end = begins + len(kept), len(records)
    start = data.draw(st.integers(begins, source_end))
    known = copied(OffsetClass.MAPPED, source_end, target_end, start=start)
    target_start = sum(record < start for record in records)
    for offset in range(source_end + 1):
        found = place(offset, known, runs)
        assert isinstance(found, Placed)
        if offset >= start:
            assert records[found.offset :] == [record for record in records if record >= offset]
        else:
            assert found.offset < target_start
            assert found.offset != NOWHERE or target_start == 0
