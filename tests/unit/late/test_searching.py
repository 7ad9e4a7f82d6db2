"""What became of a batch is read from the headers of the target's log."""

from __future__ import annotations

from kmigrate.kafka_types import Offset, ProducerId
from kmigrate.late.searching import Search
from kmigrate.late.values import Batch
from kmigrate.records.batch import CONTROL, TRANSACTIONAL, Header

OURS = ProducerId(1 << 62)
WANTED = Batch(3, 20, Offset(50), Offset(60), 5)


def header(base: int, count: int, sequence: int = -1, attributes: int = 0, left: int | None = None) -> Header:
    """A batch at an offset; ours if it has a sequence. `left` records are in it after compaction."""
    producer = OURS if sequence >= 0 else 7
    records = count if left is None else left
    return Header(base, 100, 0, 2, 0, attributes, count - 1, 0, 0, producer, 0, sequence, records)


def search(*headers: Header, start: int = 100, end: int = 120) -> Search:
    found = Search(OURS, WANTED, Offset(start), Offset(end))
    for each in headers:
        found.show(each, each.next_offset)
    return found


def test_it_is_found_beside_what_applications_write() -> None:
    found = search(header(100, 8), header(108, 5, 20))
    assert (found.found, found.is_done, found.contradiction) == (108, True, "")


def test_compaction_leaves_the_header() -> None:
    assert search(header(100, 8), header(108, 5, 20, left=0)).found == 108


def test_that_it_is_not_there_counts_where_every_offset_was_seen() -> None:
    whole = search(header(100, 8), header(108, 12))
    assert (whole.found, whole.is_done, whole.is_whole) == (None, True, True)
    assert not search(header(100, 8), header(110, 10)).is_whole
    cut = search(header(100, 8))
    assert not cut.is_done
    cut.miss_to_end()
    assert (cut.is_done, cut.is_whole) == (True, False)
    trimmed = search()
    trimmed.begins_at(Offset(99))
    assert trimmed.is_whole
    trimmed.begins_at(Offset(101))
    assert not trimmed.is_whole


def test_what_begins_before_the_search_is_no_hole_and_no_find() -> None:
    found = search(header(95, 5, 15), header(100, 20))
    assert (found.found, found.is_whole, found.contradiction) == (None, True, "")


def test_markers_with_our_id_are_none_of_our_batches() -> None:
    assert search(header(100, 1, 20, TRANSACTIONAL | CONTROL)).contradiction == ""


def test_where_nothing_is_searched_for_nothing_of_ours_lies() -> None:
    unexpected = Search(OURS, None, Offset(100), Offset(120))
    unexpected.show(header(100, 8), 108)
    assert unexpected.contradiction == ""
    unexpected.show(header(108, 5, 20), 113)
    assert "nobody here has decided them" in unexpected.contradiction


def test_something_of_ours_that_was_never_decided_is_a_contradiction() -> None:
    assert "7 records of sequence 20 lie at offset 100" in search(header(100, 7, 20)).contradiction
    assert "sequence 25" in search(header(100, 5, 25)).contradiction
