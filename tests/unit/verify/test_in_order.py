"""Two logs are compared in order, whatever their offsets: what differs is told apart, and named with both offsets."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmigrate.kafka_types import Side
from kmigrate.verify import in_order
from kmigrate.verify.differences import DifferenceKind
from kmigrate.verify.findings import Finding, Findings
from kmigrate.verify.history import History
from kmigrate.verify.in_order import InOrder
from kmigrate.verify.pieces import Trimmed
from kmigrate.verify.streams import Stream
from tests.simulation.batches import Record
from tests.unit.verify.logs import Writer, pieces

Kind = DifferenceKind
Slots = Sequence[Record | None]
FIRST = 1_000
"""Where the target's offsets begin."""


def numbered(count: int, first: int = 0) -> list[Record]:
    return [Record(5_000 + number, b"key %d" % number, b"value %d" % number) for number in range(first, first + count)]


def compared(source: Slots, target: Slots, *, seed: int = 1, is_compacted: bool = False) -> tuple[InOrder, Findings]:
    """Both laid out at random; of None nothing is seen."""
    writer = Writer(random.Random(seed))
    findings = Findings(is_compacted=is_compacted)
    streams = (
        Stream(Side.SOURCE, pieces(writer.lay_out(source, 0)), 0),
        Stream(Side.TARGET, pieces(writer.lay_out(target, FIRST)), FIRST),
    )
    walk = InOrder(*streams, findings, History())
    for _ in walk.steps():
        pass
    return walk, findings


def places(findings: Findings) -> list[tuple[Kind, int, int]]:
    return [(each.kind, each.source_offset, each.target_offset - FIRST) for each in findings.shown]


records = st.builds(Record, st.integers(0, 9), st.none() | st.binary(max_size=1), st.none() | st.binary(max_size=1))
logs = st.lists(st.none() | records, max_size=80)


@settings(max_examples=100)
@given(logs, st.data(), st.integers(0, 2**32))
def test_the_same_records_are_the_same_wherever_they_lie(
    held: list[Record | None], data: st.DataObject, seed: int
) -> None:
    visible = [each for each in held if each is not None]
    other: list[Record | None] = []
    for each in visible:
        other += [None] * data.draw(st.integers(0, 2)) + [each]
    walk, findings = compared(held, other, seed=seed)
    assert (findings.counts, walk.matched, walk.is_apart, walk.rewind_to) == ({}, len(visible), False, None)


@settings(max_examples=100)
@given(st.integers(12, 200), st.data(), st.integers(0, 2**32))
def test_each_kind_of_difference_is_named_with_both_offsets(count: int, data: st.DataObject, seed: int) -> None:
    source = numbered(count)
    target: list[Record | None] = list(source)
    at = data.draw(st.integers(1, count - 8))
    match data.draw(st.sampled_from(["drop", "add", "repeat", "alter", "late"])):
        case "drop":
            del target[at]
            expected = (Kind.MISSING, at, at)
        case "add":
            target.insert(at, Record(1, b"who", b"knows"))
            expected = (Kind.EXTRA, at, at)
        case "repeat":
            before = data.draw(st.integers(0, at - 1))
            target.insert(at, source[before])
            expected = (Kind.REPEATED, before, at)
        case "alter":
            target[at] = source[at]._replace(value=b"other")
            expected = (Kind.DIFFERS, at, at)
        case _:
            moved = data.draw(st.integers(at + 2, count - 1))
            target.insert(moved, target.pop(at))
            expected = (Kind.OUT_OF_ORDER, at, moved)
    walk, findings = compared(source, target, seed=seed)
    assert places(findings) == [expected]
    assert sum(findings.counts.values()) == 1
    assert not walk.is_apart


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["drop", "add", "repeat", "alter"]), min_size=1, max_size=12), st.integers(0, 2**32))
def test_many_differences_are_counted_one_by_one(edits: list[str], seed: int) -> None:
    source = numbered(20 * (len(edits) + 1))
    target: list[Record | None] = list(source)
    for number in reversed(range(len(edits))):
        at = 20 * (number + 1)
        match edits[number]:
            case "drop":
                del target[at]
            case "add":
                target.insert(at, Record(1, b"who", b"%d" % number))
            case "repeat":
                target.insert(at, source[at - 7])
            case _:
                target[at] = source[at]._replace(timestamp_ms=1)
    _, findings = compared(source, target, seed=seed)
    names = {"drop": Kind.MISSING, "add": Kind.EXTRA, "repeat": Kind.REPEATED, "alter": Kind.DIFFERS}
    assert findings.counts == {names[each]: edits.count(each) for each in set(edits)}


def test_one_dropped_beside_one_repeated_are_two() -> None:
    source = numbered(40)
    target = [*source[:20], source[11], *source[21:]]
    _, findings = compared(source, target)
    assert places(findings) == [(Kind.REPEATED, 11, 20), (Kind.MISSING, 20, 20)]


def test_a_copy_that_is_behind_is_no_difference() -> None:
    walk, findings = compared(numbered(50), numbered(30))
    assert findings.counts == {}
    assert walk.matched == 30
    assert walk.source.next_offset == 30


@pytest.mark.parametrize("first", [30, 12])
def test_what_the_target_has_at_the_end_is_told(first: int) -> None:
    source = numbered(30)
    _, findings = compared(source, [*source, *numbered(2, first)])
    kind, at = (Kind.EXTRA, [30, 30]) if first == 30 else (Kind.REPEATED, [12, 13])
    assert places(findings) == [(kind, at[0], 30), (kind, at[1], 31)]


def test_the_last_one_altered_is_found_although_the_source_goes_on() -> None:
    source = numbered(40)
    _, findings = compared(source, [*source[:29], source[29]._replace(value=b"other")])
    assert places(findings) == [(Kind.DIFFERS, 29, 29)]


def test_a_target_that_begins_again_far_back_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "WINDOWS", (4, 16))
    source = numbered(200)
    walk, findings = compared(source, [*source[:100], *source[40:]])
    assert (walk.rewind_to, walk.source.next_offset, walk.target.next_offset) == (40, 100, FIRST + 100)
    assert findings.counts == {}


def test_logs_that_have_nothing_in_common_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "WINDOWS", (4, 16))
    walk, _ = compared(numbered(200), [*numbered(20), *numbered(180, 1_000)])
    assert (walk.is_apart, walk.matched, walk.source.next_offset) == (True, 20, 20)
    assert in_order.apart(walk.source, walk.target)[:3] == (Kind.DIFFERS, 20, FIRST + 20)


@pytest.mark.parametrize("side", [Side.SOURCE, Side.TARGET])
def test_what_a_log_start_takes_meanwhile_is_no_difference(side: Side) -> None:
    writer = Writer(random.Random(1))
    whole = list(pieces(writer.lay_out(numbered(60), 0)))
    cut = [each for each in whole if each.base < 20]
    cut = [*cut, Trimmed(30), *pieces(writer.lay_out(numbered(30, 30), 30))]  # type: ignore[list-item]
    findings = Findings(is_compacted=False)
    here, there = (cut, whole) if side is Side.SOURCE else (whole, cut)
    walk = InOrder(Stream(Side.SOURCE, iter(here), 0), Stream(Side.TARGET, iter(there), 0), findings, History())
    for _ in walk.steps():
        pass
    assert findings.counts == {}
    assert walk.matched >= 45


def test_what_a_cleaner_took_is_excused_where_a_later_record_of_its_key_is_on_both_sides() -> None:
    old, new, other = (Record(1, b"a", b"1"), Record(2, b"a", b"2"), Record(3, b"b", b"1"))
    gone, last = Record(4, b"c", None), Record(5, b"d", b"1")
    rest = numbered(6)
    _, findings = compared([old, other, *rest, new, gone, last], [other, *rest, new, last], is_compacted=True)
    assert (findings.counts, findings.excused) == ({}, 2)
    _, findings = compared([old, other, *rest, last], [other, *rest, last], is_compacted=True)
    assert places(findings) == [(Kind.MISSING, 0, 0)]
    _, findings = compared([old, other, *rest, new], [other, *rest], is_compacted=True)
    assert findings.excused == 1, "replaced by a record that is not copied yet"


def test_only_the_first_are_shown_and_all_are_counted() -> None:
    source = numbered(1_000)
    target = [each for number, each in enumerate(source) if number % 10]
    _, findings = compared(source, target)
    assert findings.counts == {Kind.MISSING: 100}
    assert [each.source_offset for each in findings.shown] == list(range(0, 200, 10))
    assert isinstance(findings.shown[0], Finding)
