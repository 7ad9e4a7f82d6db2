"""The walk finds the first difference, and no other, however both sides cut, pack, stamp and number records."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from kmigrate.offsets.classes import OffsetClass
from kmigrate.verify.digest import Fold
from kmigrate.verify.judging import Counts, Records
from kmigrate.verify.walk import Walk
from tests.simulation.batches import Record
from tests.unit.verify.logs import Partition, first_difference, make_partition, pieces, seen

fields = st.none() | st.binary(max_size=6)
records = st.builds(
    Record,
    st.integers(-1, 40) | st.integers(1_700_000_000_000, 1_700_000_000_050),
    fields,
    fields,
    st.just(()) | st.lists(st.tuples(st.binary(max_size=3), fields), max_size=2).map(tuple),
)
slots = st.lists(st.none() | records | records, max_size=60)
classes = st.sampled_from(OffsetClass)


def walked(partition: Partition, judge: Records | Counts) -> Walk:
    walk = Walk(
        pieces(partition.source), pieces(partition.target), partition.places, partition.start, partition.end, judge
    )
    for _ in walk.steps():
        pass
    return walk


def change(slot: Record | None, how: int) -> Record | None:
    """What somebody made of a record, or put where there was none."""
    if slot is None:
        return Record(7, b"key", b"put there")
    if how == 0:
        return slot._replace(value=(slot.value or b"") + b"!")
    if how == 1:
        return slot._replace(timestamp_ms=slot.timestamp_ms + 1)
    if how == 2:
        return slot._replace(headers=(*slot.headers, (b"more", None)))
    return slot._replace(key=b"" if slot.key is None else None)


@settings(max_examples=400)
@given(slots, classes, st.integers(0, 2**32), st.sampled_from((0, 1, 4090, 2**40)))
def test_the_same_records_are_the_same_however_they_are_cut(
    held: list[Record | None], offset_class: OffsetClass, seed: int, first: int
) -> None:
    partition = make_partition(random.Random(seed), held, held, first, offset_class)
    assert first_difference(partition) is None
    walk = walked(partition, Records())
    assert walk.difference is None
    assert walk.compared_to == partition.end
    assert walk.amounts.records == len(seen(partition.source))
    assert walk.amounts.source_bytes == sum(len(each.data) for each in partition.source)
    assert walk.amounts.target_bytes == sum(len(each.data) for each in partition.target)


@settings(max_examples=400)
@given(st.data(), slots, classes, st.integers(0, 2**32))
def test_the_first_changed_record_is_found_at_its_offset(
    data: st.DataObject, held: list[Record | None], offset_class: OffsetClass, seed: int
) -> None:
    changed = list(held)
    for place in data.draw(st.lists(st.integers(0, max(0, len(held) - 1)), max_size=3)) if held else ():
        changed[place] = change(held[place], data.draw(st.integers(0, 3)))
    partition = make_partition(random.Random(seed), held, changed, 100, offset_class)
    expected = first_difference(partition)
    walk = walked(partition, Records())
    assert (None if walk.difference is None else walk.difference.offset) == expected
    assert walk.compared_to <= (partition.end if expected is None else expected)


@settings(max_examples=200)
@given(slots, st.integers(0, 2**32), st.integers(0, 60), st.booleans())
def test_a_record_that_one_side_lacks_is_found_at_its_offset(
    held: list[Record | None], seed: int, place: int, extra: bool
) -> None:
    other = [None if number == place else each for number, each in enumerate(held)]
    both = (other, held) if extra else (held, other)
    partition = make_partition(random.Random(seed), *both, 100, OffsetClass.IDENTICAL)
    expected = first_difference(partition)
    walk = walked(partition, Records())
    assert (None if walk.difference is None else walk.difference.offset) == expected


@settings(max_examples=100)
@given(slots, st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_digest_depends_on_records_alone(held: list[Record | None], seed: int, other: int) -> None:
    digests = set()
    for each in (seed, other):
        fold = Fold()
        walked(make_partition(random.Random(each), held, held, 4_080, OffsetClass.IDENTICAL), Records(fold=fold))
        digests.add(fold.digest)
    assert len(digests) == 1


@settings(max_examples=100)
@given(slots, classes, st.integers(0, 2**32))
def test_counts_are_those_of_an_independent_reader(
    held: list[Record | None], offset_class: OffsetClass, seed: int
) -> None:
    partition = make_partition(random.Random(seed), held, held, 5, offset_class)
    counts = Counts()
    walked(partition, counts)
    assert counts.buckets.width_ms == 60_000
    expected: dict[int, int] = {}
    for record in seen(partition.source).values():
        start = record.timestamp_ms // 60_000 * 60_000
        expected[start] = expected.get(start, 0) + 1
    assert counts.buckets.all == [(start, count, count) for start, count in sorted(expected.items())]
