"""The offset map is its own inverse, whatever the source lost; a list of all records is the witness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.kafka_types import Offset
from kmigrate.offsets.offset_map import Cut, Ends, OffsetMap, Run

STRETCHES = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=1, max_size=30)
"""(offsets without a record, records after them)"""


def again(kept: bytes) -> OffsetMap:
    found = OffsetMap()
    found.extend(kept)
    return found


def build(stretches: list[tuple[int, int]], source: int, target: int) -> tuple[OffsetMap, dict[int, int], Ends]:
    """The map, where each record went, and the ends; the last gap is at the end."""
    found, places = OffsetMap(), {}
    for gap, records in stretches:
        source += gap
        found.add(Run(Offset(source), Offset(target)))
        for _ in range(records):
            places[source] = target
            source, target = source + 1, target + 1
    return found, places, Ends(Offset(source + stretches[0][0]), Offset(target))


@given(STRETCHES, st.integers(0, 50), st.integers(0, 50))
def test_every_record_is_found_on_both_sides(stretches: list[tuple[int, int]], source: int, target: int) -> None:
    found, places, ends = build(stretches, source, target)
    for there, here in places.items():
        assert found.to_target(Offset(there), ends) == here
        assert found.to_source(Offset(here), ends) == there


@given(STRETCHES, st.integers(0, 50), st.integers(0, 50))
def test_a_gap_stands_for_the_next_record_and_the_end_for_the_end(
    stretches: list[tuple[int, int]], source: int, target: int
) -> None:
    found, places, ends = build(stretches, source, target)
    for offset in range(min(places), ends.source + 1):
        after = [place for there, place in places.items() if there >= offset]
        assert found.to_target(Offset(offset), ends) == (min(after) if after else ends.target)
    assert found.to_source(ends.target, ends) == ends.source
    assert found.to_target(ends.source, ends) == ends.target


@given(STRETCHES, st.integers(1, 50), st.integers(1, 50))
def test_what_is_not_copied_translates_to_nothing(stretches: list[tuple[int, int]], source: int, target: int) -> None:
    found, places, ends = build(stretches, source, target)
    assert found.to_target(Offset(ends.source + 1), ends) is None
    assert found.to_source(Offset(ends.target + 1), ends) is None
    assert found.to_target(Offset(min(places) - 1), ends) is None
    assert found.to_source(Offset(min(places.values()) - 1), ends) is None
    assert OffsetMap().to_target(Offset(0), Ends(Offset(0), Offset(0))) is None


@given(STRETCHES, st.integers(0, 30))
def test_it_comes_back_from_its_bytes_also_piece_by_piece(stretches: list[tuple[int, int]], first: int) -> None:
    found, _, _ = build(stretches, 0, 0)
    first = min(first, len(found))
    kept = found.to_bytes()
    assert list(again(kept)) == list(found)
    assert kept[: 16 * first] + found.to_bytes(first) == kept
    assert kept[:16] == b"".join(each.to_bytes(8, "big") for each in next(iter(found)))


def test_runs_with_the_same_difference_are_one() -> None:
    found, _, _ = build([(3, 2), (0, 4), (0, 1)], 10, 0)
    assert list(found) == [Run(Offset(13), Offset(0))]


def test_a_run_of_which_nothing_was_copied_is_replaced() -> None:
    found, _, _ = build([(0, 2), (3, 2)], 0, 0)
    found.add(Run(Offset(7), Offset(4)))
    assert list(found) == [Run(Offset(0), Offset(0)), Run(Offset(5), Offset(2))], "it went on without a gap"
    found.add(Run(Offset(9), Offset(4)))
    found.add(Run(Offset(20), Offset(4)))
    assert list(found)[-1] == Run(Offset(20), Offset(4))
    assert len(found) == 3


@pytest.mark.parametrize(("source", "target"), [(4, 9), (9, 1), (6, 4), (-1, 0)])
def test_what_cannot_follow_is_refused(source: int, target: int) -> None:
    found = OffsetMap()
    if source >= 0:
        found.add(Run(Offset(5), Offset(2)))
    with pytest.raises(ValueError, match=r"cannot follow|negative"):
        found.add(Run(Offset(source), Offset(target)))


@pytest.mark.parametrize("kept", [b"x", bytes(32), (2).to_bytes(16, "big") + (1).to_bytes(16, "big")])
def test_bytes_that_are_no_map_are_refused(kept: bytes) -> None:
    with pytest.raises(ValueError, match="offset map"):
        again(kept)


def test_a_map_is_kept_in_pieces() -> None:
    found = OffsetMap()
    for number in range(5):
        found.add(Run(Offset(number * 10), Offset(number * 4)))
    pieces = again(found.to_bytes()[:32])
    pieces.extend(found.to_bytes(2))
    assert list(pieces) == list(found)
    with pytest.raises(ValueError, match="do not rise"):
        pieces.extend(found.to_bytes(4))


def test_runs_of_what_was_not_copied_are_cut() -> None:
    found = OffsetMap()
    for number in range(5):
        found.add(Run(Offset(number * 10), Offset(number * 4)))
    found.note(Cut(Offset(20)))
    assert [run.source for run in found] == [0, 10, 20]
    found.note(Run(Offset(35), Offset(12)))
    assert list(found)[-1] == Run(Offset(35), Offset(12))


def test_the_end_of_a_map_holds_the_run_of_an_offset_and_what_follows() -> None:
    found = OffsetMap()
    for number in range(5):
        found.add(Run(Offset(number * 10), Offset(number * 4)))
    assert [run.target for run in found.from_target(Offset(9), 1)] == [8, 12, 16]
    assert [run.target for run in found.from_target(Offset(100), 2)] == [12, 16]
    assert [run.target for run in found.from_target(Offset(0), 9)] == [0, 4, 8, 12, 16]
    assert OffsetMap().from_target(Offset(3), 2) == ()
