"""The comparison finds what differs, is missing, is extra, is there twice or was lost; it can fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from kmigrate.demo.comparison import Comparison, Range, Seen, TopicResult, compare_sides
from kmigrate.demo.ledger import Entry, Ledger

RECORDS = tuple(Seen(offset, b"digest %d" % offset, 100 + offset, 10) for offset in range(5))
ACKNOWLEDGED = tuple(Entry(seen.offset, seen.number or 0, seen.digest) for seen in RECORDS)


class FakeSide:
    """A cluster with the given records."""

    def __init__(self, records: Mapping[tuple[str, int], Sequence[Seen]], ranges: Mapping[int, Range] | None = None):
        self._records = records
        self._ranges = ranges or {}

    def ranges(self) -> Mapping[str, Mapping[int, Range]]:
        found: dict[str, dict[int, Range]] = {}
        for (topic, partition), records in self._records.items():
            natural = Range(0, records[-1].offset + 1 if records else 0)
            found.setdefault(topic, {})[partition] = self._ranges.get(partition, natural)
        return found

    def read(self, topic: str, partition: int, between: Range) -> Iterable[Seen]:
        return iter(self._records[topic, partition])


def compare(
    source: Sequence[Seen], target: Sequence[Seen], acknowledged: Sequence[Entry] = ACKNOWLEDGED
) -> tuple[TopicResult, Comparison]:
    comparison = Comparison()
    comparison.compare_partition("orders", 0, source, target, acknowledged)
    return comparison.topics["orders"], comparison


def counts(result: TopicResult) -> dict[str, int]:
    names = ("differing", "missing", "extra", "unequal_ranges", "duplicates", "lost")
    return {name: count for name in names if (count := getattr(result, name))}


def test_equal_sides_have_nothing_to_object_to() -> None:
    result, comparison = compare(RECORDS, RECORDS)
    assert counts(result) == {}
    assert result.is_equal
    assert (result.partitions, result.records, result.size_bytes) == (1, 5, 50)
    assert comparison.findings == []


def test_gaps_on_both_sides_are_equal() -> None:
    some = (RECORDS[0], RECORDS[3])
    assert compare(some, some, (ACKNOWLEDGED[0], ACKNOWLEDGED[3]))[0].is_equal


@pytest.mark.parametrize("at", range(5))
def test_a_missing_record_is_missing_and_lost(at: int) -> None:
    result, comparison = compare(RECORDS, RECORDS[:at] + RECORDS[at + 1 :])
    assert counts(result) == {"missing": 1, "lost": 1}
    assert not result.is_equal
    assert f"orders-0@{at}: not on the target" in comparison.findings


def test_an_extra_record_with_a_known_number_is_a_duplicate() -> None:
    result, comparison = compare(RECORDS, (*RECORDS, RECORDS[2]._replace(offset=5)))
    assert counts(result) == {"extra": 1, "duplicates": 1}
    assert comparison.findings == ["orders-0@5: record 102 is there twice", "orders-0@5: only on the target"]


def test_an_extra_record_between_others_is_extra() -> None:
    records = (RECORDS[0], RECORDS[2])
    result, _ = compare(records, RECORDS[:3], (ACKNOWLEDGED[0], ACKNOWLEDGED[2]))
    assert counts(result) == {"extra": 1}


def test_a_duplicate_that_moves_the_rest_is_found_in_every_way() -> None:
    moved = RECORDS[:2] + tuple(seen._replace(offset=seen.offset + 1) for seen in RECORDS[1:])
    result, _ = compare(RECORDS, moved)
    assert counts(result) == {"differing": 3, "extra": 1, "duplicates": 1, "lost": 3}


@pytest.mark.parametrize("change", [{"digest": b"other"}, {"number": 7}, {"number": None}, {"size_bytes": 11}])
def test_a_record_that_differs_is_found(change: dict[str, object]) -> None:
    changed = (*RECORDS[:4], RECORDS[4]._replace(**change))
    result, _ = compare(RECORDS, changed)
    assert result.differing == 1
    assert result.lost == ("size_bytes" not in change)


def test_a_loss_on_both_sides_is_known_from_the_acknowledgements() -> None:
    result, _ = compare(RECORDS[:4], RECORDS[:4])
    assert counts(result) == {"lost": 1}


def test_a_change_on_both_sides_is_known_from_the_acknowledgements() -> None:
    changed = (*RECORDS[:4], RECORDS[4]._replace(digest=b"other"))
    result, _ = compare(changed, changed)
    assert counts(result) == {"lost": 1}


def test_a_record_that_was_acknowledged_without_an_offset_may_be_anywhere_in_its_partition() -> None:
    placeless = (*ACKNOWLEDGED[:4], ACKNOWLEDGED[4]._replace(offset=None))
    assert compare(RECORDS, RECORDS, placeless)[0].is_equal
    result, comparison = compare(RECORDS[:4], RECORDS[:4], placeless)
    assert counts(result) == {"lost": 1}
    assert comparison.findings == ["orders-0: acknowledged, and not on the target (record 104)"]
    assert counts(compare(RECORDS, RECORDS, (placeless[4]._replace(digest=b"other"),))[0]) == {"lost": 1}


def test_a_record_that_nobody_acknowledged_may_be_there() -> None:
    assert compare(RECORDS, RECORDS, ACKNOWLEDGED[:4])[0].is_equal


def test_a_number_may_not_come_again_in_another_topic() -> None:
    side = FakeSide({("orders", 0): RECORDS, ("clicks", 3): RECORDS[:1]})
    comparison = compare_sides(side, side, Ledger({}))
    assert comparison.total.duplicates == 1


def test_records_without_a_number_are_no_duplicates() -> None:
    plain = tuple(seen._replace(number=None) for seen in RECORDS)
    assert compare(plain, plain, ())[0].is_equal


def test_first_and_last_offsets_count() -> None:
    source = FakeSide({("orders", 0): RECORDS, ("orders", 1): RECORDS[:1]}, {1: Range(0, 9)})
    target = FakeSide({("orders", 0): RECORDS, ("orders", 1): RECORDS[:1]}, {0: Range(1, 5)})
    comparison = compare_sides(source, target, Ledger({}))
    assert comparison.total.unequal_ranges == 2
    assert (comparison.total.source_end, comparison.total.target_end) == (14, 6)
    assert comparison.findings[0] == "orders-0: offsets 0 to 5 on the source, 1 to 5 on the target"


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_topic_that_one_side_lacks_is_a_difference(side: str) -> None:
    full, empty = FakeSide({("orders", 0): RECORDS}), FakeSide({})
    ledger = Ledger({("orders", 0): list(ACKNOWLEDGED)})
    sides = (empty, full) if side == "source" else (full, empty)
    result = compare_sides(*sides, ledger).topics["orders"]
    lacking = {"extra": 5} if side == "source" else {"missing": 5, "lost": 5}
    assert counts(result) == {"unequal_ranges": 1} | lacking


def test_a_topic_that_both_sides_lack_is_lost() -> None:
    ledger = Ledger({("orders", 0): list(ACKNOWLEDGED)})
    assert compare_sides(FakeSide({}), FakeSide({}), ledger).total.lost == 5


def test_findings_are_few() -> None:
    many = tuple(numbered(offset) for offset in range(1_000))
    result, comparison = compare(many, (), ())
    assert result.missing == 1_000
    assert len(comparison.findings) == 10


def test_the_total_adds_all_counts() -> None:
    result, comparison = compare(RECORDS, RECORDS[:4])
    comparison.topics["clicks"] = replace(result, topic="clicks")
    assert comparison.total == TopicResult(topic="all", partitions=2, records=8, size_bytes=80, missing=2, lost=2)


def numbered(offset: int) -> Seen:
    return Seen(offset, b"", offset, 1)
