"""Estimates are exact where everything was seen, and elsewhere each place stands for its stretch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.plan.estimates import Rates, estimate_bytes, estimate_markers, is_exact
from kmigrate.records.census import Census, Stretch
from tests.unit.plan.known import partition, seen


@st.composite
def stretches(draw: st.DrawFn) -> Stretch:
    offsets = draw(st.integers(1, 10_000))
    records = draw(st.integers(0, offsets))
    return Stretch(offsets, records, draw(st.integers(0, 10**6)), offsets + draw(st.integers(0, 10**6)))


@given(st.lists(stretches(), max_size=8), st.integers(0, 10**7))
def test_there_are_never_more_gaps_than_offsets(sampled: list[Stretch], more: int) -> None:
    backlog = sum(stretch.stands_for for stretch in sampled) + more
    census = Census(stretches=tuple(sampled))
    markers = estimate_markers(partition(end=backlog, census=census))
    if not sampled and backlog:
        assert markers is None
    else:
        assert markers is not None
        assert 0 <= markers <= backlog


@given(st.lists(stretches(), min_size=1, max_size=8))
def test_what_was_seen_whole_is_counted(sampled: list[Stretch]) -> None:
    whole = tuple(stretch._replace(stands_for=stretch.offsets) for stretch in sampled)
    known = partition(end=sum(stretch.offsets for stretch in whole), census=Census(stretches=whole))
    assert is_exact(known)
    assert estimate_markers(known) == sum(stretch.offsets - stretch.records for stretch in whole)


def test_a_sparse_stretch_does_not_speak_for_a_dense_one() -> None:
    """64 KB of a compacted stretch hold far more offsets than 64 KB of a full one."""
    sparse, dense = Stretch(90_000, 900, 65_536, 500_000), Stretch(600, 600, 65_536, 500_000)
    known = partition(end=1_000_000, census=Census(stretches=(sparse, dense)))
    assert not is_exact(known)
    assert estimate_markers(known) == 495_000


def test_the_last_offset_alone_stands_for_itself() -> None:
    """The marker at the end of a log of transactions must not make gaps of everything."""
    body, marker = Stretch(1_000, 900, 65_536, 99_999), Stretch(1, 0, 78, 1)
    assert estimate_markers(partition(end=100_000, census=Census(stretches=(body, marker)))) == 10_001


def test_places_that_were_left_out_are_taken_to_be_like_the_others() -> None:
    assert estimate_markers(partition(end=2_000, census=seen(100, 50, stands_for=1_000))) == 1_000


def test_nothing_to_copy_needs_no_samples() -> None:
    assert estimate_markers(partition(end=0)) == 0
    assert estimate_bytes(partition(end=0)) == 0


def test_bytes_come_from_the_disk_and_else_from_samples() -> None:
    assert estimate_bytes(partition(end=1000, size_bytes=5_000)) == 5_000
    assert estimate_bytes(partition(start=500, end=1000, last_stable=600, size_bytes=5_000)) == 1_000
    assert estimate_bytes(partition(end=1000, census=seen(10, stands_for=500))) == 100_000
    assert estimate_bytes(partition(end=1000, census=Census())) is None


def test_brokers_add_up_and_a_limit_holds() -> None:
    two = Rates.of(target_brokers=2, workers=3, limit=None)
    assert (two.filler, two.markers, two.copied_bytes) == (4_000_000, 50_000, 300_000_000)
    assert Rates.of(target_brokers=2, workers=3, limit=5).copied_bytes == 5
    assert Rates.of(target_brokers=0, workers=1, limit=10**12).copied_bytes == 100_000_000
