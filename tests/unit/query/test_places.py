"""Places on the other side are exact in every class, and asked for as seldom as possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.offsets.translation import Place, translate
from kmigrate.query.places import Pair, Places, assumed_identical


class Asked:
    """Answers as the owner does, and counts."""

    def __init__(self, records: list[int], end: int) -> None:
        self.count = 0
        self.ends = Ends(Offset(end), Offset(len(records)))
        self.runs = OffsetMap()
        for target, source in enumerate(records):
            self.runs.add(Run(Offset(source), Offset(target)))

    def __call__(self, offset: Offset, side: Side) -> Pair | None:
        self.count += 1
        found = translate(self.runs, OffsetClass.MAPPED, self.ends, offset, side, Offset(0))
        if found is None:
            return None
        return Pair(found.source, found.target, found.place is Place.RECORD)


@given(
    records=st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True).map(sorted),
    asked=st.lists(st.tuples(st.sampled_from(list(Side)), st.integers(0, 60)), max_size=30),
)
def test_every_offset_of_a_mapped_partition_is_found_on_the_other_side(
    records: list[int], asked: list[tuple[Side, int]]
) -> None:
    places = Places(OffsetClass.MAPPED, Asked(records, 61))
    for side, offset in asked:
        if side is Side.SOURCE:
            expected = sum(1 for each in records if each < offset)
            assert places.other(Offset(offset), side) == expected
        elif offset < len(records):
            assert places.other(Offset(offset), side) == records[offset]


def test_a_long_run_is_asked_for_twice() -> None:
    asked = Asked([*range(10, 1_000)], 1_000)
    places = Places(OffsetClass.MAPPED, asked)
    for target in (0, 980, *range(200, 900)):
        assert places.other(Offset(target), Side.TARGET) == target + 10
    assert asked.count == 2


def test_a_shifted_partition_is_never_asked_for_if_its_ends_are_known() -> None:
    places = Places(OffsetClass.SHIFTED, lambda _offset, _side: None, Ends(Offset(150), Offset(50)))
    assert places.other(Offset(170), Side.SOURCE) == 70
    assert places.other(Offset(70), Side.TARGET) == 170
    assert places.other(Offset(99), Side.SOURCE) is None
    assert places.copied(Offset(60)) == Ends(Offset(160), Offset(60))


def test_of_a_mapped_log_only_what_the_map_tells_of_is_compared() -> None:
    asked = Asked([0, 1, 5, 6], 9)
    places = Places(OffsetClass.MAPPED, asked, asked.ends)
    assert places.copied(Offset(7)) == asked.ends
    assert places.copied(Offset(3)) == Ends(Offset(6), Offset(3))


def test_nothing_recorded_means_the_same_offsets() -> None:
    places = assumed_identical()
    assert places.other(Offset(7), Side.SOURCE) == places.other(Offset(7), Side.TARGET) == 7
    assert places.copied(Offset(7)) == Ends(Offset(7), Offset(7))
